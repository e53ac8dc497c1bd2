//! Canonical token text: layer after layer, row-major, one space between words, one newline after a layer.
//!
//! The writer is here; the reader, which forgives far more than this, is `spae_core::stream`. Knows words and places;
//! knows no images and no tensors.

use std::fmt::{self, Display, Write as _};

use spae_core::pyramid::Pyramid;

/// The canonical text of the first `ids.len()` tokens of `pyramid`; `word` gives the word of an id.
///
/// A text that ends inside a layer ends with a newline all the same.
pub fn canonical<W: Display>(pyramid: &Pyramid, ids: &[u32], mut word: impl FnMut(u32) -> W) -> String {
    let mut text = String::new();
    let mut rest = ids;
    for layer in pyramid.layers() {
        let (tokens, behind) = rest.split_at(layer.area().min(rest.len()));
        for (index, &id) in tokens.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            // Writing to a string does not fail.
            let _ = write!(text, "{separator}{}", word(id));
        }
        if !tokens.is_empty() {
            text.push('\n');
        }
        rest = behind;
    }
    text
}

/// The words of `layers` in a row, as a reader of language would see them.
pub fn sentence<W: Display>(layers: &[Vec<u32>], mut word: impl FnMut(u32) -> W) -> String {
    let mut text = String::new();
    for (index, &id) in layers.iter().flatten().enumerate() {
        let separator = if index == 0 { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}{}", word(id));
    }
    text
}

/// A place in a text as an editor shows it; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The place of byte `offset` in `text`, and what stands there up to the next white space, comma or quote.
pub fn at(text: &[u8], offset: u32) -> (Place, String) {
    let (before, behind) = text.split_at((offset as usize).min(text.len()));
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b';' | b'"' | b'`' | b'|' | b'/');
    let word = &behind[..behind.iter().position(ends).unwrap_or(behind.len())];
    (Place { line, column }, shortened(&String::from_utf8_lossy(word)))
}

/// `word` without control characters, and no longer than a message can bear.
fn shortened(word: &str) -> String {
    const LONGEST: usize = 40;
    let mut short: String = word.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if word.chars().count() > LONGEST {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use spae_core::pyramid::Shape;

    use super::*;

    #[test]
    fn layers_are_lines_and_a_prefix_ends_with_a_newline() {
        let pyramid = Pyramid::new(Shape::new(2, 2), &[Shape::new(1, 1), Shape::new(2, 2)]).unwrap();
        let words = ["eins", "零"];
        let text = |ids: &[u32]| canonical(&pyramid, ids, |id| words[id as usize]);
        assert_eq!(text(&[1, 0, 0, 1, 0]), "零\neins eins 零 eins\n");
        assert_eq!(text(&[0, 0, 0]), "eins\neins eins\n");
        assert_eq!(text(&[0]), "eins\n");
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn places_count_characters_and_lines_from_one() {
        let text = "zero\néa, bogus\nlast".as_bytes();
        let place = |offset| {
            let (place, word) = at(text, offset);
            (place.to_string(), word)
        };
        assert_eq!(place(0), ("1:1".into(), "zero".into()));
        assert_eq!(place(5), ("2:1".into(), "éa".into()));
        assert_eq!(place(10), ("2:5".into(), "bogus".into()));
        assert_eq!(place(16), ("3:1".into(), "last".into()));
        assert_eq!(place(900), ("3:5".into(), String::new()));
        assert_eq!(at(b"\xff\xfe x", 0).1, "\u{fffd}\u{fffd}");
        assert_eq!(at(&[b'x'; 99], 0).1.chars().count(), 41);
    }
}
