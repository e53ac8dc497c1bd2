//! The push parser: bytes in, events out. It never allocates and never panics.

use super::splitter::{Piece, after_last_separator, split};
use crate::error::UnknownWord;
use crate::lexicon::{Lexicon, MAX_WORD_BYTES};
use crate::pyramid::Pyramid;

/// What to do with a word that the lexicon does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum UnknownPolicy {
    /// Stop there.
    #[default]
    Error,
    /// Leave it out: the next word takes its place.
    Skip,
    /// Keep its place and leave it uncovered.
    Hole,
}

/// What was met in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Event {
    /// A word of the lexicon took a place.
    Token {
        /// Its id.
        id: u32,
        /// The layer.
        layer: usize,
        /// The place in the layer, row-major.
        index: usize,
    },
    /// A word that the lexicon does not have. The policy decides what follows.
    Unknown {
        /// Offset of its first byte in the text.
        offset: u32,
    },
    /// An unknown word kept its place, which stays uncovered.
    Hole {
        /// The layer.
        layer: usize,
        /// The place in the layer, row-major.
        index: usize,
    },
    /// All places of a layer are taken.
    LayerComplete {
        /// The layer.
        layer: usize,
    },
    /// Words in front of a colon ("Layer 2:", "Here you are:", `"layer2":`) or behind a code fence: not part of the
    /// picture.
    Label {
        /// Offset of its first word in the text.
        offset: u32,
    },
    /// A word after the last layer was complete.
    Surplus {
        /// Offset of its first byte in the text.
        offset: u32,
    },
}

/// Counts of what was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Summary {
    /// Words that took a place.
    pub tokens: u32,
    /// Words that the lexicon does not have, inside labels and after the last layer not counted.
    pub unknown: u32,
    /// Words after the last layer was complete.
    pub surplus: u32,
    /// Layers complete.
    pub layers_complete: u32,
}

/// Longest run of bytes without white space that is looked at as one; a word with decoration on both sides.
const RUN_BYTES: usize = 2 * MAX_WORD_BYTES;

/// Words at the start of a line that wait for a colon. Longer labels than this are taken for words.
const PENDING: usize = 24;

/// A word that waits for its line to show whether it is a label.
#[derive(Clone, Copy, Debug)]
struct Pending {
    offset: u32,
    /// [`UNKNOWN`] for an unknown word: an option would take half as much again.
    id: u32,
}

/// No id: there are at most [`MAX_WORDS`](crate::lexicon::MAX_WORDS).
const UNKNOWN: u32 = u32::MAX;

/// The push parser.
///
/// Forgiven without a word: white space of any kind, commas, quotes, brackets, numbering, list marks, capitals, code
/// fences, and labels. A label is what stands in a line up to a colon, or between the quotes that the colon follows; so
/// the first words of a line are held back until the line ends, goes on for more than 24 words, or the text is [finished](Self::finish).
/// Reported: unknown words with their offsets, and surplus words. Bytes that are no UTF-8 are unknown words.
#[derive(Debug)]
pub struct Reader<'m> {
    lexicon: &'m Lexicon<'m>,
    pyramid: &'m Pyramid,
    policy: UnknownPolicy,
    /// Bytes since the last white space.
    run: [u8; RUN_BYTES],
    /// Length of that run; beyond [`RUN_BYTES`] it is unknown whatever it is.
    run_length: usize,
    /// Offset of the next byte in the text.
    offset: u32,
    pending: [Pending; PENDING],
    pending_count: usize,
    /// The line has more words than can wait.
    line_is_open: bool,
    /// The line starts with a code fence, and has so many runs.
    fence_runs: u32,
    /// How many words were waiting at the last two double quotes of the line.
    quotes: [usize; 2],
    /// No word has come since the last quote.
    behind_quote: bool,
    /// Places taken, holes included.
    places: usize,
    summary: Summary,
    failed: Option<UnknownWord>,
}

