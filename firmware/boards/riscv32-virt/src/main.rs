//! Words to pictures on QEMU's virtual board for RISC-V: words on UART0 (115,200 baud, 8N1). There is no screen;
//! pictures are reported on the line on request.
#![no_std]
#![no_main]

mod plic;
mod uart;

use core::panic::PanicInfo;

use riscv::interrupt::Interrupt;
use riscv_rt::{core_interrupt, entry};
use spae_app::{Board, NoScreen};
use spae_core::model::Model;
use spae_model::SCRATCH_LEN;

#[entry]
fn main() -> ! {
    // They never pass through the stack, which could not hold them.
    static mut SCRATCH: [u32; SCRATCH_LEN] = [0; SCRATCH_LEN];
    static mut MODEL: Option<Model<'static>> = None;
    let (scratch, model) = (&raw mut SCRATCH, &raw mut MODEL);
    // SAFETY: `riscv-rt` calls `main` once, and nothing else can name what it owns.
    let (scratch, model) = unsafe { (&mut *scratch, &mut *model) };
    let mut uart = uart::start();
    let board = Board {
        name: "riscv32-virt",
        kernel: spae_kernels::best(),
        memory: &spae_runtime::memory,
        clock: spae_runtime::started_clock(),
    };
    let served = spae_app::run(&board, spae_model::file(), model, scratch, &mut uart, &mut NoScreen);
    spae_runtime::exit(served.is_ok())
}

#[core_interrupt(Interrupt::MachineExternal)]
fn on_interrupt() {
    let line = plic::claim();
    match line {
        plic::UART0 => uart::on_interrupt(),
        other => spae_runtime::fail(uart::already_started(), format_args!("interrupt {other} has no handler")),
    }
    plic::complete(line);
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    spae_runtime::report_panic(uart::already_started(), info)
}
