//! The model file's container: header, section table, checksums. `FORMAT.md` is the specification.
//!
//! This module knows bytes and no arithmetic. What stands inside a section is read and written by the module that
//! uses it: [`lexicon`](crate::lexicon), [`codebook`](crate::codebook), [`decoder`](crate::decoder); the whole is
//! put together by [`model`](crate::model).
//!
//! After [`Sections::read`] has returned, every section is there once, inside the file, in order, without gaps, and
//! its checksum is right.

mod bytes;
mod crc;

pub(crate) use bytes::{Cursor, Emitter, u32_at};
pub use crc::crc32c;

use crate::error::{EmitError, FormatError};

/// The first four bytes of every model file.
pub const MAGIC: [u8; 4] = *b"SPAE";

/// The newest version of the format that this crate reads and the one that it writes. Not the crate's version.
pub const VERSION: u16 = 2;

const HEADER_LENGTH: usize = 20;
const ENTRY_LENGTH: usize = 16;
/// Sections start at multiples of this; the bytes between are zero and belong to the checksum before them.
const ALIGNMENT: usize = 4;

/// What a section holds. The file has each exactly once, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// The grid and the layers.
    Pyramid,
    /// The words, front-coded.
    Lexicon,
    /// One vector a word.
    Codebook,
    /// The decoder's stages.
    Decoder,
    /// The decoder's weights.
    Weights,
    /// Where the model comes from, as text.
    Provenance,
}

impl Kind {
    /// All sections in the order of the file.
    pub const ALL: [Self; 6] =
        [Self::Pyramid, Self::Lexicon, Self::Codebook, Self::Decoder, Self::Weights, Self::Provenance];

    /// The four bytes that name the section in the table.
    pub const fn tag(self) -> [u8; 4] {
        *match self {
            Self::Pyramid => b"PYRA",
            Self::Lexicon => b"LEXI",
            Self::Codebook => b"CODE",
            Self::Decoder => b"DECO",
            Self::Weights => b"WGHT",
            Self::Provenance => b"PROV",
        }
    }

    /// The name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pyramid => "pyramid",
            Self::Lexicon => "lexicon",
            Self::Codebook => "codebook",
            Self::Decoder => "decoder",
            Self::Weights => "weights",
            Self::Provenance => "provenance",
        }
    }
}

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// The sections of a file whose container has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'a> {
    version: u16,
    scratch_bytes: u32,
    sections: [&'a [u8]; Kind::ALL.len()],
}

impl<'a> Sections<'a> {
    /// Checks magic, version, lengths, the table and every checksum.
    ///
    /// # Errors
    /// The first thing that is wrong, with what was expected and what was found.
    pub fn read(file: &'a [u8]) -> Result<Self, FormatError> {
        let header: &[u8; HEADER_LENGTH] = file.first_chunk().ok_or(FormatError::TooShort { got: file.len() })?;
        let [m0, m1, m2, m3, version_low, version_high, count_low, count_high, ..] = *header;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FormatError::Magic { got: [m0, m1, m2, m3] });
        }
        let version = u16::from_le_bytes([version_low, version_high]);
        if version == 0 || version > VERSION {
            return Err(FormatError::Version { got: version });
        }
        let (total, scratch_bytes, checksum) = (u32_at(header, 2), u32_at(header, 3), u32_at(header, 4));
        if u32::try_from(file.len()) != Ok(total) {
            return Err(FormatError::TotalLength { expected: total, got: file.len() });
        }
        let count = u16::from_le_bytes([count_low, count_high]);
        if usize::from(count) != Kind::ALL.len() {
            return Err(FormatError::SectionCount { got: count });
        }
        let table_end = HEADER_LENGTH + Kind::ALL.len() * ENTRY_LENGTH;
        let table = file.get(HEADER_LENGTH..table_end).ok_or(FormatError::TooShort { got: file.len() })?;
        let (counted, _) = header.split_at(HEADER_LENGTH - 4);
        let computed = crc32c(&[counted, table]);
        if computed != checksum {
            return Err(FormatError::HeaderChecksum { expected: checksum, got: computed });
        }
        let mut sections: [&[u8]; Kind::ALL.len()] = [&[]; Kind::ALL.len()];
        let mut at = table_end;
        for ((kind, entry), slot) in Kind::ALL.into_iter().zip(table.chunks_exact(ENTRY_LENGTH)).zip(&mut sections) {
            if entry.first_chunk() != Some(&kind.tag()) {
                return Err(FormatError::SectionTag { section: kind });
            }
            let (offset, length, checksum) = (u32_at(entry, 1), u32_at(entry, 2), u32_at(entry, 3));
            if offset as usize != at {
                return Err(FormatError::SectionOffset { section: kind, expected: at, got: offset });
            }
            let padded = (length as usize).checked_next_multiple_of(ALIGNMENT);
            let end = padded.and_then(|padded| at.checked_add(padded));
            let bytes = end.and_then(|end| file.get(at..end)).ok_or(FormatError::SectionLength {
                section: kind,
                got: length,
                left: file.len() - at,
            })?;
            let computed = crc32c(&[bytes]);
            if computed != checksum {
                return Err(FormatError::SectionChecksum { section: kind, expected: checksum, got: computed });
            }
            let (content, padding) = bytes.split_at_checked(length as usize).unwrap_or((bytes, &[]));
            if padding.iter().any(|&byte| byte != 0) {
                return Err(FormatError::Padding { section: kind });
            }
            *slot = content;
            at += bytes.len();
        }
        if at != file.len() {
            return Err(FormatError::TotalLength { expected: at as u32, got: file.len() });
        }
        Ok(Self { version, scratch_bytes, sections })
    }

    /// The format version of the file.
    pub const fn version(&self) -> u16 {
        self.version
    }

    /// The scratch memory that the header states, in bytes.
    pub const fn scratch_bytes(&self) -> u32 {
        self.scratch_bytes
    }

    /// What stands in a section, without padding.
    pub const fn section(&self, kind: Kind) -> &'a [u8] {
        self.sections[kind as usize]
    }
}

