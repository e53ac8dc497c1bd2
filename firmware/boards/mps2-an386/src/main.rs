//! Words to pictures on Arm's MPS2 with image AN386: words on UART0 (115,200 baud, 8N1). There is no screen; pictures
//! are reported on the line on request.
#![no_std]
#![no_main]

mod uart;

use core::convert::Infallible;
use core::fmt::Write;
use core::panic::PanicInfo;

use cortex_m_rt::{entry, exception};
use embedded_graphics::Pixel;
use embedded_graphics::pixelcolor::Gray4;
use embedded_graphics::prelude::{DrawTarget, OriginDimensions, Size};
use spae_app::Board;
use spae_core::model::Model;
use spae_model::SCRATCH_LEN;

use crate::uart::Uart;

#[entry]
fn main() -> ! {
    // `entry` hands it out once, as `&'static mut`. It never passes through the stack, which could not hold it.
    static mut SCRATCH: [u32; SCRATCH_LEN] = [0; SCRATCH_LEN];
    let mut uart = Uart::start();
    let done = match Model::read(spae_model::file()) {
        Ok(model) => {
            let board = Board {
                name: "mps2-an386",
                kernel: spae_kernels::best(),
                memory: &spae_runtime::memory,
                clock: spae_runtime::started_clock(),
            };
            spae_app::serve(&board, &model, SCRATCH, &mut uart, &mut NoScreen).is_ok()
        }
        Err(error) => writeln!(uart, "failed {error}").is_err(),
    };
    spae_runtime::exit(done)
}

#[exception]
unsafe fn DefaultHandler(interrupt: i16) {
    match interrupt {
        uart::INTERRUPT => uart::on_interrupt(),
        other => panic!("interrupt {other} has no handler"),
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    spae_runtime::report_panic(&mut Uart::already_started(), info)
}

/// Takes every pixel and shows none.
struct NoScreen;

impl OriginDimensions for NoScreen {
    fn size(&self) -> Size {
        Size::new(128, 64)
    }
}

impl DrawTarget for NoScreen {
    type Color = Gray4;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Gray4>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        pixels.into_iter().for_each(drop);
        Ok(())
    }
}
