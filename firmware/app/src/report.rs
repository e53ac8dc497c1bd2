//! What goes out on the line about a picture, pixel by pixel, so that another machine can compare bit for bit.

use core::fmt::{Result, Write};

use spae_core::canvas::Canvas;
use spae_core::format::crc32c;

/// A checksum of bytes as they come: `c ← CRC-32C(c as four little-endian bytes, byte)` from c = 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum(u32);

impl Checksum {
    /// Takes in one byte.
    pub fn add(&mut self, byte: u8) {
        self.0 = crc32c(&[&self.0.to_le_bytes(), &[byte]]);
    }
}

impl core::fmt::Display for Checksum {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Decodes the picture once more and writes its rows and its checksum.
pub(crate) fn pixels(line: &mut impl Write, canvas: &mut Canvas<'_, '_>) -> Result {
    let mut checksum = Checksum::default();
    let mut result = Ok(());
    canvas.rows(|y, row| {
        result = result.and_then(|()| {
            write!(line, "row {y} ")?;
            for pixel in (0..row.channels()).flat_map(|channel| row.channel(channel)) {
                checksum.add(pixel);
                write!(line, "{pixel:02x}")?;
            }
            writeln!(line)
        });
    });
    result?;
    writeln!(line, "checksum {checksum}")
}
