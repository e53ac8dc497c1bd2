//! System control (data sheet, chapter 6): 50 MHz from the 8 MHz crystal, and clocks for the peripherals in use.

use spae_runtime::{Peripheral, wait_while};

/// Of the processor and the peripherals, in Hz.
pub(crate) const FREQUENCY: u32 = 50_000_000;

// SAFETY: the data sheet's memory map has system control here; it accesses no memory.
const SYSTEM: Peripheral = unsafe { Peripheral::new(0x400F_E000) };

const RAW_INTERRUPTS: usize = 0x050;
const PLL_LOCKED: u32 = 1 << 6;

const RUN_CLOCK: usize = 0x060;
const USE_DIVIDER: u32 = 1 << 22;
const PLL_OFF: u32 = 1 << 13;
const BYPASS: u32 = 1 << 11;
const MAIN_OSCILLATOR_OFF: u32 = 1 << 0;
const CRYSTAL_8_MHZ: u32 = 0xE << 6;
/// The PLL's 200 MHz divided by 4.
const DIVIDE_BY_4: u32 = 3 << 23;
/// Divider, crystal, and oscillator source, which is 0 for the crystal.
const FIELDS: u32 = 0xF << 23 | 0xF << 6 | 0x3 << 4;

const CLOCKS_1: usize = 0x104;
const UART0: u32 = 1 << 0;
const SSI0: u32 = 1 << 4;

const CLOCKS_2: usize = 0x108;
const GPIO_A: u32 = 1 << 0;
const GPIO_C: u32 = 1 << 2;
const GPIO_D: u32 = 1 << 3;

/// Starts all clocks; comes before everything else.
pub(crate) fn start() {
    // The order is the data sheet's (6.3): start the crystal, leave the PLL, set it up, wait for it, go back to it.
    SYSTEM.set::<RUN_CLOCK>(BYPASS);
    SYSTEM.clear::<RUN_CLOCK>(USE_DIVIDER | MAIN_OSCILLATOR_OFF);
    // Tens of milliseconds at the 12 MHz that the processor starts with; the crystal needs up to 10.
    cortex_m::asm::delay(1 << 19);
    let kept = SYSTEM.read::<RUN_CLOCK>() & !FIELDS & !PLL_OFF;
    SYSTEM.write::<RUN_CLOCK>(kept | CRYSTAL_8_MHZ);
    SYSTEM.set::<RUN_CLOCK>(DIVIDE_BY_4 | USE_DIVIDER);
    wait_while(|| SYSTEM.read::<RAW_INTERRUPTS>() & PLL_LOCKED == 0);
    SYSTEM.clear::<RUN_CLOCK>(BYPASS);

    SYSTEM.set::<CLOCKS_1>(UART0 | SSI0);
    SYSTEM.set::<CLOCKS_2>(GPIO_A | GPIO_C | GPIO_D);
    // A peripheral answers three cycles after its clock has started.
    cortex_m::asm::delay(16);
}
