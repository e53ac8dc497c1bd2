//! Cortex-M, started by `cortex-m-rt`.

mod clock;

pub use clock::started_clock;
pub(crate) use cortex_m_rt::STACK_PAINT_VALUE as PAINT;

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_semihosting::debug;

use crate::memory::Places;

// Addresses that the linker script of cortex-m-rt states; nothing is stored behind these names.
unsafe extern "C" {
    static _ram_start: u32;
    static _stack_end: u32;
    static _stack_start: u32;
}

pub(crate) fn places() -> Places {
    Places {
        ram_start: &raw const _ram_start,
        statics_end: cortex_m_rt::heap_start(),
        stack_end: &raw const _stack_end,
        stack_start: &raw const _stack_start,
    }
}

/// Ends the program: tells a debugger or an emulator, where one is attached, and rests.
pub fn exit(success: bool) -> ! {
    debug::exit(if success { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        rest();
    }
}

/// Sleeps until an interrupt is due, held off or not.
pub(crate) fn rest() {
    cortex_m::asm::wfi();
}

/// Does `work` with all interrupts held off.
pub(crate) fn hold_off<R>(work: impl FnOnce() -> R) -> R {
    cortex_m::interrupt::free(|_| work())
}

#[derive(Clone, Copy)]
struct Number(u16);

// SAFETY: the number is passed on as it is, the same every time.
unsafe impl InterruptNumber for Number {
    fn number(self) -> u16 {
        self.0
    }
}

/// Lets interrupt `number` call `DefaultHandler`.
///
/// # Safety
/// The handler may run from now on between any two instructions: a critical section that relies on this interrupt
/// being masked must not be open.
pub unsafe fn unmask(number: u16) {
    // SAFETY: handed on to the caller.
    unsafe { NVIC::unmask(Number(number)) }
}
