//! Words to pictures on Arm's MPS3 with image AN547: words on UART0 (115,200 baud, 8N1). There is no screen; pictures
//! are reported on the line on request. All of it runs in the secure state, which the processor starts in.
#![no_std]
#![no_main]

use spae_mps::Uart;
use spae_runtime::Peripheral;

// SAFETY: the application note's secure memory map has UART0 here, always clocked; it accesses no memory.
const UART0: Uart = Uart::new(unsafe { Peripheral::new(0x5930_3000) });

/// The combined interrupt line of UART0: emulators disagree on which of the others is the receiver's.
const INTERRUPT: i16 = 43;

spae_mps::program!("mps3-an547", UART0, INTERRUPT);
