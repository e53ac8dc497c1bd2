//! From a run of bytes without white space to candidates for words: what is decoration and what is not.

use crate::lexicon::{Lexicon, MAX_WORD_BYTES};

/// What a piece of text is. `within` is how many bytes of the run stand before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A word of the lexicon.
    Word { id: u32, within: usize },
    /// Something else.
    Unknown { within: usize },
    /// A double quote, opening or closing.
    Quote,
    /// A colon that ends a label.
    Colon,
}

/// Hands out the pieces of `run` in order. A run that is itself a word stays whole, whatever it is made of; else
/// commas, quotes, brackets and the like separate, other punctuation is stripped from both ends, letters are folded to
/// lower case where only that makes a word, and what is left of numbering ("3.", "(12)") is nothing.
pub(super) fn split(lexicon: &Lexicon<'_>, run: &[u8], mut piece: impl FnMut(Piece)) {
    if let Some(id) = lexicon.id(run) {
        return piece(Piece::Word { id, within: 0 });
    }
    let Ok(text) = core::str::from_utf8(run) else {
        return piece(Piece::Unknown { within: 0 });
    };
    let mut behind_quote = false;
    for part in text.split_inclusive(separates) {
        let body = part.trim_end_matches(separates);
        let word = body.trim_matches(decorates);
        let before = word.as_ptr().addr() - body.as_ptr().addr();
        let (lead, trail) = (body.get(..before).unwrap_or(""), body.get(before + word.len()..).unwrap_or(""));
        // `"key":word` has its colon in front of the word.
        if behind_quote && lead.contains(is_colon) {
            piece(Piece::Colon);
        }
        if !word.is_empty() {
            split_body(lexicon, word, word.as_ptr().addr() - run.as_ptr().addr(), word.len() < run.len(), &mut piece);
        }
        if trail.contains(is_colon) || (word.is_empty() && !behind_quote && lead.contains(is_colon)) {
            piece(Piece::Colon);
        }
        behind_quote = part.ends_with('"');
        if behind_quote {
            piece(Piece::Quote);
        }
    }
}

/// The pieces of what stands between separators, without the punctuation around it.
fn split_body(lexicon: &Lexicon<'_>, word: &str, within: usize, decorated: bool, piece: &mut impl FnMut(Piece)) {
    if let Some(id) = look_up(lexicon, word) {
        return piece(Piece::Word { id, within });
    }
    if decorated && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return;
    }
    let halves = || word.split(decorates).filter(|half| !half.is_empty());
    // "red-blue" and "zero.one" are two words if both halves are; else they are one that is unknown.
    if halves().all(|half| look_up(lexicon, half).is_some()) {
        for half in halves() {
            if let Some(id) = look_up(lexicon, half) {
                piece(Piece::Word { id, within: within + (half.as_ptr().addr() - word.as_ptr().addr()) });
            }
        }
        return;
    }
    // In "Layer1:word" and "第一層：word" the colon ends a label.
    match word.split_once(is_colon) {
        Some((label, rest)) => {
            piece(Piece::Unknown { within });
            piece(Piece::Colon);
            let start = rest.trim_start_matches(decorates);
            let rest_within = within + (start.as_ptr().addr() - label.as_ptr().addr());
            match look_up(lexicon, start) {
                Some(id) => piece(Piece::Word { id, within: rest_within }),
                None => piece(Piece::Unknown { within: rest_within }),
            }
        }
        None => piece(Piece::Unknown { within }),
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

fn is_colon(c: char) -> bool {
    matches!(c, ':' | '：')
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
