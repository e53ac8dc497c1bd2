//! Inner loops of the integer decoder, written for one family of processors each, behind
//! [`Kernel`].
//!
//! | kernel | processors | what it uses |
//! |---|---|---|
//! | [`Dsp`] | Armv7E-M, Armv8-M with DSP: Cortex-M4, M7, M33 | two products (SMLAD), two differences (SSUB16) |
//! | [`Interleaved`]`(`[`MultiplyAccumulate`]`)` | Armv7-M: Cortex-M3 | sums of eight products in registers |
//! | [`Interleaved`]`(`[`Riscv32`]`)` | 32-bit RISC-V with multiplication (RV32IM) | sums of eight products in registers |
//! | [`Helium`] | Armv8.1-M with MVE: Cortex-M55, M85 | 16 or 8 products an instruction (VMLADAVA) |
//!
//! Each is a few loops in assembly. On other processors the same kernels run with those loops in Rust, so that everything
//! around it is tested and fuzzed on a workstation; the loops themselves are compared on the processors.
#![no_std]
#![deny(missing_docs)]

mod dsp;
mod helium;
mod interleaved;
mod multiply_accumulate;
mod riscv32;
mod tile;

pub use dsp::Dsp;
pub use helium::Helium;
pub use interleaved::Interleaved;
pub use multiply_accumulate::MultiplyAccumulate;
pub use riscv32::Riscv32;

use spae_core::kernel::integer::{Kernel, Portable};

/// The fastest kernel for the processor that this is compiled for.
// What is generic in a kernel is compiled where it is first named: here, with this crate's optimisation, not in a board's.
#[inline(never)]
pub fn best() -> &'static dyn Kernel {
    if cfg!(processor = "armv8.1m") {
        &Helium
    } else if cfg!(processor = "armv7em") {
        &Dsp
    } else if cfg!(processor = "armv7m") {
        &Interleaved(MultiplyAccumulate)
    } else if cfg!(processor = "riscv32im") {
        &Interleaved(Riscv32)
    } else {
        &Portable
    }
}
