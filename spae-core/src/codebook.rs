//! The codebook's rows as the device stores them: one vector a word, `V × d`, after the learned projection and the
//! decoder's first 1×1 layer (averaging is linear, so that layer folds into the table).
//!
//! Rows are int8 or int4 with one f32 scale a column, or f16. `FORMAT.md` has the bytes.

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
    /// Four signed bits an element, times the column's scale; a row takes whole bytes.
    Int4,
}

impl RowEncoding {
    /// Bytes of a row of `width` elements.
    const fn row_len(self, width: usize) -> usize {
        match self {
            Self::Int8 => width,
            Self::F16 => 2 * width,
            Self::Int4 => width.div_ceil(2),
        }
    }
}

/// The rows of a model, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Codebook<'a> {
    encoding: RowEncoding,
    width: u16,
    row_count: u32,
    /// f32 × width for integers, empty for f16.
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
            2 => RowEncoding::Int4,
            got => return Err(FormatError::RowEncoding { got }),
        };
        let width = cursor.u16()?;
        if width == 0 || width > MAX_WIDTH {
            return Err(FormatError::RowWidth { got: width });
        }
        let row_count = cursor.u32()?;
        // At most 2²⁰ words are accepted by the lexicon; a longer table ends in the check of the two counts.
        let bytes = (row_count as usize).saturating_mul(encoding.row_len(usize::from(width)));
        let scales = if encoding == RowEncoding::F16 { 0 } else { 4 * usize::from(width) };
        let (scales, rows) = (cursor.take(scales)?, cursor.take(bytes)?);
        cursor.finish()?;
        let codebook = Self { encoding, width, row_count, scales, rows };
        let finite = match encoding {
            RowEncoding::F16 => all_finite_f16(rows),
            _ => (0..usize::from(width)).all(|column| codebook.scale(column).is_finite()),
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

    /// What a step of column `column` is worth where rows are stored in integers.
    pub fn scale(&self, column: usize) -> f32 {
        f32::from_bits(u32_at(self.scales, column))
    }

    /// Row `id` as stored; empty where there is no such row, or rows are not stored in integers.
    pub fn integer_row(&self, id: u32) -> IntegerRow<'a> {
        let is_float = self.encoding == RowEncoding::F16;
        IntegerRow { bytes: if is_float { &[] } else { self.bytes(id) }, nibbles: self.encoding == RowEncoding::Int4 }
    }

    /// The bytes of row `id`; none where there is no such row.
    fn bytes(&self, id: u32) -> &'a [u8] {
        let length = self.encoding.row_len(self.width());
        let start = (id as usize).saturating_mul(length);
        self.rows.get(start..).and_then(|rest| rest.get(..length)).unwrap_or(&[])
    }

    /// Calls `visit(column, value)` for each element of row `id`; for no element where there is no such row.
    pub fn for_each(&self, id: u32, mut visit: impl FnMut(usize, f32)) {
        let row = self.bytes(id);
        if self.encoding == RowEncoding::F16 {
            for (column, bytes) in row.as_chunks().0.iter().enumerate() {
                visit(column, quant::f16_le(*bytes));
            }
        } else if !row.is_empty() {
            let row = self.integer_row(id);
            for column in 0..self.width() {
                visit(column, f32::from(row.element(column)) * self.scale(column));
            }
        }
    }
}

/// A row that is stored in integers.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntegerRow<'a> {
    bytes: &'a [u8],
    /// Two elements a byte, the first in the low bits.
    nibbles: bool,
}

impl IntegerRow<'_> {
    /// The element of column `column`, in steps of the column's scale; 0 where there is none.
    #[inline(always)]
    pub fn element(&self, column: usize) -> i8 {
        if self.nibbles {
            let byte = self.bytes.get(column / 2).copied().unwrap_or(0);
            // The sign is the nibble's highest bit.
            ((byte >> (4 * (column % 2))) << 4) as i8 >> 4
        } else {
            self.bytes.get(column).map_or(0, |&byte| byte as i8)
        }
    }

    /// Adds each column's element to its sum.
    pub fn add_to(&self, sums: &mut [i32]) {
        if self.nibbles {
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum += i32::from(self.element(column));
            }
        } else {
            sums.iter_mut().zip(self.bytes).for_each(|(sum, &byte)| *sum += i32::from(byte as i8));
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
    /// `scales` `[d]`, `values` [V × d] from −7 to 7.
    Int4 {
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
            Self::Int8 { scales, .. } | Self::Int4 { scales, .. } => scales.len(),
            Self::F16 { width, .. } => *width as usize,
        }
    }
}

/// Writes the section.
pub(crate) fn emit(rows: Rows<'_>, out: &mut Emitter<'_>) {
    match rows {
        Rows::Int8 { scales, values } => {
            emit_scales(0, scales, values.len(), out);
            for &value in values {
                out.u8(value as u8);
            }
        }
        Rows::Int4 { scales, values } => {
            emit_scales(2, scales, values.len(), out);
            for row in values.chunks(scales.len().max(1)) {
                for pair in row.chunks(2) {
                    let [low, high] = [0, 1].map(|at| pair.get(at).map_or(0, |&value| value as u8 & 0xF));
                    out.u8(low | high << 4);
                }
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

fn emit_scales(encoding: u16, scales: &[f32], elements: usize, out: &mut Emitter<'_>) {
    out.u16(encoding);
    out.u16(scales.len() as u16);
    out.u32((elements / scales.len().max(1)) as u32);
    for scale in scales {
        out.u32(scale.to_bits());
    }
}
