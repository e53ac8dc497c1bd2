//! Suites written once, run against every runtime.
//!
//! | module | what it is |
//! |---|---|
//! | [`container`] | model files taken apart and sealed again, for attacks |
//! | [`fixtures`] | tiny models with seeded weights, and texts for them |
//! | [`reference`](mod@reference) | a decoder written straight from the design's equations, sharing no code with spae-core |
//! | [`suites`] | what every runtime must do; the runtimes are in `tests/`, one file each |
//! | [`vocabulary`] | word lists of any script, for properties |
//!
//! This package is never depended upon.

pub mod container;
pub mod fixtures;
pub mod reference;
pub mod suites;
pub mod vocabulary;
