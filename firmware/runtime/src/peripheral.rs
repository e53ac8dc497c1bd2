//! Device registers.

/// Bytes of address space that a peripheral has on these processors.
const SIZE: usize = 0x1000;

/// The registers of one peripheral, each 32 bits or, where named so, one byte wide.
#[derive(Clone, Copy, Debug)]
pub struct Peripheral {
    base: usize,
}

impl Peripheral {
    /// The peripheral whose 4 KiB of registers start at `base`.
    ///
    /// # Safety
    /// There must be such a peripheral, present whenever a register is accessed, and no value written to any of its
    /// registers may make it access memory on its own (as a DMA controller would).
    pub const unsafe fn new(base: usize) -> Self {
        assert!(base.is_multiple_of(SIZE));
        Self { base }
    }

    /// Reads the register at `OFFSET`.
    pub fn read<const OFFSET: usize>(self) -> u32 {
        const { assert!(OFFSET < SIZE && OFFSET.is_multiple_of(4)) };
        // SAFETY: by the contract of `new` this is the address of a register; it is aligned and inside the peripheral;
        // registers are no Rust objects, so no reference can be violated.
        unsafe { ((self.base + OFFSET) as *const u32).read_volatile() }
    }

    /// Writes the register at `OFFSET`.
    pub fn write<const OFFSET: usize>(self, value: u32) {
        const { assert!(OFFSET < SIZE && OFFSET.is_multiple_of(4)) };
        // SAFETY: as for `read`; by the contract of `new` no value harms memory.
        unsafe { ((self.base + OFFSET) as *mut u32).write_volatile(value) }
    }

    /// Reads the byte-wide register at `OFFSET`.
    pub fn read_byte<const OFFSET: usize>(self) -> u8 {
        const { assert!(OFFSET < SIZE) };
        // SAFETY: as for `read`; every address is aligned for a byte.
        unsafe { ((self.base + OFFSET) as *const u8).read_volatile() }
    }

    /// Writes the byte-wide register at `OFFSET`.
    pub fn write_byte<const OFFSET: usize>(self, value: u8) {
        const { assert!(OFFSET < SIZE) };
        // SAFETY: as for `write`; every address is aligned for a byte.
        unsafe { ((self.base + OFFSET) as *mut u8).write_volatile(value) }
    }

    /// Sets bits of the register at `OFFSET`. Handlers must not write the same register.
    pub fn set<const OFFSET: usize>(self, bits: u32) {
        self.write::<OFFSET>(self.read::<OFFSET>() | bits);
    }

    /// Clears bits of the register at `OFFSET`. Handlers must not write the same register.
    pub fn clear<const OFFSET: usize>(self, bits: u32) {
        self.write::<OFFSET>(self.read::<OFFSET>() & !bits);
    }
}

/// Waits for a device.
pub fn wait_while(mut busy: impl FnMut() -> bool) {
    while busy() {}
}
