//! Inner loops of the integer decoder, written for one family of processors each, behind
//! [`Kernel`](spae_core::kernel::integer::Kernel).
//!
//! | kernel | processors | what it uses |
//! |---|---|---|
//! | [`Dsp`] | Armv7E-M, Armv8-M with DSP: Cortex-M4, M7, M33 | two products (SMLAD), two differences (SSUB16) |
//! | [`MultiplyAccumulate`] | Armv7-M: Cortex-M3 | sums of eight products in registers |
//!
//! Each is one loop in assembly. On other processors the same kernels run with that loop in Rust, so that everything
//! around it is tested and fuzzed on a workstation; the loops themselves are compared on the processors.
#![no_std]
#![deny(missing_docs)]

mod dsp;
mod multiply_accumulate;
mod tile;

pub use dsp::Dsp;
pub use multiply_accumulate::MultiplyAccumulate;

use spae_core::kernel::integer::{Kernel, Portable};

/// The fastest kernel for the processor that this is compiled for.
pub fn best() -> &'static dyn Kernel {
    if cfg!(processor = "armv7em") {
        &Dsp
    } else if cfg!(processor = "armv7m") {
        &MultiplyAccumulate
    } else {
        &Portable
    }
}
