//! Words to pictures on the LM3S6965 evaluation board: words on UART0 (115,200 baud, 8N1), pictures on the OLED.
#![no_std]
#![no_main]

mod clock;
mod oled;
mod uart;

use core::panic::PanicInfo;

use cortex_m_rt::{entry, exception};
use spae_app::Board;
use spae_core::model::Model;
use spae_model::SCRATCH_LEN;

use crate::oled::Oled;

#[entry]
fn main() -> ! {
    // `entry` hands them out once, as `&'static mut`. They never pass through the stack, which could not hold them.
    static mut SCRATCH: [u32; SCRATCH_LEN] = [0; SCRATCH_LEN];
    static mut MODEL: Option<Model<'static>> = None;
    clock::start();
    let mut uart = uart::start();
    let mut oled = Oled::start();
    let board = Board {
        name: "lm3s6965evb",
        kernel: spae_kernels::best(),
        memory: &spae_runtime::memory,
        clock: spae_runtime::started_clock(),
    };
    let served = spae_app::run(&board, spae_model::file(), MODEL, SCRATCH, &mut uart, &mut oled);
    spae_runtime::exit(served.is_ok())
}

#[exception]
unsafe fn DefaultHandler(interrupt: i16) {
    match interrupt {
        uart::INTERRUPT => uart::on_interrupt(),
        other => spae_runtime::fail(uart::already_started(), format_args!("interrupt {other} has no handler")),
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    spae_runtime::report_panic(uart::already_started(), info)
}
