//! Suites written once, run against every runtime.
