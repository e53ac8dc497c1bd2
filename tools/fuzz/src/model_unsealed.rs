//! Model files behind right checksums, so that changes reach what the checksums hide.
//!
//! An input is a program. Its first byte says what follows:
//!
//! | bit | meaning |
//! |---|---|
//! | 0 | what follows is a whole file, whose checksums are put right; else it is edits of a small model |
//! | 1 | whole file: its total length is put right too; edits: lengths and counts that depend on others are put right |
//! | 2 | edits: the next four bytes are the scratch memory that the header states; else it is put right with bit 1 |
//! | 3 | edits: the header states version 1 |
//!
//! Edits go on with the number of the model, then edit after edit: a byte of which section and which kind of edit, and
//! what the kind takes (see [`Edit`]).

use std::sync::LazyLock;

use spae_core::error::FormatError;
use spae_core::format::Kind;
use spae_core::model::Model;
use spae_tests::container::{self, Container, ENTRY, HEADER, SECTIONS, section};

use crate::Outcome;
use crate::exercise::exercise;
use crate::input::{Input, Output};
use crate::models::MODELS;

/// Bits of the first byte.
pub mod flag {
    /// A whole file follows.
    pub const WHOLE_FILE: u8 = 1;
    /// Dependent fields are put right.
    pub const REPAIR: u8 = 2;
    /// The header's scratch memory is the input's.
    pub const STATED_SCRATCH: u8 = 4;
    /// The header states version 1.
    pub const VERSION_1: u8 = 8;
}

static CONTAINERS: LazyLock<Vec<Container>> =
    LazyLock::new(|| MODELS.iter().map(|(_, file)| Container::open(file)).collect());

/// Longest section that an edit makes; an interpreter reads a few bytes in a millisecond.
const MAX_SECTION: usize = if cfg!(miri) { 1 << 12 } else { 1 << 16 };

/// Most fields that are put right, one after the other: one mistake may hide behind another.
const MAX_REPAIRS: usize = if cfg!(miri) { 5 } else { 24 };

/// A kind of edit, and the fields that follow its byte. Places beyond the section's end are taken modulo its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// `at: u16, length: u8`, bytes: they stand instead of others.
    Overwrite,
    /// `at: u16, length: u8`, bytes: they come between others.
    Insert,
    /// `at: u16, length: u16`: so many bytes go.
    Delete,
    /// `from: u16, length: u16, times: u8`: a part of the section is repeated behind its end.
    Repeat,
    /// `model: u8`: the section of another model stands instead.
    Replace,
}

impl Edit {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 5] = [Self::Overwrite, Self::Insert, Self::Delete, Self::Repeat, Self::Replace];
}

/// Makes a file of `bytes`, reads it, and draws with it if it is a model.
///
/// # Panics
/// If a promise is broken.
pub fn run(bytes: &[u8]) -> Outcome {
    let mut input = Input::new(bytes);
    let flags = input.byte();
    if flags & flag::WHOLE_FILE != 0 {
        let file = whole(input.rest(), flags & flag::REPAIR != 0);
        return exercise(&file, bytes).0;
    }
    let file = edits(&mut input, flags);
    let (outcome, error) = exercise(&file, bytes);
    let sealed = !matches!(
        error,
        Some(
            FormatError::HeaderChecksum { .. }
                | FormatError::SectionChecksum { .. }
                | FormatError::SectionOffset { .. }
                | FormatError::SectionLength { .. }
                | FormatError::TotalLength { .. }
                | FormatError::Padding { .. }
        )
    );
    assert!(sealed, "the container is right, but {error:?}");
    outcome
}

/// The file that `bytes`, edits without a first byte, make of a small model: what depends on others is put right.
pub(crate) fn file(bytes: &[u8]) -> Vec<u8> {
    edits(&mut Input::new(bytes), flag::REPAIR)
}

fn edits(input: &mut Input<'_>, flags: u8) -> Vec<u8> {
    let container = edited(input, flags);
    if flags & flag::REPAIR != 0 { repaired(container, flags & flag::STATED_SCRATCH != 0) } else { container.seal() }
}

/// `bytes` with right checksums, padded to a header and a table.
fn whole(bytes: &[u8], length_too: bool) -> Vec<u8> {
    let mut file = bytes.to_vec();
    file.resize(file.len().max(HEADER + SECTIONS * ENTRY), 0);
    if length_too {
        let length = file.len() as u32;
        file[8..12].copy_from_slice(&length.to_le_bytes());
    }
    container::reseal(&mut file);
    file
}

fn model(number: u8) -> &'static Container {
    &CONTAINERS[usize::from(number) % CONTAINERS.len()]
}

fn edited(input: &mut Input<'_>, flags: u8) -> Container {
    let stated = (flags & flag::STATED_SCRATCH != 0).then(|| input.u32());
    let mut container = model(input.byte()).clone();
    container.scratch_bytes = stated.unwrap_or(container.scratch_bytes);
    if flags & flag::VERSION_1 != 0 {
        container.magic_version_count[4] = 1;
    }
    while !input.is_empty() {
        let choice = usize::from(input.byte());
        let (index, kind) = (choice % SECTIONS, choice / SECTIONS % Edit::ALL.len());
        edit(&mut container.sections[index], index, Edit::ALL[kind], input);
    }
    container
}