/// Writes a file section by section; the header and its checksums come last.
#[derive(Debug)]
pub(crate) struct FileEmitter<'o> {
    emitter: Emitter<'o>,
    table: [[u8; ENTRY_LENGTH]; Kind::ALL.len()],
    count: usize,
}

impl<'o> FileEmitter<'o> {
    pub(crate) fn new(out: &'o mut [u8]) -> Self {
        let mut emitter = Emitter::new(out);
        emitter.bytes(&[0; HEADER_LENGTH + Kind::ALL.len() * ENTRY_LENGTH]);
        Self { emitter, table: [[0; ENTRY_LENGTH]; Kind::ALL.len()], count: 0 }
    }

    /// Writes the next section, whose bytes `emit` gives. Sections come in the order of [`Kind::ALL`].
    pub(crate) fn section(&mut self, kind: Kind, emit: impl FnOnce(&mut Emitter<'o>)) {
        let start = self.emitter.at();
        emit(&mut self.emitter);
        let length = self.emitter.at() - start;
        while !self.emitter.at().is_multiple_of(ALIGNMENT) {
            self.emitter.u8(0);
        }
        let checksum = crc32c(&[self.emitter.written(start, self.emitter.at())]);
        if let Some(entry) = self.table.get_mut(self.count) {
            let mut fields = Emitter::new(entry);
            fields.bytes(&kind.tag());
            fields.u32(start as u32);
            fields.u32(length as u32);
            fields.u32(checksum);
        }
        self.count += 1;
    }

    /// Writes header and table; the length of the file.
    pub(crate) fn finish(mut self, scratch_bytes: u32) -> Result<usize, EmitError> {
        if u32::try_from(self.emitter.at()).is_err() {
            return Err(EmitError::FileTooLong { got: self.emitter.at() });
        }
        let mut header = [0; HEADER_LENGTH];
        let mut fields = Emitter::new(&mut header);
        fields.bytes(&MAGIC);
        fields.u16(VERSION);
        fields.u16(Kind::ALL.len() as u16);
        fields.u32(self.emitter.at() as u32);
        fields.u32(scratch_bytes);
        let table = self.table.as_flattened();
        let checksum = crc32c(&[&header[..HEADER_LENGTH - 4], table]);
        header[HEADER_LENGTH - 4..].copy_from_slice(&checksum.to_le_bytes());
        self.emitter.overwrite(0, &header);
        self.emitter.overwrite(HEADER_LENGTH, table);
        self.emitter.finish()
    }
}
