//! The vocabulary T: which byte strings are words, and how they stand in flash.
//!
//! An id is the rank of a word in the byte-sorted list, so no id map exists. Words are front-coded in blocks of
//! [`BLOCK`]: the first word of a block stands whole, each other one as the length that it shares with its
//! predecessor and its suffix; about 4 bytes a word for frequent English ones. A lookup is a binary search over the
//! blocks' first words, then at most `BLOCK − 1` suffixes.
//!
//! After [`Lexicon::read`] has returned, no accessor fails or reads outside the section.

use core::cmp::Ordering;

use crate::error::{FormatError, LexiconFault, WordFault};
use crate::format::{Cursor, Emitter, Kind, u32_at};

/// Words in a block.
pub const BLOCK: usize = 16;

/// The longest word, in bytes of UTF-8.
pub const MAX_WORD_BYTES: usize = 48;

/// The most words that a lexicon may have.
pub const MAX_WORDS: u32 = 1 << 20;

/// Whether `word` may stand in a lexicon.
///
/// # Errors
/// If it is empty, longer than [`MAX_WORD_BYTES`], or has white space or control characters inside.
pub fn check_word(word: &str) -> Result<(), WordFault> {
    if word.is_empty() {
        Err(WordFault::Empty)
    } else if word.len() > MAX_WORD_BYTES {
        Err(WordFault::TooLong)
    } else if word.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Err(WordFault::WhiteSpace)
    } else {
        Ok(())
    }
}

/// A word copied out of the lexicon.
#[derive(Clone, Copy)]
pub struct Word {
    bytes: [u8; MAX_WORD_BYTES],
    length: u8,
}

impl Word {
    const EMPTY: Self = Self { bytes: [0; MAX_WORD_BYTES], length: 0 };

    /// The word's text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or(&[])
    }

    /// Keeps `shared` bytes and puts `suffix` behind them; `None` where that does not fit.
    fn replace(&mut self, shared: usize, suffix: &[u8]) -> Option<()> {
        if shared > usize::from(self.length) {
            return None;
        }
        let length = shared + suffix.len();
        self.bytes.get_mut(shared..length)?.copy_from_slice(suffix);
        self.length = length as u8;
        Some(())
    }
}

impl core::fmt::Display for Word {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::fmt::Debug for Word {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The words of a model, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Lexicon<'a> {
    word_count: u32,
    /// Where each block starts in `entries`: u32 × blocks.
    offsets: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Lexicon<'a> {
    /// Checks a section completely: every word decodes, obeys [`check_word`], and is greater than the one before it.
    ///
    /// # Errors
    /// If the section is cut off or a word breaks a rule; the error names the word's number.
    pub fn read(section: &'a [u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(Kind::Lexicon, section);
        let word_count = cursor.u32()?;
        if word_count == 0 || word_count > MAX_WORDS {
            return Err(FormatError::WordCount { got: word_count });
        }
        let blocks = (word_count as usize).div_ceil(BLOCK);
        let offsets = cursor.take(4 * blocks)?;
        let entry_length = cursor.u32()?;
        let entries = cursor.take(entry_length as usize)?;
        cursor.finish()?;
        let lexicon = Self { word_count, offsets, entries };
        lexicon.check_words()?;
        Ok(lexicon)
    }

    fn check_words(&self) -> Result<(), FormatError> {
        let mut at = 0;
        let mut previous = Word::EMPTY;
        for id in 0..self.word_count {
            let fault = |fault| FormatError::Word { id, fault };
            let mut word = previous;
            let first = (id as usize).is_multiple_of(BLOCK);
            if first {
                if u32_at(self.offsets, id as usize / BLOCK) as usize != at {
                    return Err(fault(LexiconFault::BlockOffset));
                }
                word = Word::EMPTY;
            }
            at = self.step(at, first, &mut word).ok_or(fault(LexiconFault::Cut))?;
            let text = core::str::from_utf8(word.as_bytes()).map_err(|_| fault(LexiconFault::NotUtf8))?;
            check_word(text).map_err(|rule| fault(LexiconFault::Rule(rule)))?;
            if id > 0 && previous.as_bytes() >= word.as_bytes() {
                return Err(fault(LexiconFault::Unsorted));
            }
            previous = word;
        }
        if at == self.entries.len() {
            Ok(())
        } else {
            Err(FormatError::SectionSurplus { section: Kind::Lexicon, at, left: self.entries.len() - at })
        }
    }

    /// The entry that starts at `at`, the `first` of a block or another.
    fn entry(&self, at: usize, first: bool) -> Option<Entry<'a>> {
        let rest = self.entries.get(at..)?;
        let (shared, lengths) = if first { (0, 1) } else { (usize::from(*rest.first()?), 2) };
        let suffix = rest.get(lengths..lengths + usize::from(*rest.get(lengths - 1)?))?;
        Some(Entry { shared, suffix, end: at + lengths + suffix.len() })
    }

    /// Turns `word`, the predecessor, into the word whose entry starts at `at`; where the next entry starts.
    fn step(&self, at: usize, first: bool, word: &mut Word) -> Option<usize> {
        let Entry { shared, suffix, end } = self.entry(at, first)?;
        word.replace(shared, suffix)?;
        Some(end)
    }

    /// The number of words V.
    pub const fn len(&self) -> u32 {
        self.word_count
    }

    /// Whether there is no word; never true of a lexicon that was read.
    pub const fn is_empty(&self) -> bool {
        self.word_count == 0
    }

