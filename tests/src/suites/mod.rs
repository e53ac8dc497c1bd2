//! What every runtime must do, written once. A runtime plugs in by one trait and owns the list of cases that it does
//! not run, each by name.

pub mod decoding;
pub mod quantising;
