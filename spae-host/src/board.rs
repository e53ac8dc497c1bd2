//! A conversation with the firmware: a text goes in, reports come back. The protocol is the firmware's `app` crate's;
//! its table of control bytes and lines is the specification.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::picture::Picture;
use crate::serial::Port;

const END_OF_TEXT: u8 = 0x04;
const ENQUIRY: u8 = 0x05;
const CANCEL: u8 = 0x18;

/// How often a board that does not answer is asked whether it is there.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// What a board says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many layers are complete and their picture is on the screen.
    Layer(usize),
    /// The text ended inside a layer; the picture has its words too.
    Partial,
    /// No word of the board's lexicon stands at this byte.
    Unknown(u32),
    /// A label stands at this byte.
    Label(u32),
    /// The first word after the last layer stands at this byte.
    Surplus(u32),
    /// Names and numbers about the text, `lost` bytes among them.
    Summary(Vec<(String, u64)>),
    /// Names and numbers of bytes.
    Memory(Vec<(String, u64)>),
    /// The board cannot serve.
    Failed(String),
    /// Rows of pixels: the picture of the layer, or the part of one, that was reported last.
    Pixels(Pixels),
    /// Something else.
    Other(String),
}

/// A picture as rows of bytes, channel after channel in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pixels {
    rows: Vec<Vec<u8>>,
}

impl Pixels {
    /// The picture, where it has `channels` channels.
    ///
    /// # Errors
    /// If rows are missing or of different lengths.
    pub fn picture(&self, channels: usize) -> Result<Picture> {
        let width = self.rows.first().map_or(0, Vec::len) / channels;
        let interleave = |row: &Vec<u8>| {
            (0..width * channels).map(|at| row.get(at % channels * width + at / channels).copied()).collect()
        };
        let pixels: Option<Vec<Vec<u8>>> = self.rows.iter().map(interleave).collect();
        match pixels {
            Some(pixels) if width > 0 => Picture::new(self.rows.len(), width, channels, pixels.concat()),
            _ => bail!("the board's picture arrived in pieces"),
        }
    }
}

/// Waits until the board is ready for a text, for `patience` at most. What it said of itself, if it has just started.
///
/// # Errors
/// If it does not answer, cannot serve, or the line is gone.
pub fn greet(port: &mut Port, patience: Duration) -> Result<Option<String>> {
    let start = Instant::now();
    let mut board = None;
    while start.elapsed() < patience {
        port.send_piece(&[CANCEL], patience)?;
        let asked = Instant::now();
        while let Some(line) = port.line(ASK_EVERY.saturating_sub(asked.elapsed()))? {
            match line.split_once(' ') {
                None if line == "ready" => return Ok(board),
                Some(("board", rest)) => board = Some(rest.to_owned()),
                Some(("failed", _)) => bail!("the board says: {line}"),
                _ => {}
            }
        }
    }
    bail!("the board did not answer `ready` for {} s; is it the right port and speed?", patience.as_secs())
}

/// Sends `text` and hands out what the board says until it has said its summary. With `audit` pictures come back too.
///
/// # Errors
/// If the board falls silent for `patience`, or the line is gone.
pub fn send(
    port: &mut Port,
    text: &[u8],
    audit: bool,
    patience: Duration,
    mut on: impl FnMut(Answer) -> Result<()>,
) -> Result<()> {
    let mut bytes = if audit { vec![ENQUIRY] } else { Vec::new() };
    // Bytes that the board would take for commands are no part of any word.
    bytes.extend(text.iter().map(|&byte| if matches!(byte, 0x03..=0x05 | 0x18) { b' ' } else { byte }));
    bytes.push(END_OF_TEXT);
    let mut rest = &bytes[..];
    let mut reader = AnswerReader::default();
    loop {
        if !rest.is_empty() {
            rest = &rest[port.send_piece(rest, patience)?..];
        }
        // While there is something to send, only what is there already.
        let patience = if rest.is_empty() { patience } else { Duration::ZERO };
        let Some(line) = port.line(patience)? else {
            if rest.is_empty() {
                bail!("the board has said nothing for {} s", patience.as_secs());
            }
            continue;
        };
        if line == "ready" && reader.summarised {
            return Ok(());
        }
        if let Some(answer) = reader.read(&line) {
            on(answer)?;
        }
    }
}

/// From lines to answers.
#[derive(Default)]
struct AnswerReader {
    pixels: Pixels,
    summarised: bool,
}

impl AnswerReader {
    fn read(&mut self, line: &str) -> Option<Answer> {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = || rest.split(' ').next()?.parse().ok();
        let other = || Answer::Other(line.to_owned());
        Some(match first {
            "" | "ready" => return None,
            "layer" => number().map_or_else(other, |layer| Answer::Layer(layer as usize)),
            "partial" => Answer::Partial,
            "unknown" => number().map_or_else(other, Answer::Unknown),
            "label" => number().map_or_else(other, Answer::Label),
            "surplus" => number().map_or_else(other, Answer::Surplus),
            "summary" => {
                self.summarised = true;
                Answer::Summary(pairs(rest))
            }
            "memory" => Answer::Memory(pairs(rest)),
            "failed" => Answer::Failed(rest.to_owned()),
            "row" => match rest.split_once(' ').and_then(|(y, digits)| Some((y, bytes(digits)?))) {
                // A row that is out of order leaves a picture that does not fit its sides, and is reported there.
                Some((y, row)) => {
                    if y == "0" {
                        self.pixels = Pixels::default();
                    }
                    self.pixels.rows.push(row);
                    return None;
                }
                None => other(),
            },
            "checksum" => Answer::Pixels(std::mem::take(&mut self.pixels)),
            _ => other(),
        })
    }
}

/// `tokens 149 lost 0` as names and numbers.
fn pairs(text: &str) -> Vec<(String, u64)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.chunks_exact(2).filter_map(|pair| Some((pair[0].to_owned(), pair[1].parse().ok()?))).collect()
}

/// Hexadecimal digits as bytes.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_answers() {
        let mut reader = AnswerReader::default();
        let mut read = |line: &str| reader.read(line);
        assert_eq!(read("layer 2 of 5"), Some(Answer::Layer(2)));
        assert_eq!(read("unknown 17"), Some(Answer::Unknown(17)));
        assert_eq!(read("unknown lots"), Some(Answer::Other("unknown lots".into())));
        assert_eq!(read("row 0 00ff7f"), None);
        assert_eq!(read("row 1 010203"), None);
        let Some(Answer::Pixels(pixels)) = read("checksum 00000000") else { panic!("no pixels") };
        assert_eq!(pixels.picture(1).unwrap().pixels(), [0, 255, 127, 1, 2, 3]);
        assert_eq!(pixels.picture(3).unwrap().colour(1, 0), [1, 2, 3]);
        assert_eq!(
            read("summary tokens 149 lost 0"),
            Some(Answer::Summary(vec![("tokens".into(), 149), ("lost".into(), 0)]))
        );
        assert_eq!(read("row 0 zz"), Some(Answer::Other("row 0 zz".into())));
    }

    #[test]
    fn a_picture_in_pieces_is_refused() {
        assert!(Pixels::default().picture(1).is_err());
        assert!(Pixels { rows: vec![vec![1, 2], vec![3]] }.picture(1).is_err());
    }
}
