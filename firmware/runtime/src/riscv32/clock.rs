//! The processor's cycles, and a loop of known length.

use core::arch::asm;

use spae_app::Clock;

/// Starts counting cycles, which the processor always does.
pub fn started_clock() -> Clock<'static> {
    Clock { read: &read, bits: 32, spin: &spin }
}

fn read() -> u32 {
    riscv::register::mcycle::read() as u32
}

/// Runs `instructions` instructions, rounded down to whole rounds of a loop of two.
fn spin(instructions: u32) {
    let rounds = (instructions / 2).max(1);
    // SAFETY: the loop changes one register and no memory.
    unsafe {
        asm!("2:", "addi {n}, {n}, -1", "bnez {n}, 2b", n = inout(reg) rounds => _, options(nomem, nostack));
    }
}
