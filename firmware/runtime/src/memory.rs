//! RAM in use: statics lie at its start, the stack grows down from its end and is painted before `main`.

use cortex_m_rt::STACK_PAINT_VALUE;
use spae_app::Memory;

// Addresses that the linker script of cortex-m-rt states; nothing is stored behind these names.
unsafe extern "C" {
    static _ram_start: u32;
    static _stack_end: u32;
    static _stack_start: u32;
}

/// Bytes of statics, and of stack at its deepest so far.
pub fn memory() -> Memory {
    let top = &raw const _stack_start;
    let mut at = &raw const _stack_end;
    // SAFETY: the linker script puts `_stack_end` ≤ `_stack_start`, both multiples of 4 inside RAM, so every word read
    // lies in RAM and is aligned. All of them were written when the stack was painted. The words below the stack
    // pointer belong to nobody, those above to frames of callers, which are only read, and volatile, so that the
    // compiler assumes nothing about them.
    while at < top && unsafe { at.read_volatile() } == STACK_PAINT_VALUE {
        at = at.wrapping_add(1);
    }
    let statics = cortex_m_rt::heap_start().addr() - (&raw const _ram_start).addr();
    Memory { statics, stack: top.addr() - at.addr() }
}