    /// The word with the given id.
    pub fn word(&self, id: u32) -> Option<Word> {
        if id >= self.word_count {
            return None;
        }
        let (block, within) = (id as usize / BLOCK, id as usize % BLOCK);
        let mut at = u32_at(self.offsets, block) as usize;
        let mut word = Word::EMPTY;
        for index in 0..=within {
            at = self.step(at, index == 0, &mut word)?;
        }
        Some(word)
    }

    /// All words in the order of their ids.
    pub fn words(&self) -> impl Iterator<Item = Word> + '_ {
        let mut state = (0, Word::EMPTY);
        (0..self.word_count as usize).map_while(move |id| {
            state.0 = self.step(state.0, id.is_multiple_of(BLOCK), &mut state.1)?;
            Some(state.1)
        })
    }

    /// The id of the word with exactly these bytes.
    pub fn id(&self, word: &[u8]) -> Option<u32> {
        let block = self.last_block_at_or_below(word)?;
        let mut at = u32_at(self.offsets, block) as usize;
        // Bytes that the candidate before, which is less than `word`, has in common with it.
        let mut common = 0;
        let first = block * BLOCK;
        for id in first..(first + BLOCK).min(self.word_count as usize) {
            let Entry { shared, suffix, end } = self.entry(at, id == first)?;
            at = end;
            // A candidate that takes over more than those differs from `word` where the one before did.
            if shared <= common {
                match compare(suffix, word.get(shared..)?) {
                    (more, Ordering::Less) => common = shared + more,
                    (_, Ordering::Equal) => return Some(id as u32),
                    (_, Ordering::Greater) => return None,
                }
            }
        }
        None
    }

    /// The last block whose first word is not greater than `word`.
    fn last_block_at_or_below(&self, word: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.offsets.len() / 4);
        while low < high {
            let middle = low + (high - low) / 2;
            let head = self.entry(u32_at(self.offsets, middle) as usize, true)?;
            if compare(head.suffix, word).1 == Ordering::Greater {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low.checked_sub(1)
    }
}

/// A word as it stands in a block.
struct Entry<'a> {
    /// Bytes that it takes over from the word before it.
    shared: usize,
    /// Those that follow.
    suffix: &'a [u8],
    /// Where the next entry starts.
    end: usize,
}

/// How many bytes two words have in common at their start, and their order.
fn compare(a: &[u8], b: &[u8]) -> (usize, Ordering) {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    (common, a.get(common).cmp(&b.get(common)))
}

/// Writes the section for `words`, which must be byte-sorted, distinct and obey [`check_word`].
pub(crate) fn emit(words: &[&str], out: &mut Emitter<'_>) {
    out.u32(words.len() as u32);
    let entries = |visit: &mut dyn FnMut(usize, usize, &str, usize)| {
        let (mut at, mut previous) = (0, "");
        for (id, &word) in words.iter().enumerate() {
            let shared = if id.is_multiple_of(BLOCK) {
                0
            } else {
                previous.bytes().zip(word.bytes()).take_while(|(a, b)| a == b).count()
            };
            visit(id, shared, word, at);
            at += word.len() - shared + if id.is_multiple_of(BLOCK) { 1 } else { 2 };
            previous = word;
        }
        at
    };
    let length = entries(&mut |id, _, _, at| {
        if id.is_multiple_of(BLOCK) {
            out.u32(at as u32);
        }
    });
    out.u32(length as u32);
    entries(&mut |id, shared, word, _| {
        if !id.is_multiple_of(BLOCK) {
            out.u8(shared as u8);
        }
        out.u8((word.len() - shared) as u8);
        out.bytes(word.as_bytes().get(shared..).unwrap_or(&[]));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(words: &[&str], buffer: &mut [u8]) -> usize {
        let mut out = Emitter::new(buffer);
        emit(words, &mut out);
        out.finish().unwrap()
    }

    #[test]
    fn words_of_any_script_are_found_by_rank() {
        let words = ["eins", "einsam", "zwei", "éclair", "ноль", "零"];
        let mut buffer = [0; 256];
        let length = section(&words, &mut buffer);
        let lexicon = Lexicon::read(&buffer[..length]).unwrap();
        for (id, word) in words.iter().enumerate() {
            assert_eq!(lexicon.id(word.as_bytes()), Some(id as u32));
            assert_eq!(lexicon.word(id as u32).unwrap().as_str(), *word);
        }
        assert!(lexicon.words().map(|w| w.as_str().len()).eq(words.iter().map(|w| w.len())));
        for stranger in ["", "a", "ein", "einsamer", "zz", "一", "\u{10ffff}"] {
            assert_eq!(lexicon.id(stranger.as_bytes()), None, "{stranger}");
        }
        assert!(lexicon.word(6).is_none());
    }

    #[test]
    fn a_lexicon_out_of_order_or_with_bad_words_is_refused() {
        let long = [b'x'; MAX_WORD_BYTES + 1];
        let long = core::str::from_utf8(&long).unwrap();
        for (words, fault) in [
            (&["b", "a"][..], LexiconFault::Unsorted),
            (&["a", "a"], LexiconFault::Unsorted),
            (&[""], LexiconFault::Rule(WordFault::Empty)),
            (&["a b"], LexiconFault::Rule(WordFault::WhiteSpace)),
            (&["a\u{a0}b"], LexiconFault::Rule(WordFault::WhiteSpace)),
            (&[long], LexiconFault::Cut),
        ] {
            let mut buffer = [0; 256];
            let length = section(words, &mut buffer);
            match Lexicon::read(&buffer[..length]) {
                Err(FormatError::Word { fault: got, .. }) => assert_eq!(got, fault, "{words:?}"),
                other => panic!("{words:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_lexicon_of_no_words_is_refused() {
        assert!(matches!(Lexicon::read(&[0; 8]), Err(FormatError::WordCount { got: 0 })));
    }
}
