//! Suites written once, run against every runtime.
//!
//! | module | what it is |
//! |---|---|
//! | [`fixtures`] | tiny models with seeded weights, and texts for them |
//! | [`reference`] | a decoder written straight from the design's equations, sharing no code with spae-core |
//! | [`suites`] | what every runtime must do; the runtimes are in `tests/`, one file each |
//!
//! This package is never depended upon.

pub mod fixtures;
pub mod reference;
pub mod suites;
