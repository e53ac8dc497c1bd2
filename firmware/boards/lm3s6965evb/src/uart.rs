//! UART0 (data sheet, chapter 12).

use spae_app::Line;
use spae_runtime::{INBOX, Peripheral, Serial, unmask};

use crate::clock::FREQUENCY;

/// The interrupt line of UART0.
pub(crate) const INTERRUPT: i16 = 5;

// SAFETY: the data sheet's memory map has UART0 and port A here, both clocked once `clock::start` has returned, which
// `main` calls first; neither accesses memory.
const UART0: Peripheral = unsafe { Peripheral::new(0x4000_C000) };
// SAFETY: as above.
const PORT_A: Peripheral = unsafe { Peripheral::new(0x4000_4000) };

const DATA: usize = 0x000;
/// In what is read from `DATA`: bytes were lost before this one.
const OVERRUN: u32 = 1 << 11;
const FLAGS: usize = 0x018;
const RECEIVER_EMPTY: u32 = 1 << 4;
const TRANSMITTER_FULL: u32 = 1 << 5;
const BAUD_INTEGER: usize = 0x024;
const BAUD_FRACTION: usize = 0x028;
const LINE_CONTROL: usize = 0x02C;
const FIFOS_8N1: u32 = 0x3 << 5 | 1 << 4;
const CONTROL: usize = 0x030;
const TRANSMIT_RECEIVE_ENABLE: u32 = 1 << 9 | 1 << 8 | 1;
const INTERRUPT_MASK: usize = 0x038;
const INTERRUPT_CLEAR: usize = 0x044;
const RECEIVED_OR_TIMEOUT: u32 = 1 << 4 | 1 << 6;

const ALTERNATE_FUNCTION: usize = 0x420;
const DIGITAL_ENABLE: usize = 0x51C;
const PINS: u32 = 1 << 0 | 1 << 1;

const BAUD: u32 = 115_200;
/// Clock cycles a bit, times 4: sixteen samples a bit, in 64ths.
const DIVISOR: u32 = (FREQUENCY * 4 + BAUD / 2) / BAUD;

pub(crate) fn start() -> impl Line {
    PORT_A.set::<ALTERNATE_FUNCTION>(PINS);
    PORT_A.set::<DIGITAL_ENABLE>(PINS);
    UART0.write::<CONTROL>(0);
    UART0.write::<BAUD_INTEGER>(DIVISOR >> 6);
    UART0.write::<BAUD_FRACTION>(DIVISOR & 0x3F);
    UART0.write::<LINE_CONTROL>(FIFOS_8N1);
    UART0.write::<INTERRUPT_MASK>(RECEIVED_OR_TIMEOUT);
    UART0.write::<CONTROL>(TRANSMIT_RECEIVE_ENABLE);
    // SAFETY: no critical section is open, and the handler shares nothing but atomics with the rest.
    unsafe { unmask(INTERRUPT as u16) };
    already_started()
}

/// For the last words of a panic.
pub(crate) fn already_started() -> impl Line {
    Serial::new(send_now)
}

/// Empties the receiver.
pub(crate) fn on_interrupt() {
    UART0.write::<INTERRUPT_CLEAR>(RECEIVED_OR_TIMEOUT);
    while UART0.read::<FLAGS>() & RECEIVER_EMPTY == 0 {
        let data = UART0.read::<DATA>();
        if data & OVERRUN != 0 {
            INBOX.lose();
        }
        INBOX.put(data as u8);
    }
    INBOX.flow(send_now);
}

fn send_now(byte: u8) -> bool {
    let free = UART0.read::<FLAGS>() & TRANSMITTER_FULL == 0;
    if free {
        UART0.write::<DATA>(byte.into());
    }
    free
}
