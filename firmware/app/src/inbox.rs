//! What the line has received and nobody has read yet: a ring that an interrupt handler fills, with software flow
//! control and a count of what did not fit.
//!
//! One context (the handler) calls [`Inbox::put`] and [`Inbox::lose`], one other [`Inbox::take`] and
//! [`Inbox::take_lost`]; they never wait for each other. [`Inbox::flow`] belongs to both, and the second calls it with
//! the handler held off.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// Asks the sender to go on.
pub const XON: u8 = 0x11;

/// Asks the sender to pause.
pub const XOFF: u8 = 0x13;

/// A ring of `N` bytes, `N` a power of two.
#[derive(Debug)]
pub struct Inbox<const N: usize> {
    bytes: [AtomicU8; N],
    /// Bytes ever put in, modulo 2³²; the handler's.
    put: AtomicU32,
    /// Bytes ever taken out, modulo 2³²; the reader's.
    taken: AtomicU32,
    /// Bytes ever lost, modulo 2³²; the handler's.
    lost: AtomicU32,
    /// Lost bytes that have been told of; the reader's.
    told: AtomicU32,
    /// XOFF was sent last.
    paused: AtomicBool,
}

impl<const N: usize> Inbox<N> {
    /// A sender has this much room after XOFF: three quarters. Adapters on the way send on for a while.
    const PAUSE_AT: u32 = (N / 4) as u32;
    const RESUME_AT: u32 = (N / 16) as u32;

    /// An empty ring.
    pub const fn new() -> Self {
        const { assert!(N.is_power_of_two() && N >= 16 && N <= 1 << 16) };
        Self {
            bytes: [const { AtomicU8::new(0) }; N],
            put: AtomicU32::new(0),
            taken: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            told: AtomicU32::new(0),
            paused: AtomicBool::new(false),
        }
    }

    fn waiting(&self) -> u32 {
        self.put.load(Ordering::Acquire).wrapping_sub(self.taken.load(Ordering::Acquire))
    }

    fn slot(&self, count: u32) -> Option<&AtomicU8> {
        self.bytes.get(count as usize % N)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// Keeps a byte, or counts it as lost.
    pub fn put(&self, byte: u8) {
        let put = self.put.load(Ordering::Relaxed);
        match self.slot(put) {
            Some(slot) if (self.waiting() as usize) < N => {
                slot.store(byte, Ordering::Relaxed);
                self.put.store(put.wrapping_add(1), Ordering::Release);
            }
            _ => self.lose(),
        }
    }

    /// Counts a byte that was lost before it could be put.
    pub fn lose(&self) {
        self.lost.store(self.lost.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The oldest byte.
    pub fn take(&self) -> Option<u8> {
        if self.is_empty() {
            return None;
        }
        let taken = self.taken.load(Ordering::Relaxed);
        let byte = self.slot(taken)?.load(Ordering::Relaxed);
        self.taken.store(taken.wrapping_add(1), Ordering::Release);
        Some(byte)
    }

    /// Bytes lost since the last call.
    pub fn take_lost(&self) -> u32 {
        let lost = self.lost.load(Ordering::Relaxed);
        let told = self.told.load(Ordering::Relaxed);
        self.told.store(lost, Ordering::Relaxed);
        lost.wrapping_sub(told)
    }

    /// Sends XOFF or XON if one is due. `send` says whether the line could take it; if not, it stays due.
    pub fn flow(&self, send: impl FnOnce(u8) -> bool) {
        let waiting = self.waiting();
        let paused = self.paused.load(Ordering::Relaxed);
        let due = if paused { waiting <= Self::RESUME_AT } else { waiting >= Self::PAUSE_AT };
        if due && send(if paused { XON } else { XOFF }) {
            self.paused.store(!paused, Ordering::Relaxed);
        }
    }
}

impl<const N: usize> Default for Inbox<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    #[test]
    fn bytes_leave_in_order_across_the_seam() {
        let inbox = Inbox::<16>::new();
        let mut got = Vec::new();
        for byte in 0..100 {
            inbox.put(byte);
            if byte % 3 != 0 {
                got.extend(inbox.take());
            }
            if byte % 9 == 0 {
                got.extend(core::iter::from_fn(|| inbox.take()));
            }
        }
        got.extend(core::iter::from_fn(|| inbox.take()));
        assert!(got.iter().copied().eq(0..100));
        assert_eq!(inbox.take_lost(), 0);
    }

    #[test]
    fn what_does_not_fit_is_counted_once_and_the_rest_kept() {
        let inbox = Inbox::<16>::new();
        (0..20).for_each(|byte| inbox.put(byte));
        inbox.lose();
        assert_eq!(inbox.take_lost(), 5);
        assert_eq!(inbox.take_lost(), 0);
        assert!(core::iter::from_fn(|| inbox.take()).eq(0..16));
    }

    #[test]
    fn the_sender_pauses_at_a_quarter_and_goes_on_at_a_sixteenth() {
        let inbox = Inbox::<64>::new();
        let mut sent = Vec::new();
        for byte in 0..40 {
            inbox.put(byte);
            inbox.flow(|byte| {
                sent.push((byte, inbox.waiting()));
                true
            });
        }
        while inbox.take().is_some() {
            inbox.flow(|byte| {
                sent.push((byte, inbox.waiting()));
                true
            });
        }
        assert_eq!(sent, [(XOFF, 16), (XON, 4)]);
    }

    #[test]
    fn a_pause_that_the_line_could_not_take_stays_due() {
        let inbox = Inbox::<16>::new();
        (0..4).for_each(|byte| inbox.put(byte));
        inbox.flow(|_| false);
        let mut sent = None;
        inbox.flow(|byte| {
            sent = Some(byte);
            true
        });
        assert_eq!(sent, Some(XOFF));
    }

    #[test]
    fn two_threads_lose_nothing() {
        static INBOX: Inbox<1024> = Inbox::new();
        let total = 1_000_000u32;
        let writer = std::thread::spawn(move || {
            for n in 0..total {
                while INBOX.waiting() as usize == 1024 {
                    std::thread::yield_now();
                }
                INBOX.put(n as u8);
            }
        });
        for n in 0..total {
            let byte = loop {
                if let Some(byte) = INBOX.take() {
                    break byte;
                }
                std::thread::yield_now();
            };
            assert_eq!(byte, n as u8);
        }
        writer.join().unwrap();
        assert_eq!(INBOX.take_lost(), 0);
    }
}