impl<'m> Reader<'m> {
    /// A reader of texts for `pyramid` made of `lexicon`'s words.
    pub const fn new(lexicon: &'m Lexicon<'m>, pyramid: &'m Pyramid, policy: UnknownPolicy) -> Self {
        Self {
            lexicon,
            pyramid,
            policy,
            run: [0; RUN_BYTES],
            run_length: 0,
            offset: 0,
            pending: [Pending { offset: 0, id: UNKNOWN }; PENDING],
            pending_count: 0,
            line_is_open: false,
            fence_runs: 0,
            quotes: [0; 2],
            behind_quote: false,
            places: 0,
            summary: Summary { tokens: 0, unknown: 0, surplus: 0, layers_complete: 0 },
            failed: None,
        }
    }

    /// Forgets the text, ready for the next one.
    pub const fn clear(&mut self) {
        // Field by field, since a new reader takes room on the stack. What is counted as 0 is not read.
        self.run_length = 0;
        self.offset = 0;
        self.pending_count = 0;
        self.line_is_open = false;
        self.fence_runs = 0;
        self.quotes = [0; 2];
        self.behind_quote = false;
        self.places = 0;
        self.summary = Summary { tokens: 0, unknown: 0, surplus: 0, layers_complete: 0 };
        self.failed = None;
    }

    /// What has been met so far.
    pub const fn summary(&self) -> Summary {
        self.summary
    }

    /// Takes in bytes as they come, one or many.
    ///
    /// # Errors
    /// At an unknown word under [`UnknownPolicy::Error`], and at every call after that.
    pub fn push(&mut self, bytes: &[u8], mut on: impl FnMut(Event)) -> Result<(), UnknownWord> {
        self.failed.map_or(Ok(()), Err)?;
        for &byte in bytes {
            if byte.is_ascii_whitespace() || byte == 0x0B {
                self.end_run(&mut on)?;
                if matches!(byte, b'\n' | b'\r') {
                    self.end_line(&mut on)?;
                }
            } else {
                if self.run_length == RUN_BYTES {
                    self.shorten_run(&mut on)?;
                }
                if let Some(slot) = self.run.get_mut(self.run_length) {
                    *slot = byte;
                }
                self.run_length = self.run_length.saturating_add(1);
            }
            self.offset = self.offset.saturating_add(1);
        }
        Ok(())
    }

