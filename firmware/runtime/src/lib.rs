//! What the boards share: device registers, interrupts, the serial line, the RAM in use, and the way out.
//!
//! It knows the processors and the linker scripts of `cortex-m-rt` and `riscv-rt`, and no board. Each architecture has a
//! module with the same names.
#![no_std]
#![deny(missing_docs)]

#[cfg(target_arch = "arm")]
mod arm;
mod memory;
mod peripheral;
#[cfg(target_arch = "riscv32")]
mod riscv32;
mod serial;

#[cfg(target_arch = "arm")]
use arm as processor;
#[cfg(target_arch = "riscv32")]
use riscv32 as processor;

pub use memory::memory;
pub use peripheral::{Peripheral, wait_while};
pub use processor::{exit, started_clock, unmask};
pub use serial::{INBOX, Serial};

use core::fmt::{Arguments, Write};
use core::panic::PanicInfo;

/// Reports what went wrong on `line` and ends the program.
pub fn fail(mut line: impl Write, fault: Arguments<'_>) -> ! {
    processor::hold_off(|| {
        // Nobody is left to hear of a line that fails too.
        let _ = writeln!(line, "\nfailed {fault}");
        exit(false)
    })
}

/// Reports a panic on `line` and ends the program. Nothing in a release build panics, so none has this inside.
pub fn report_panic(line: impl Write, info: &PanicInfo<'_>) -> ! {
    fail(line, format_args!("{info}"))
}
