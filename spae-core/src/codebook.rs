//! The codebook's rows as the device stores them: one vector a word, `V × d`, after the learned projection and the
//! decoder's first 1×1 layer (averaging is linear, so that layer folds into the table).
//!
//! Rows are int8 with one f32 scale a column, or f16. `FORMAT.md` has the bytes.

use crate::error::FormatError;
use crate::format::{Cursor, Emitter, Kind, u32_at};
use crate::quant;

/// Widest row.
pub const MAX_WIDTH: u16 = 1024;

/// How rows are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RowEncoding {
    /// One signed byte an element, times the column's scale.
    Int8,
    /// IEEE 754 binary16.
    F16,
}

/// The rows of a model, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Codebook<'a> {
    encoding: RowEncoding,
    width: u16,
    row_count: u32,
    /// f32 × width for int8, empty for f16.
    scales: &'a [u8],
    rows: &'a [u8],
}

impl<'a> Codebook<'a> {
    /// Checks a section.
    ///
    /// # Errors
    /// If it is cut off, has bytes to spare, an unknown encoding, a width of 0 or beyond [`MAX_WIDTH`], or a number
    /// that is not finite.
    pub fn read(section: &'a [u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(Kind::Codebook, section);
        let encoding = match cursor.u16()? {
            0 => RowEncoding::Int8,
            1 => RowEncoding::F16,
            got => return Err(FormatError::RowEncoding { got }),
        };
        let width = cursor.u16()?;
        if width == 0 || width > MAX_WIDTH {
            return Err(FormatError::RowWidth { got: width });
        }
        let row_count = cursor.u32()?;
        // At most 2²⁰ words are accepted by the lexicon; a longer table ends in the check of the two counts.
        let elements = (row_count as usize).saturating_mul(usize::from(width));
        let (scales, rows) = match encoding {
            RowEncoding::Int8 => (cursor.take(4 * usize::from(width))?, cursor.take(elements)?),
            RowEncoding::F16 => (&[][..], cursor.take(elements.saturating_mul(2))?),
        };
        cursor.finish()?;
        let codebook = Self { encoding, width, row_count, scales, rows };
        let finite = match encoding {
            RowEncoding::Int8 => (0..usize::from(width)).all(|column| codebook.scale(column).is_finite()),
            RowEncoding::F16 => all_finite_f16(rows),
        };
        if finite { Ok(codebook) } else { Err(FormatError::NotFinite { section: Kind::Codebook }) }
    }

    /// The length d of a row.
    pub const fn width(&self) -> usize {
        self.width as usize
    }

    /// The number of rows V.
    pub const fn row_count(&self) -> u32 {
        self.row_count
    }

    /// How the rows are stored.
    pub const fn encoding(&self) -> RowEncoding {
        self.encoding
    }

    /// What a step of column `column` is worth where rows are int8.
    pub fn scale(&self, column: usize) -> f32 {
        f32::from_bits(u32_at(self.scales, column))
    }

    /// Row `id` as stored in int8; empty where there is no such row, or rows are stored otherwise.
    pub fn int8_row(&self, id: u32) -> &'a [u8] {
        let width = if self.encoding == RowEncoding::Int8 { self.width() } else { 0 };
        self.rows.get((id as usize).saturating_mul(width)..).and_then(|rest| rest.get(..width)).unwrap_or(&[])
    }

    /// Calls `visit(column, value)` for each element of row `id`; for no element where there is no such row.
    pub fn for_each(&self, id: u32, mut visit: impl FnMut(usize, f32)) {
        let width = self.width();
        let size = width * if self.encoding == RowEncoding::F16 { 2 } else { 1 };
        let start = (id as usize).saturating_mul(size);
        let row = self.rows.get(start..).and_then(|rest| rest.get(..size)).unwrap_or(&[]);
        match self.encoding {
            RowEncoding::Int8 => {
                for (column, &byte) in row.iter().enumerate() {
                    visit(column, f32::from(byte as i8) * self.scale(column));
                }
            }
            RowEncoding::F16 => {
                for (column, bytes) in row.as_chunks().0.iter().enumerate() {
                    visit(column, quant::f16_le(*bytes));
                }
            }
        }
    }
}

/// Whether no binary16 of `bytes` is infinite or not a number: an exponent of all ones.
pub(crate) fn all_finite_f16(bytes: &[u8]) -> bool {
    bytes.as_chunks::<2>().0.iter().all(|[_, high]| high & 0x7C != 0x7C)
}

/// Rows to be written.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'r> {
    /// `scales` `[d]`, `values` [V × d].
    Int8 {
        /// One scale a column.
        scales: &'r [f32],
        /// Row-major.
        values: &'r [i8],
    },
    /// `values` [V × d], rounded to binary16 as they are written.
    F16 {
        /// Length of a row.
        width: u16,
        /// Row-major.
        values: &'r [f32],
    },
}

impl Rows<'_> {
    /// The length d of a row.
    pub const fn width(&self) -> usize {
        match self {
            Self::Int8 { scales, .. } => scales.len(),
            Self::F16 { width, .. } => *width as usize,
        }
    }
}

/// Writes the section.
pub(crate) fn emit(rows: Rows<'_>, out: &mut Emitter<'_>) {
    match rows {
        Rows::Int8 { scales, values } => {
            out.u16(0);
            out.u16(scales.len() as u16);
            out.u32((values.len() / scales.len().max(1)) as u32);
            for scale in scales {
                out.u32(scale.to_bits());
            }
            for &value in values {
                out.u8(value as u8);
            }
        }
        Rows::F16 { width, values } => {
            out.u16(1);
            out.u16(width);
            out.u32((values.len() / usize::from(width).max(1)) as u32);
            for &value in values {
                out.bytes(&quant::to_f16_le(value));
            }
        }
    }
}
