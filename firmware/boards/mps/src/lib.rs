//! What Arm's prototyping boards MPS2 and MPS3 share: the APB UART of the Cortex-M System Design Kit (its manual,
//! section 4.3), one byte deep, at 115,200 baud, 8N1.
//! And [`program`], which is all of a board's but what it is called and where its UART is.
#![no_std]
#![deny(missing_docs)]

use spae_app::{Board, Line, NoScreen};
use spae_runtime::{INBOX, Peripheral, Serial, unmask};

const DATA: usize = 0x000;
const STATE: usize = 0x004;
const TRANSMITTER_FULL: u32 = 1 << 0;
const RECEIVER_FULL: u32 = 1 << 1;
const RECEIVER_OVERRUN: u32 = 1 << 3;
const CONTROL: usize = 0x008;
const TRANSMIT_RECEIVE_INTERRUPT: u32 = 1 << 0 | 1 << 1 | 1 << 3;
const INTERRUPT_CLEAR: usize = 0x00C;
const RECEIVED: u32 = 1 << 1;
const BAUD_DIVIDER: usize = 0x010;

#[doc(hidden)]
pub use spae_core::model::Model;
#[doc(hidden)]
pub use {spae_model, spae_runtime};

/// Clock cycles a bit at 25 MHz, which the peripherals of all these boards have, and 115,200 baud.
const DIVISOR: u32 = 25_000_000 / 115_200;

/// The UART that words come in by.
#[derive(Clone, Copy, Debug)]
pub struct Uart(Peripheral);

impl Uart {
    /// The UART with these registers.
    pub const fn new(registers: Peripheral) -> Self {
        Self(registers)
    }

    /// Starts it, with `interrupt` for what it receives.
    ///
    /// # Safety
    /// A critical section that relies on this interrupt being masked must not be open.
    pub unsafe fn start(self, interrupt: i16) -> impl Line {
        self.0.write::<BAUD_DIVIDER>(DIVISOR);
        self.0.write::<CONTROL>(TRANSMIT_RECEIVE_INTERRUPT);
        // SAFETY: handed on to the caller; the handler shares nothing but atomics with the rest.
        unsafe { unmask(interrupt as u16) };
        self.already_started()
    }

    /// For the last words of a panic.
    pub fn already_started(self) -> impl Line {
        Serial::new(move |byte| self.send_now(byte))
    }

    /// Empties the receiver.
    pub fn on_interrupt(self) {
        self.0.write::<INTERRUPT_CLEAR>(RECEIVED);
        let state = self.0.read::<STATE>();
        if state & RECEIVER_OVERRUN != 0 {
            self.0.write::<STATE>(RECEIVER_OVERRUN);
            INBOX.lose();
        }
        if state & RECEIVER_FULL != 0 {
            INBOX.put(self.0.read::<DATA>() as u8);
        }
        INBOX.flow(|byte| self.send_now(byte));
    }

    fn send_now(self, byte: u8) -> bool {
        let free = self.0.read::<STATE>() & TRANSMITTER_FULL == 0;
        if free {
            self.0.write::<DATA>(byte.into());
        }
        free
    }
}

/// Serves the line of the board `name` until it is closed, then ends the program.
///
/// # Safety
/// As [`Uart::start`].
pub unsafe fn serve(
    name: &'static str,
    uart: Uart,
    interrupt: i16,
    place: &mut Option<Model<'static>>,
    scratch: &mut [u32],
) -> ! {
    // SAFETY: handed on to the caller.
    let mut line = unsafe { uart.start(interrupt) };
    let board = Board {
        name,
        kernel: spae_kernels::best(),
        memory: &spae_runtime::memory,
        clock: spae_runtime::started_clock(),
    };
    let served = spae_app::run(&board, spae_model::file(), place, scratch, &mut line, &mut NoScreen);
    spae_runtime::exit(served.is_ok())
}

/// The entry point, the interrupt handler and the panic handler of a board: its name, its [`Uart`], that one's interrupt line.
#[macro_export]
macro_rules! program {
    ($name:literal, $uart:expr, $interrupt:expr) => {
        #[cortex_m_rt::entry]
        fn main() -> ! {
            // `entry` hands them out once, as `&'static mut`. They never pass through the stack, which could not hold them.
            static mut SCRATCH: [u32; $crate::spae_model::SCRATCH_LEN] = [0; $crate::spae_model::SCRATCH_LEN];
            static mut MODEL: Option<$crate::Model<'static>> = None;
            // SAFETY: no critical section is open.
            unsafe { $crate::serve($name, $uart, $interrupt, MODEL, SCRATCH) }
        }

        #[cortex_m_rt::exception]
        unsafe fn DefaultHandler(interrupt: i16) {
            if interrupt == $interrupt {
                $uart.on_interrupt();
            } else {
                let fault = format_args!("interrupt {interrupt} has no handler");
                $crate::spae_runtime::fail($uart.already_started(), fault);
            }
        }

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::spae_runtime::report_panic($uart.already_started(), info)
        }
    };
}
