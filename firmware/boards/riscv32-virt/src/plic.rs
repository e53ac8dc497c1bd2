//! The platform-level interrupt controller (its specification, chapters 4 to 9), as seen by the processor in machine
//! mode, which is its context 0.

use spae_runtime::Peripheral;

/// The interrupt line of UART0.
pub(crate) const UART0: u32 = 10;

// SAFETY: the board's memory map has the controller here, always clocked; it accesses no memory.
const PRIORITIES: Peripheral = unsafe { Peripheral::new(0x0C00_0000) };
// SAFETY: as above.
const ENABLES: Peripheral = unsafe { Peripheral::new(0x0C00_2000) };
// SAFETY: as above.
const CONTEXT: Peripheral = unsafe { Peripheral::new(0x0C20_0000) };

const UART0_PRIORITY: usize = 4 * UART0 as usize;
const ENABLE: usize = 0x000;
const THRESHOLD: usize = 0x000;
const CLAIM_COMPLETE: usize = 0x004;

/// Lets UART0 interrupt the processor.
pub(crate) fn start() {
    PRIORITIES.write::<UART0_PRIORITY>(1);
    ENABLES.write::<ENABLE>(1 << UART0);
    CONTEXT.write::<THRESHOLD>(0);
}

/// The line that interrupts; 0 for none.
pub(crate) fn claim() -> u32 {
    CONTEXT.read::<CLAIM_COMPLETE>()
}

/// Lets `line` interrupt again.
pub(crate) fn complete(line: u32) {
    CONTEXT.write::<CLAIM_COMPLETE>(line);
}
