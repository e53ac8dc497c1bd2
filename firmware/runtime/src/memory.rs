//! RAM in use: statics lie at its start, the stack grows down from its end and is painted before `main`.

use spae_app::Memory;

use crate::processor::{PAINT, places};

/// Where the linker script has put things, in ascending order, all multiples of 4.
pub(crate) struct Places {
    pub(crate) ram_start: *const u32,
    pub(crate) statics_end: *const u32,
    /// The deepest that the stack may be.
    pub(crate) stack_end: *const u32,
    /// Where it starts. From `stack_end` to here there is RAM, and all of it was painted.
    pub(crate) stack_start: *const u32,
}

/// Bytes of statics, and of stack at its deepest so far.
pub fn memory() -> Memory {
    let Places { ram_start, statics_end, stack_end, stack_start } = places();
    let mut at = stack_end;
    // SAFETY: between `stack_end` and `stack_start` every word lies in RAM, is aligned, and was written when the stack
    // was painted. The words below the stack pointer belong to nobody, those above to frames of callers, which are only
    // read, and volatile, so that the compiler assumes nothing about them.
    while at < stack_start && unsafe { at.read_volatile() } == PAINT {
        at = at.wrapping_add(1);
    }
    Memory { statics: statics_end.addr() - ram_start.addr(), stack: stack_start.addr() - at.addr() }
}
