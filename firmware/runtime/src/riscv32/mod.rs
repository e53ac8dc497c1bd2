//! RISC-V of 32 bits in machine mode, started by `riscv-rt`.

mod clock;

pub use clock::started_clock;

use core::arch::{asm, global_asm};

use riscv::interrupt::{Interrupt, machine};

use crate::memory::Places;

/// What the stack is painted with.
pub(crate) const PAINT: u32 = 0xCCCC_CCCC;

// Addresses that the linker script of riscv-rt states; nothing is stored behind these names.
unsafe extern "C" {
    static __sdata: u32;
    static __sheap: u32;
    static __estack: u32;
    static _stack_start: u32;
}

pub(crate) fn places() -> Places {
    Places {
        ram_start: &raw const __sdata,
        statics_end: &raw const __sheap,
        stack_end: &raw const __estack,
        stack_start: &raw const _stack_start,
    }
}

// riscv-rt calls it before it fills statics, with the stack pointer at the start of the stack.
global_asm!(
    ".section .text.__pre_init, \"ax\"",
    ".global __pre_init",
    "__pre_init:",
    "    la t0, __estack",
    "    li t1, {paint}",
    "1:  bgeu t0, sp, 2f",
    "    sw t1, 0(t0)",
    "    addi t0, t0, 4",
    "    j 1b",
    "2:  ret",
    paint = const PAINT,
);

/// Ends the program: tells a debugger or an emulator, where one is attached, and rests.
pub fn exit(success: bool) -> ! {
    /// Of the semihosting operations.
    const EXIT: u32 = 0x18;
    const APPLICATION_EXIT: u32 = 0x2_0026;
    const RUN_TIME_ERROR: u32 = 0x2_0023;
    let reason = if success { APPLICATION_EXIT } else { RUN_TIME_ERROR };
    // SAFETY: three instructions that change a0 and no memory, in the form that the semihosting specification asks for:
    // none compressed, all in one page.
    unsafe {
        asm!(
            ".option push",
            ".option norvc",
            ".balign 16",
            "slli zero, zero, 0x1f",
            "ebreak",
            "srai zero, zero, 7",
            ".option pop",
            inout("a0") EXIT => _,
            in("a1") reason,
            options(nomem, nostack),
        );
    }
    loop {
        rest();
    }
}

/// Sleeps until an interrupt is due, held off or not.
pub(crate) fn rest() {
    riscv::asm::wfi();
}

/// Does `work` with all interrupts held off.
pub(crate) fn hold_off<R>(work: impl FnOnce() -> R) -> R {
    machine::free(work)
}

/// Lets `interrupt` call its handler.
///
/// # Safety
/// The handler may run from now on between any two instructions: a critical section that relies on this interrupt
/// being masked must not be open.
pub unsafe fn unmask(interrupt: Interrupt) {
    // SAFETY: handed on to the caller.
    unsafe {
        machine::enable_interrupt(interrupt);
        machine::enable();
    }
}
