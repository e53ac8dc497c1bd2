//! A picture as text: half-block characters in colour on a terminal, ASCII shades elsewhere.
//!
//! A half block (▀) shows two pixels: its foreground is the upper one, its background the lower one. An ASCII
//! character shows the same two, averaged, as a shade.

use std::env;
use std::io::IsTerminal;

use super::Picture;

/// What the receiver of the text can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// Shades made of ASCII characters.
    None,
    /// The 256-colour palette.
    Palette,
    /// 24-bit colours.
    True,
}

impl Colours {
    /// What `stream` can show, going by `NO_COLOR`, `TERM` and `COLORTERM`.
    pub fn of(stream: &impl IsTerminal) -> Self {
        let variable = |name: &str| env::var(name).unwrap_or_default();
        Self::choose(stream.is_terminal(), &variable("NO_COLOR"), &variable("TERM"), &variable("COLORTERM"))
    }

    fn choose(is_terminal: bool, no_color: &str, term: &str, colorterm: &str) -> Self {
        if !is_terminal || !no_color.is_empty() || matches!(term, "" | "dumb") {
            Self::None
        } else if matches!(colorterm, "truecolor" | "24bit") || term.contains("direct") {
            Self::True
        } else {
            Self::Palette
        }
    }

    /// `text` in a colour.
    pub fn paint(self, colour: [u8; 3], text: &str) -> String {
        match self {
            Self::None => text.to_owned(),
            Self::Palette | Self::True => format!("\x1b[{}m{text}\x1b[0m", self.code(38, colour)),
        }
    }

    /// The parameters that select a foreground (38) or a background (48).
    fn code(self, ground: u8, [red, green, blue]: [u8; 3]) -> String {
        match self {
            Self::True => format!("{ground};2;{red};{green};{blue}"),
            _ => format!("{ground};5;{}", palette([red, green, blue])),
        }
    }
}

/// The nearest entry of the 256-colour palette: 24 greys, or a cube of 6 × 6 × 6.
fn palette([red, green, blue]: [u8; 3]) -> u8 {
    if red == green && green == blue {
        return match red {
            0..=3 => 16,
            247..=255 => 231,
            grey => 232 + (grey.saturating_sub(3) / 10).min(23),
        };
    }
    let level = |value: u8| if value < 48 { 0 } else { ((value - 35) / 40).clamp(1, 5) };
    16 + 36 * level(red) + 6 * level(green) + level(blue)
}

/// Dark to light, for light text on a dark ground.
const SHADES: &[u8] = b" .:-=+*#%@";

/// The picture's lines, ⌈height / 2⌉ of them, each `width` characters wide on the screen.
pub fn lines(picture: &Picture, colours: Colours) -> Vec<String> {
    (0..picture.height().div_ceil(2)).map(|line| show_line(picture, 2 * line, colours)).collect()
}

fn show_line(picture: &Picture, row: usize, colours: Colours) -> String {
    let mut line = String::new();
    let mut selected = String::new();
    for column in 0..picture.width() {
        let (upper, lower) = (picture.colour(row, column), picture.colour(row + 1, column));
        if colours == Colours::None {
            let sum: usize = [upper, lower].as_flattened().iter().map(|&value| usize::from(value)).sum();
            line.push(char::from(SHADES[sum * (SHADES.len() - 1) / (6 * 255)]));
            continue;
        }
        let codes = format!("\x1b[{};{}m", colours.code(38, upper), colours.code(48, lower));
        if codes != selected {
            line.push_str(&codes);
            selected = codes;
        }
        line.push('▀');
    }
    if colours != Colours::None {
        line.push_str("\x1b[0m");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_usual_variables() {
        assert_eq!(Colours::choose(false, "", "xterm", "truecolor"), Colours::None);
        assert_eq!(Colours::choose(true, "1", "xterm", "truecolor"), Colours::None);
        assert_eq!(Colours::choose(true, "", "dumb", ""), Colours::None);
        assert_eq!(Colours::choose(true, "", "xterm", "truecolor"), Colours::True);
        assert_eq!(Colours::choose(true, "", "screen-256color", ""), Colours::Palette);
    }

    #[test]
    fn palette_entries() {
        assert_eq!([0, 8, 128, 255].map(|grey| palette([grey; 3])), [16, 232, 244, 231]);
        assert_eq!(palette([255, 0, 0]), 196);
        assert_eq!(palette([95, 135, 175]), 67);
    }

    #[test]
    fn two_rows_of_pixels_make_a_line() {
        let picture = Picture::new(3, 2, 1, vec![255, 0, 255, 0, 128, 128]).unwrap();
        assert_eq!(lines(&picture, Colours::None), ["@ ", "::"]);
        let coloured = lines(&picture, Colours::True);
        assert_eq!(coloured.len(), 2);
        assert_eq!(coloured[0], "\x1b[38;2;255;255;255;48;2;255;255;255m▀\x1b[38;2;0;0;0;48;2;0;0;0m▀\x1b[0m");
        assert_eq!(coloured[1].matches("48;2;0;0;0").count(), 1, "a colour is selected once; below the edge is black");
    }
}
