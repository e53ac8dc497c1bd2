//! Pictures as the host has them, as a board reports them, and as a board's screen shows them.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use embedded_graphics::pixelcolor::{Gray4, Gray8, GrayColor, Rgb888};
use spae_core::canvas::Canvas;

/// A picture's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Row by row, each channel after channel.
    pub(crate) rows: Vec<Vec<u8>>,
    width: usize,
}

impl Picture {
    /// What is on `canvas`.
    pub(crate) fn new(canvas: &mut Canvas<'_, '_>) -> Self {
        let mut rows = Vec::new();
        canvas.rows(|_, row| rows.push((0..row.channels()).flat_map(|channel| row.channel(channel)).collect()));
        Self { rows, width: canvas.shape().width.into() }
    }

    /// A pixel as a screen of 16 greys has it, 0 to 15.
    fn grey(&self, x: usize, y: usize) -> u8 {
        let at = |channel: usize| self.rows[y][channel * self.width + x];
        let colour = if self.rows[y].len() == 3 * self.width {
            Gray4::from(Rgb888::new(at(0), at(1), at(2)))
        } else {
            Gray4::from(Gray8::new(at(0)))
        };
        colour.luma()
    }
}

/// A photograph of a screen: 128 × 64 pixels, each a square.
#[derive(Debug)]
pub(crate) struct Photograph {
    width: usize,
    height: usize,
    /// Red, green, blue.
    pixels: Vec<u8>,
}

/// Side of the square on the screen that the picture is in.
const SQUARE: usize = 64;

impl Photograph {
    /// Reads a binary portable pixmap.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let mut fields = bytes.splitn(4, u8::is_ascii_whitespace).map(String::from_utf8_lossy);
        let mut field = || fields.next().context("the pixmap is cut off");
        ensure!(field()? == "P6", "no binary portable pixmap");
        let (width, height): (usize, usize) = (field()?.parse()?, field()?.parse()?);
        let start = bytes.len().checked_sub(3 * width * height).context("the pixmap is cut off")?;
        Ok(Self { width, height, pixels: bytes[start..].to_vec() })
    }

    /// Writes it as PNG, pixel for pixel.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let mut encoder = png::Encoder::new(BufWriter::new(file), self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        Ok(writer.finish()?)
    }

    /// The first pixel in which the screen's left half differs from `picture`, magnified and centred there.
    pub(crate) fn difference(&self, picture: &Picture) -> Option<String> {
        let (height, width) = (picture.rows.len(), picture.width);
        let scale = SQUARE / height.max(width);
        let (left, top) = ((SQUARE - width * scale) / 4 * 2, (SQUARE - height * scale) / 2);
        let square = self.height / 64;
        for (y, x) in (0..self.height).flat_map(|y| (0..SQUARE * square).map(move |x| (y, x))) {
            let (screen_y, screen_x) = (y / square, x / square);
            let inside = |at: usize, start: usize, length: usize| {
                at.checked_sub(start).map(|at| at / scale).filter(|&at| at < length)
            };
            let expected = match (inside(screen_x, left, width), inside(screen_y, top, height)) {
                (Some(x), Some(y)) => picture.grey(x, y) * 17,
                _ => 0,
            };
            let at = 3 * (y * self.width + x);
            if self.pixels[at..at + 3] != [expected; 3] {
                let got = self.pixels[at];
                return Some(format!("screen pixel ({screen_x}, {screen_y}) is {got} instead of {expected}"));
            }
        }
        None
    }
}
