//! What a board lends besides its line and its screen.

use spae_core::kernel::integer::Kernel;

/// A board.
#[derive(Clone, Copy)]
pub struct Board<'b> {
    /// Its name.
    pub name: &'b str,
    /// Its processor's loops.
    pub kernel: &'b dyn Kernel,
    /// Measures RAM in use at the time of the call.
    pub memory: &'b dyn Fn() -> Memory,
    /// Counts time.
    pub clock: Clock<'b>,
}

impl core::fmt::Debug for Board<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Board").field("name", &self.name).field("kernel", &self.kernel).finish_non_exhaustive()
    }
}

/// RAM in use, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All statics, scratch memory among them.
    pub statics: usize,
    /// The deepest that the stack has been.
    pub stack: usize,
}

/// A counter that goes up and wraps around.
#[derive(Clone, Copy)]
pub struct Clock<'b> {
    /// Reads it.
    pub read: &'b dyn Fn() -> u32,
    /// It wraps around at 2 to the power of this: 1 to 32.
    pub bits: u32,
    /// Runs as many instructions as asked for, nearly.
    pub spin: &'b dyn Fn(u32),
}

impl Clock<'_> {
    /// Ticks from `start` to now.
    pub(crate) fn since(&self, start: u32) -> u32 {
        (self.read)().wrapping_sub(start) & (u32::MAX >> (32 - self.bits.clamp(1, 32)))
    }
}

impl core::fmt::Debug for Clock<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Clock").field("bits", &self.bits).finish_non_exhaustive()
    }
}
