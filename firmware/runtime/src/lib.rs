//! What the Cortex-M boards share: device registers, interrupts, the RAM in use, and the way out.
//!
//! It knows the processor and the linker script of `cortex-m-rt`, and no board.
#![no_std]
#![deny(missing_docs)]

mod clock;
mod memory;
mod peripheral;

pub use clock::started_clock;
pub use memory::memory;
pub use peripheral::{Peripheral, unmask, wait_while};

use core::fmt::Write;
use core::panic::PanicInfo;

use cortex_m_semihosting::debug;

/// Ends the program: tells a debugger or an emulator, where one is attached, and rests.
pub fn exit(success: bool) -> ! {
    debug::exit(if success { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}

/// Reports a panic on `line` and ends the program.
pub fn report_panic(line: &mut impl Write, info: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    // Nobody is left to hear of a line that fails too.
    let _ = writeln!(line, "\n{info}");
    exit(false)
}
