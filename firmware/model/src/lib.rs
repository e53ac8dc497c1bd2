//! The model in flash, checked when the firmware is built, with the exact scratch memory that it needs.
//!
//! It is `models/digits/model.spae`; set `SPAE_MODEL` to the path of another one while building.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

/// Words of flash are read faster than bytes that straddle them.
#[repr(C, align(4))]
struct Aligned<T: ?Sized>(T);

include!(concat!(env!("OUT_DIR"), "/model.rs"));

/// The model file.
pub fn file() -> &'static [u8] {
    &MODEL.0
}
