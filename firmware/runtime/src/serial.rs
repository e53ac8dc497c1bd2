//! A board's serial line: received by interrupt into [`INBOX`], sent by waiting.

use spae_app::{Inbox, Line};

use crate::processor::{hold_off, rest};
use crate::wait_while;

/// What the interrupt handler of the board's UART has received: 88 ms of a line at 115,200 baud. A picture takes longer,
/// hence the flow control.
pub static INBOX: Inbox<1024> = Inbox::new();

/// The board's serial line.
#[derive(Debug)]
pub struct Serial<S>(S);

impl<S: Fn(u8) -> bool> Serial<S> {
    /// A line that sends by `send_now`, which sends a byte unless there is no room for it now, and says whether it has.
    pub const fn new(send_now: S) -> Self {
        Self(send_now)
    }
}

impl<S: Fn(u8) -> bool> Line for Serial<S> {
    fn read(&mut self) -> Option<u8> {
        loop {
            if let Some(byte) = INBOX.take() {
                hold_off(|| INBOX.flow(&self.0));
                return Some(byte);
            }
            // Asleep only if nothing has come since; an interrupt that is held off wakes the processor all the same.
            hold_off(|| {
                if INBOX.is_empty() {
                    rest();
                }
            });
        }
    }

    fn take_lost(&mut self) -> u32 {
        INBOX.take_lost()
    }
}

impl<S: Fn(u8) -> bool> core::fmt::Write for Serial<S> {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for byte in s.bytes() {
            // The handler sends too: look and send in one go.
            let send = |byte| wait_while(|| !hold_off(|| (self.0)(byte)));
            if byte == b'\n' {
                send(b'\r');
            }
            send(byte);
        }
        Ok(())
    }
}
