//! UART0, an APB UART of the Cortex-M System Design Kit (its manual, section 4.3): one byte deep, received by
//! interrupt into an [`Inbox`], sent by waiting.

use cortex_m::asm::wfi;
use cortex_m::interrupt;
use spae_app::{Inbox, Line};
use spae_runtime::{Peripheral, unmask, wait_while};

/// The receive interrupt line of UART0.
pub(crate) const INTERRUPT: i16 = 0;

// SAFETY: the application note's memory map has UART0 here, always clocked; it accesses no memory.
const UART0: Peripheral = unsafe { Peripheral::new(0x4000_4000) };

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

/// Clock cycles a bit at 25 MHz and 115,200 baud.
const DIVISOR: u32 = 25_000_000 / 115_200;

/// 88 ms of the line; a picture takes longer, hence the flow control.
static INBOX: Inbox<1024> = Inbox::new();

/// UART0.
#[derive(Debug)]
pub(crate) struct Uart(());

impl Uart {
    pub(crate) fn start() -> Self {
        UART0.write::<BAUD_DIVIDER>(DIVISOR);
        UART0.write::<CONTROL>(TRANSMIT_RECEIVE_INTERRUPT);
        // SAFETY: no critical section is open, and the handler shares nothing but atomics with the rest.
        unsafe { unmask(INTERRUPT as u16) };
        Self(())
    }

    /// For the last words of a panic.
    pub(crate) const fn already_started() -> Self {
        Self(())
    }
}

/// Empties the receiver.
pub(crate) fn on_interrupt() {
    UART0.write::<INTERRUPT_CLEAR>(RECEIVED);
    let state = UART0.read::<STATE>();
    if state & RECEIVER_OVERRUN != 0 {
        UART0.write::<STATE>(RECEIVER_OVERRUN);
        INBOX.lose();
    }
    if state & RECEIVER_FULL != 0 {
        INBOX.put(UART0.read::<DATA>() as u8);
    }
    INBOX.flow(send_now);
}

fn send_now(byte: u8) -> bool {
    let free = UART0.read::<STATE>() & TRANSMITTER_FULL == 0;
    if free {
        UART0.write::<DATA>(byte.into());
    }
    free
}

impl Line for Uart {
    fn read(&mut self) -> Option<u8> {
        loop {
            if let Some(byte) = INBOX.take() {
                interrupt::free(|_| INBOX.flow(send_now));
                return Some(byte);
            }
            // Asleep only if nothing has come since; an interrupt that is held off wakes the processor all the same.
            interrupt::free(|_| {
                if INBOX.is_empty() {
                    wfi();
                }
            });
        }
    }

    fn take_lost(&mut self) -> u32 {
        INBOX.take_lost()
    }
}

impl core::fmt::Write for Uart {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for byte in s.bytes() {
            // The handler sends too: look and send in one go.
            let send = |byte| wait_while(|| !interrupt::free(|_| send_now(byte)));
            if byte == b'\n' {
                send(b'\r');
            }
            send(byte);
        }
        Ok(())
    }
}
