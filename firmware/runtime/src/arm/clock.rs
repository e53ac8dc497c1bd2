//! SysTick as a counter, and a loop of known length.

use core::arch::asm;

use cortex_m::peripheral::SYST;
use spae_app::Clock;

/// SysTick has 24 bits.
const BITS: u32 = 24;

/// Bits of SysTick's control register: count, at the processor's clock, without interrupts.
const COUNT: u32 = 1 << 0;
const PROCESSOR_CLOCK: u32 = 1 << 2;

/// Starts SysTick.
pub fn started_clock() -> Clock<'static> {
    // SAFETY: SysTick is the processor's own and counts without touching memory; nothing else here uses it.
    let systick = unsafe { &*SYST::PTR };
    // SAFETY: any reload value is allowed, and no interrupt is asked for.
    unsafe {
        systick.rvr.write((1 << BITS) - 1);
        systick.cvr.write(0);
        systick.csr.write(COUNT | PROCESSOR_CLOCK);
    }
    Clock { read: &read, bits: BITS, spin: &spin }
}

/// SysTick counts down.
fn read() -> u32 {
    SYST::get_current().wrapping_neg() & ((1 << BITS) - 1)
}

/// Runs `instructions` instructions, rounded down to whole rounds of a loop of two.
fn spin(instructions: u32) {
    let rounds = (instructions / 2).max(1);
    // SAFETY: the loop changes one register and flags, no memory.
    unsafe {
        asm!("2:", "subs {n}, #1", "bne 2b", n = inout(reg) rounds => _, options(nomem, nostack));
    }
}