    /// Ends the text: a word or line that was still open counts.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self, mut on: impl FnMut(Event)) -> Result<Summary, UnknownWord> {
        self.failed.map_or(Ok(()), Err)?;
        self.end_run(&mut on)?;
        self.end_line(&mut on)?;
        Ok(self.summary)
    }

    /// Words without white space between them ("red,blue,green") have filled the run's memory: all up to the last
    /// separator goes on its way. Where there is none, the run is too long for a word and its decoration.
    fn shorten_run(&mut self, on: &mut impl FnMut(Event)) -> Result<(), UnknownWord> {
        let (run, start) = (self.run, self.offset.saturating_sub(RUN_BYTES as u32));
        let (done, rest) = run.split_at_checked(after_last_separator(&run)).unwrap_or((&[], &run));
        if done.is_empty() {
            return Ok(());
        }
        self.run.iter_mut().zip(rest).for_each(|(slot, byte)| *slot = *byte);
        self.run_length = rest.len();
        self.take_run(done, start, on)
    }

    fn end_run(&mut self, on: &mut impl FnMut(Event)) -> Result<(), UnknownWord> {
        let length = core::mem::take(&mut self.run_length);
        let start = self.offset.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX));
        let run = self.run;
        match run.get(..length) {
            Some([]) => Ok(()),
            Some(run) => self.take_run(run, start, on),
            None => self.word(Pending { offset: start, id: UNKNOWN }, on),
        }
    }

    /// Takes in a run that starts at byte `start` of the text.
    fn take_run(&mut self, run: &[u8], start: u32, on: &mut impl FnMut(Event)) -> Result<(), UnknownWord> {
        let lexicon = self.lexicon;
        let is_word = lexicon.id(run).is_some();
        let opens_fence = run.starts_with(b"```") && !is_word && self.pending_count == 0 && !self.line_is_open;
        if self.fence_runs > 0 || opens_fence {
            self.fence_runs = self.fence_runs.saturating_add(1);
        }
        let mut result = Ok(());
        split(lexicon, run, |piece| {
            let at = |within: usize| start.saturating_add(within as u32);
            match piece {
                _ if result.is_err() => {}
                Piece::Word { id, within } => result = self.word(Pending { offset: at(within), id }, on),
                Piece::Unknown { within } => result = self.word(Pending { offset: at(within), id: UNKNOWN }, on),
                Piece::Quote => {
                    let [_, last] = self.quotes;
                    self.quotes = [last, self.pending_count];
                    self.behind_quote = true;
                }
                Piece::Colon => self.drop_label(on),
            }
        });
        result
    }

    fn end_line(&mut self, on: &mut impl FnMut(Event)) -> Result<(), UnknownWord> {
        // "```text" alone on its line names the fence's language.
        if self.fence_runs == 1 {
            self.drop_label(on);
        }
        let result = self.release(on);
        self.line_is_open = false;
        self.fence_runs = 0;
        self.quotes = [0; 2];
        self.behind_quote = false;
        result
    }

    /// Drops the words that stand before a colon: all of the line, or those between the quotes that it follows.
    fn drop_label(&mut self, on: &mut impl FnMut(Event)) {
        if self.line_is_open {
            return;
        }
        let [opening, _] = self.quotes;
        let first = if self.behind_quote { opening } else { 0 };
        if let Some(label) = self.pending.get(first..self.pending_count).and_then(<[_]>::first) {
            on(Event::Label { offset: label.offset });
            self.pending_count = first;
        }
    }

    fn word(&mut self, word: Pending, on: &mut impl FnMut(Event)) -> Result<(), UnknownWord> {
        self.behind_quote = false;
        if !self.line_is_open {
            if let Some(slot) = self.pending.get_mut(self.pending_count) {
                *slot = word;
                self.pending_count += 1;
                return Ok(());
            }
            self.line_is_open = true;
            self.release(on)?;
        }
        self.take_in(word, on)
    }

    fn release(&mut self, on: &mut impl FnMut(Event)) -> Result<(), UnknownWord> {
        let count = core::mem::take(&mut self.pending_count);
        (0..count).try_for_each(|at| self.pending.get(at).copied().map_or(Ok(()), |word| self.take_in(word, on)))
    }

    /// Gives a word its place.
    fn take_in(&mut self, word: Pending, on: &mut impl FnMut(Event)) -> Result<(), UnknownWord> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let Some((layer, index)) = self.pyramid.locate(self.places) else {
            self.summary.surplus = self.summary.surplus.saturating_add(1);
            on(Event::Surplus { offset: word.offset });
            return Ok(());
        };
        match word.id {
            UNKNOWN => {
                self.summary.unknown = self.summary.unknown.saturating_add(1);
                on(Event::Unknown { offset: word.offset });
                match self.policy {
                    UnknownPolicy::Error => {
                        let error = UnknownWord { offset: word.offset };
                        self.failed = Some(error);
                        return Err(error);
                    }
                    UnknownPolicy::Skip => return Ok(()),
                    UnknownPolicy::Hole => on(Event::Hole { layer, index }),
                }
            }
            id => {
                self.summary.tokens += 1;
                on(Event::Token { id, layer, index });
            }
        }
        self.places += 1;
        if self.pyramid.layers_complete(self.places) > layer {
            self.summary.layers_complete += 1;
            on(Event::LayerComplete { layer });
        }
        Ok(())
    }
}