fn edit(section: &mut Vec<u8>, index: usize, kind: Edit, input: &mut Input<'_>) {
    let place = |at: u16, length: usize| usize::from(at) % length.max(1);
    match kind {
        Edit::Overwrite => {
            let (at, length) = (place(input.u16(), section.len()), input.byte());
            section.iter_mut().skip(at).zip(input.take(length.into())).for_each(|(slot, byte)| *slot = *byte);
        }
        Edit::Insert => {
            let (at, length) = (place(input.u16(), section.len() + 1), input.byte());
            section.splice(at..at, input.take(length.into()).iter().copied());
        }
        Edit::Delete => {
            let (at, length) = (place(input.u16(), section.len()), usize::from(input.u16()));
            section.drain(at..at.saturating_add(length).min(section.len()));
        }
        Edit::Repeat => {
            let (from, length, times) = (place(input.u16(), section.len()), input.u16(), input.byte());
            let part: Vec<u8> = section.iter().skip(from).take(length.into()).copied().collect();
            for _ in 0..times {
                section.extend(&part);
            }
        }
        Edit::Replace => section.clone_from(&model(input.byte()).sections[index]),
    }
    section.truncate(MAX_SECTION);
}

/// The file of `container` with the fields put right that depend on others, as far as the reader says how.
fn repaired(mut container: Container, keep_scratch: bool) -> Vec<u8> {
    let mut before = Vec::new();
    for _ in 0..MAX_REPAIRS {
        let file = container.seal();
        let Err(error) = Model::read(&file) else { return file };
        if file == before {
            return file;
        }
        before.clone_from(&file);
        let sections = &mut container.sections;
        match error {
            FormatError::SectionCut { section, wanted, left, .. } => {
                lengthen(&mut sections[section as usize], wanted.saturating_sub(left));
            }
            FormatError::SectionSurplus { section, left, .. } if section != Kind::Lexicon => {
                shorten(&mut sections[section as usize], left);
            }
            FormatError::WeightsLength { expected, got } => {
                lengthen(&mut sections[section::WEIGHTS], expected.saturating_sub(got));
                shorten(&mut sections[section::WEIGHTS], got.saturating_sub(expected));
            }
            FormatError::RowCount { words, .. } => put(&mut sections[section::CODEBOOK], 4, &words.to_le_bytes()),
            FormatError::InputWidth { decoder, .. } => {
                put(&mut sections[section::CODEBOOK], 2, &(decoder as u16).to_le_bytes());
            }
            FormatError::IntegerRows => put(&mut sections[section::CODEBOOK], 0, &[0; 2]),
            FormatError::ScratchBytes { derived, .. } if !keep_scratch => container.scratch_bytes = derived as u32,
            _ => return file,
        }
    }
    container.seal()
}

fn put(section: &mut [u8], at: usize, bytes: &[u8]) {
    section.iter_mut().skip(at).zip(bytes).for_each(|(slot, byte)| *slot = *byte);
}

/// Goes on with what stands in the section, again and again; its words of four bytes stay whole.
fn lengthen(section: &mut Vec<u8>, by: usize) {
    let period = (section.len() & !3).max(1);
    let length = (section.len() + by.min(MAX_SECTION)).min(2 * MAX_SECTION);
    while section.len() < length {
        section.push(section.len().checked_sub(period).map_or(0, |before| section[before]));
    }
}

fn shorten(section: &mut Vec<u8>, by: usize) {
    section.truncate(section.len().saturating_sub(by));
}

/// Writes programs: for seeds.
#[derive(Clone, Debug, Default)]
pub struct Program(Output);

impl Program {
    /// Edits of model number `model`, with `flags`; `scratch` belongs to [`flag::STATED_SCRATCH`].
    pub fn new(flags: u8, scratch: Option<u32>, model: u8) -> Self {
        let mut output = Output::default();
        output.byte(if scratch.is_some() { flags | flag::STATED_SCRATCH } else { flags });
        output.raw(&scratch.map(u32::to_le_bytes).unwrap_or_default()[..if scratch.is_some() { 4 } else { 0 }]);
        output.byte(model);
        Self(output)
    }

    /// One edit: its kind, its section, its numbers and bytes as [`Edit`] lists them.
    #[must_use]
    pub fn edit(mut self, kind: Edit, section: usize, at: u16, bytes: &[u8]) -> Self {
        let number = Edit::ALL.iter().position(|other| *other == kind).unwrap_or(0);
        self.0.byte((number * SECTIONS + section) as u8);
        match kind {
            Edit::Overwrite | Edit::Insert => {
                self.0.u16(at);
                self.0.byte(bytes.len() as u8);
            }
            Edit::Delete | Edit::Repeat => self.0.u16(at),
            Edit::Replace => {}
        }
        self.0.raw(bytes);
        self
    }

    /// The input.
    pub fn bytes(self) -> Vec<u8> {
        self.0.bytes
    }
}
