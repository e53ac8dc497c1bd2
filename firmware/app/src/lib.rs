//! Words from a serial line, pictures on a screen: the firmware without a board.
//!
//! A board lends a [`Line`], a `DrawTarget` of 128 × 64 greys, memory and a model, and calls [`run`]. Text comes in
//! byte by byte; each time a layer of the pyramid is complete the picture is drawn anew. What is met on the way is
//! reported on the line.
//!
//! **In**: UTF-8 text as [`spae_core::stream`] forgives it, and five control bytes:
//!
//! | byte | means |
//! |---|---|
//! | 0x04 (Ctrl-D) | the text ends here; the next byte starts another |
//! | 0x05 (Ctrl-E) | every further picture of this text is also reported pixel by pixel |
//! | 0x12 (Ctrl-R) | when this text ends, the work of its picture is measured and reported |
//! | 0x18 (Ctrl-X) | forget this text and start another |
//! | 0x03 (Ctrl-C) | stop serving |
//!
//! **Out**: lines of words and decimal numbers; offsets count bytes of the text from 0.
//!
//! | line | says |
//! |---|---|
//! | `board …` | once: the board's name, and what the model is |
//! | `ready` | a text may begin |
//! | `layer L of N` | layer L, from 1, is complete and its picture on the screen |
//! | `partial` | the text ended inside a layer; the picture on the screen has its words too |
//! | `row Y HEX` | on request: row Y of that picture, one byte a pixel, channel after channel |
//! | `checksum HEX` | on request: [`Checksum`] of that picture |
//! | `unknown O` | no word of the lexicon at offset O; its place stays uncovered |
//! | `label O` | words from offset O on are a label and no part of the picture |
//! | `surplus O` | the first word after the last layer is at offset O; it and the others change nothing |
//! | `summary …` | the text has ended: counts; `lost` of the bytes sent came too fast to be kept |
//! | `memory …` | bytes of RAM: statics (with scratch memory), scratch memory alone, deepest stack so far |
//! | `work …` | on request: ticks of the board's clock, see below |
//! | `failed …` | the model does not fit the board, or the screen does not answer |
//!
//! Work is reported as `work spin N T`, T ticks for N instructions that are known; `work stage S T`, for all rows of stage
//! S of the decoder; `work picture T`, for the whole picture without a screen; and `work lookup T`, for the word of the
//! lexicon that takes longest to find.
//!
//! An unknown word keeps its place (policy [`Hole`](spae_core::stream::UnknownPolicy::Hole)): on a noisy line it is far
//! likelier that a word was damaged than that one was added, and so the words behind it stay where they belong.
//!
//! While a picture is computed, input keeps coming. An [`Inbox`] holds it and stops the sender with XOFF (0x13) until
//! XON (0x11); what a sender that ignores them loses is counted, never silent.
//!
//! This crate knows no registers, no pins and no processor.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod board;
mod inbox;
mod no_screen;
mod report;
mod screen;
mod session;
mod work;

pub use board::{Board, Clock, Memory};
pub use inbox::{Inbox, XOFF, XON};
pub use no_screen::NoScreen;
pub use report::Checksum;
pub use session::{run, serve};

/// A serial line.
pub trait Line: core::fmt::Write {
    /// Waits for the next byte; `None` once the line is closed.
    fn read(&mut self) -> Option<u8>;

    /// Bytes that were lost since the last call because they came faster than they were read.
    fn take_lost(&mut self) -> u32;
}
