//! UART0, a 16550 (its data sheet, chapter 8), with its queues of 16 bytes.

use riscv::interrupt::Interrupt;
use spae_app::Line;
use spae_runtime::{INBOX, Peripheral, Serial, unmask};

use crate::plic;

// SAFETY: the board's memory map has UART0 here, always clocked; it accesses no memory.
const UART0: Peripheral = unsafe { Peripheral::new(0x1000_0000) };

const DATA: usize = 0;
const INTERRUPT_ENABLE: usize = 1;
const RECEIVED: u8 = 1 << 0;
const FIFO_CONTROL: usize = 2;
const FIFOS_EMPTIED: u8 = 1 << 0 | 1 << 1 | 1 << 2;
const LINE_CONTROL: usize = 3;
const BITS_8N1: u8 = 0x3;
/// Has the divisor in the place of data and interrupt enable.
const DIVISOR_ACCESS: u8 = 1 << 7;
const LINE_STATUS: usize = 5;
const RECEIVER_READY: u8 = 1 << 0;
const RECEIVER_OVERRUN: u8 = 1 << 1;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// Sixteen samples a bit at 3.6864 MHz and 115,200 baud.
const DIVISOR: u16 = (3_686_400 / 16 / 115_200) as u16;

pub(crate) fn start() -> impl Line {
    let [low, high] = DIVISOR.to_le_bytes();
    UART0.write_byte::<LINE_CONTROL>(DIVISOR_ACCESS | BITS_8N1);
    UART0.write_byte::<DATA>(low);
    UART0.write_byte::<INTERRUPT_ENABLE>(high);
    UART0.write_byte::<LINE_CONTROL>(BITS_8N1);
    UART0.write_byte::<FIFO_CONTROL>(FIFOS_EMPTIED);
    UART0.write_byte::<INTERRUPT_ENABLE>(RECEIVED);
    plic::start();
    // SAFETY: no critical section is open, and the handler shares nothing but atomics with the rest.
    unsafe { unmask(Interrupt::MachineExternal) };
    already_started()
}

/// For the last words of a panic.
pub(crate) fn already_started() -> impl Line {
    Serial::new(send_now)
}

/// Empties the receiver.
pub(crate) fn on_interrupt() {
    while status() & RECEIVER_READY != 0 {
        INBOX.put(UART0.read_byte::<DATA>());
    }
    INBOX.flow(send_now);
}

/// Called with the handler held off. Reading clears the overrun, so that each is counted here.
fn status() -> u8 {
    let status = UART0.read_byte::<LINE_STATUS>();
    if status & RECEIVER_OVERRUN != 0 {
        INBOX.lose();
    }
    status
}

fn send_now(byte: u8) -> bool {
    let free = status() & TRANSMITTER_EMPTY != 0;
    if free {
        UART0.write_byte::<DATA>(byte);
    }
    free
}
