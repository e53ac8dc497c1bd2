//! From a run of bytes without white space to candidates for words: what is decoration and what is not.

use crate::lexicon::{Lexicon, MAX_WORD_BYTES};

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A word of the lexicon.
    Word(u32),
    /// Something else, that starts so many bytes into the run.
    Unknown {
        /// Bytes before it.
        within: usize,
    },
}

/// Hands out the pieces of `run` in order. A run that is itself a word stays whole, whatever it is made of; else
/// commas, quotes, brackets and the like separate, other punctuation is stripped from both ends, letters are folded to
/// lower case where only that makes a word, and what is left of numbering ("3.", "(12)") is nothing.
pub(super) fn split(lexicon: &Lexicon<'_>, run: &[u8], mut piece: impl FnMut(Piece)) {
    if let Some(id) = lexicon.id(run) {
        return piece(Piece::Word(id));
    }
    let Ok(text) = core::str::from_utf8(run) else {
        return piece(Piece::Unknown { within: 0 });
    };
    for part in text.split(separates) {
        let word = part.trim_matches(decorates);
        if word.is_empty() {
            continue;
        }
        let decorated = word.len() < run.len();
        if decorated && word.bytes().all(|byte| byte.is_ascii_digit()) && lexicon.id(word.as_bytes()).is_none() {
            continue;
        }
        match look_up(lexicon, word) {
            Some(id) => piece(Piece::Word(id)),
            // "red-blue" and "zero.one" are two words if both halves are; else they are one that is unknown.
            None if word.split(decorates).all(|half| half.is_empty() || look_up(lexicon, half).is_some()) => {
                word.split(decorates).filter_map(|half| look_up(lexicon, half)).for_each(|id| piece(Piece::Word(id)));
            }
            None => piece(Piece::Unknown { within: word.as_ptr().addr() - run.as_ptr().addr() }),
        }
    }
}

/// Where the text behind the last separator of `run` starts; 0 if there is none.
pub(super) fn after_last_separator(run: &[u8]) -> usize {
    // The last character may be cut in two.
    let text = run.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    text.char_indices().rev().find(|(_, c)| separates(*c)).map_or(0, |(at, c)| at + c.len_utf8())
}

/// Characters that stand between words.
fn separates(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, ',' | ';' | '|' | '/' | '\\' | '"' | '`' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | '=')
        || matches!(c, '“' | '”' | '„' | '«' | '»' | '、' | '，' | '；' | '\u{feff}' | '\u{200b}')
}

/// Characters that stand around words, and only sometimes inside one.
fn decorates(c: char) -> bool {
    c.is_ascii_punctuation() || c.is_control() || matches!(c, '‘' | '’' | '–' | '—' | '…' | '•' | '·' | '。' | '：')
}

/// The word as it stands or, failing that, in lower case.
fn look_up(lexicon: &Lexicon<'_>, word: &str) -> Option<u32> {
    lexicon.id(word.as_bytes()).or_else(|| {
        let mut folded = [0; MAX_WORD_BYTES];
        let mut length = 0;
        for c in word.chars().flat_map(char::to_lowercase) {
            let slot = folded.get_mut(length..length + c.len_utf8())?;
            length += c.encode_utf8(slot).len();
        }
        lexicon.id(folded.get(..length)?)
    })
}
