//! The serial line: UART0 on GP0 and GP1, 115,200 baud, 8N1. An interrupt fills an [`Inbox`] while a picture is drawn.

use core::cell::RefCell;
use core::fmt::{self, Write};

use cortex_m::peripheral::NVIC;
use critical_section::Mutex;
use nb::Error::{Other, WouldBlock};
use rp235x_hal as hal;

use hal::fugit::RateExtU32;
use hal::gpio::bank0::{Gpio0, Gpio1};
use hal::gpio::{FunctionUart, Pin, PullDown};
use hal::pac::{self, Interrupt, interrupt};
use hal::uart::{DataBits, Enabled, StopBits, UartConfig, UartPeripheral};
use spae_app::Inbox;

type Pins = (Pin<Gpio0, FunctionUart, PullDown>, Pin<Gpio1, FunctionUart, PullDown>);
type Uart = UartPeripheral<Enabled, pac::UART0, Pins>;

/// The handler receives and stops the sender; the rest of the program sends.
static UART: Mutex<RefCell<Option<Uart>>> = Mutex::new(RefCell::new(None));

/// What has been received and not read: 88 ms of the line. When a quarter is full the sender is asked to pause.
static INBOX: Inbox<1024> = Inbox::new();

/// The serial line, started.
pub(crate) struct Line(());

impl Line {
    pub(crate) fn start(uart: pac::UART0, pins: Pins, resets: &mut pac::RESETS, clock: hal::fugit::HertzU32) -> Self {
        let config = UartConfig::new(115_200.Hz(), DataBits::Eight, None, StopBits::One);
        let Ok(mut uart) = UartPeripheral::new(uart, pins, resets).enable(config, clock) else {
            defmt::panic!("the clock is too slow for the line");
        };
        uart.set_fifos(true);
        uart.enable_rx_interrupt();
        critical_section::with(|token| UART.replace(token, Some(uart)));
        // SAFETY: no critical section is open.
        unsafe { NVIC::unmask(Interrupt::UART0_IRQ) };
        Self(())
    }

    /// Sleeps until there is a byte.
    pub(crate) fn read(&mut self) -> u8 {
        loop {
            if let Some(byte) = INBOX.take() {
                with_uart(|uart| INBOX.flow(|byte| send_now(uart, byte)));
                return byte;
            }
            // Asleep only if nothing has come since; an interrupt that is held off wakes the processor all the same.
            critical_section::with(|_| {
                if INBOX.is_empty() {
                    cortex_m::asm::wfi();
                }
            });
        }
    }

    /// Bytes that came too fast since the last call.
    pub(crate) fn take_lost(&mut self) -> u32 {
        INBOX.take_lost()
    }

    /// Sends a line of text.
    pub(crate) fn say(&mut self, text: fmt::Arguments<'_>) {
        // Sending waits and never fails.
        let _ = writeln!(self, "{text}\r");
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while !with_uart(|uart| send_now(uart, byte)) {}
        }
        Ok(())
    }
}

fn with_uart<R: Default>(work: impl FnOnce(&Uart) -> R) -> R {
    critical_section::with(|token| UART.borrow_ref(token).as_ref().map(work).unwrap_or_default())
}

/// Sends a byte unless there is no room for it now; whether it has.
fn send_now(uart: &Uart, byte: u8) -> bool {
    uart.write_raw(&[byte]).is_ok()
}

#[interrupt]
fn UART0_IRQ() {
    with_uart(|uart| {
        loop {
            // One at a time: what comes with an error is then that byte and no other.
            let mut byte = [0];
            match uart.read_raw(&mut byte) {
                Ok(_) => INBOX.put(byte[0]),
                Err(Other(error)) => {
                    INBOX.lose();
                    error.discarded.iter().for_each(|&byte| INBOX.put(byte));
                }
                Err(WouldBlock) => break,
            }
        }
        INBOX.flow(|byte| send_now(uart, byte));
    });
}
