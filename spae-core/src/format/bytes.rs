//! Little-endian reading and writing with a checked cursor: what lies outside the bytes is an error, never a panic.

use crate::error::{EmitError, FormatError};
use crate::format::Kind;

/// Reads forward through one section.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    kind: Kind,
    rest: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(kind: Kind, bytes: &'a [u8]) -> Self {
        Self { kind, rest: bytes, at: 0 }
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(FormatError::SectionCut {
                section: self.kind,
                at: self.at,
                wanted: length,
                left: self.rest.len(),
            });
        };
        self.rest = rest;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Every byte must have been read: nothing hides in a section.
    pub(crate) fn finish(self) -> Result<(), FormatError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FormatError::SectionSurplus { section: self.kind, at: self.at, left: self.rest.len() })
        }
    }
}

/// The `index`-th little-endian u32 of `bytes`, 0 past the end.
pub(crate) fn u32_at(bytes: &[u8], index: usize) -> u32 {
    let word = index.checked_mul(4).and_then(|start| bytes.get(start..)).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}

/// Writes forward into a slice; past its end it only counts, so that one pass with an empty slice gives the length.
#[derive(Debug)]
pub(crate) struct Emitter<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl<'o> Emitter<'o> {
    pub(crate) fn new(out: &'o mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.overwrite(self.at, bytes);
        self.at += bytes.len();
    }

    pub(crate) fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        if let Some(slot) = self.out.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
            slot.copy_from_slice(bytes);
        }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// What stands between `start` and `end`, if it fitted.
    pub(crate) fn written(&self, start: usize, end: usize) -> &[u8] {
        self.out.get(start..end).unwrap_or(&[])
    }

    /// The bytes written, if they all fitted.
    pub(crate) fn finish(self) -> Result<usize, EmitError> {
        if self.at <= self.out.len() {
            Ok(self.at)
        } else {
            Err(EmitError::OutputTooSmall { needed: self.at, got: self.out.len() })
        }
    }
}
