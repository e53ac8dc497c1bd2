//! Words to pictures on Arm's MPS2 with image AN500: words on UART0 (115,200 baud, 8N1). There is no screen; pictures
//! are reported on the line on request.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

use cortex_m_rt::{entry, exception};
use spae_app::{Board, NoScreen};
use spae_model::SCRATCH_LEN;
use spae_mps::Uart;
use spae_runtime::Peripheral;

// SAFETY: the application note's memory map has UART0 here, always clocked; it accesses no memory.
const UART0: Uart = Uart::new(unsafe { Peripheral::new(0x4000_4000) });

/// The receive interrupt line of UART0.
const INTERRUPT: i16 = 0;

#[entry]
fn main() -> ! {
    // `entry` hands it out once, as `&'static mut`. It never passes through the stack, which could not hold it.
    static mut SCRATCH: [u32; SCRATCH_LEN] = [0; SCRATCH_LEN];
    // SAFETY: no critical section is open.
    let mut uart = unsafe { UART0.start(INTERRUPT) };
    let board = Board {
        name: "mps2-an500",
        kernel: spae_kernels::best(),
        memory: &spae_runtime::memory,
        clock: spae_runtime::started_clock(),
    };
    let served = spae_app::run(&board, spae_model::file(), SCRATCH, &mut uart, &mut NoScreen);
    spae_runtime::exit(served.is_ok())
}

#[exception]
unsafe fn DefaultHandler(interrupt: i16) {
    match interrupt {
        INTERRUPT => UART0.on_interrupt(),
        other => spae_runtime::fail(UART0.already_started(), format_args!("interrupt {other} has no handler")),
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    spae_runtime::report_panic(UART0.already_started(), info)
}
