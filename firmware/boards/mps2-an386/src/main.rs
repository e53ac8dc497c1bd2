//! Words to pictures on Arm's MPS2 with image AN386: words on UART0 (115,200 baud, 8N1). There is no screen; pictures
//! are reported on the line on request.
#![no_std]
#![no_main]

use spae_mps::Uart;
use spae_runtime::Peripheral;

// SAFETY: the application note's memory map has UART0 here, always clocked; it accesses no memory.
const UART0: Uart = Uart::new(unsafe { Peripheral::new(0x4000_4000) });

/// The receive interrupt line of UART0.
const INTERRUPT: i16 = 0;

spae_mps::program!("mps2-an386", UART0, INTERRUPT);
