//! A whole model file: its sections read together, checked against each other, and written.
//!
//! After [`Model::read`] has returned, no accessor fails, and decoding neither fails nor needs more memory than
//! [`Model::scratch_len`] states.

use crate::codebook::{self, Codebook, Rows};
use crate::decoder::{self, Decoder, StageSpec};
use crate::error::{EmitError, FormatError, LexiconFault, PyramidError};
use crate::format::{Cursor, Emitter, FileEmitter, Kind, Sections};
use crate::lexicon::{self, Lexicon};
use crate::pyramid::{MAX_LAYERS, Pyramid, Shape};
use crate::quant;
use crate::saq;

/// A model, read in place from flash or memory.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    pyramid: Pyramid,
    lexicon: Lexicon<'a>,
    codebook: Codebook<'a>,
    decoder: Decoder<'a>,
    provenance: &'a str,
    version: u16,
}

impl<'a> Model<'a> {
    /// Checks a file completely.
    ///
    /// # Errors
    /// The first thing that is wrong, with what was expected and what was found.
    pub fn read(file: &'a [u8]) -> Result<Self, FormatError> {
        let sections = Sections::read(file)?;
        let pyramid = read_pyramid(sections.section(Kind::Pyramid))?;
        let lexicon = Lexicon::read(sections.section(Kind::Lexicon))?;
        let codebook = Codebook::read(sections.section(Kind::Codebook))?;
        let weights = sections.section(Kind::Weights);
        let decoder = Decoder::read(pyramid.grid(), sections.section(Kind::Decoder), weights)?;
        let provenance = core::str::from_utf8(sections.section(Kind::Provenance))
            .map_err(|error| FormatError::ProvenanceNotUtf8 { at: error.valid_up_to() })?;
        if lexicon.len() != codebook.row_count() {
            return Err(FormatError::RowCount { words: lexicon.len(), rows: codebook.row_count() });
        }
        if decoder.input_width() != codebook.width() {
            return Err(FormatError::InputWidth { decoder: decoder.input_width(), codebook: codebook.width() });
        }
        let model = Self { pyramid, lexicon, codebook, decoder, provenance, version: sections.version() };
        let (stated, derived) = (sections.scratch_bytes(), model.scratch_len() * size_of::<f32>());
        if stated as usize != derived {
            return Err(FormatError::ScratchBytes { stated, derived });
        }
        Ok(model)
    }

    /// The token pyramid.
    pub const fn pyramid(&self) -> &Pyramid {
        &self.pyramid
    }

    /// The words.
    pub const fn lexicon(&self) -> &Lexicon<'a> {
        &self.lexicon
    }

    /// The words' vectors.
    pub const fn codebook(&self) -> &Codebook<'a> {
        &self.codebook
    }

    /// The network.
    pub const fn decoder(&self) -> &Decoder<'a> {
        &self.decoder
    }

    /// Where the model comes from: lines of `key = value`.
    pub const fn provenance(&self) -> &'a str {
        self.provenance
    }

    /// The format version of the file.
    pub const fn version(&self) -> u16 {
        self.version
    }

    /// Elements (f32) of scratch memory that a [`Canvas`](crate::canvas::Canvas) borrows; exact.
    pub fn scratch_len(&self) -> usize {
        scratch_len(&self.pyramid, &self.decoder)
    }
}

fn scratch_len(pyramid: &Pyramid, decoder: &Decoder<'_>) -> usize {
    saq::average_len(pyramid, decoder.input_width()) + decoder.scratch_len()
}

fn read_pyramid(section: &[u8]) -> Result<Pyramid, FormatError> {
    let mut cursor = Cursor::new(Kind::Pyramid, section);
    let count = usize::from(cursor.u16()?);
    let grid = Shape::new(cursor.u16()?, cursor.u16()?);
    let mut layers = [Shape::new(0, 0); MAX_LAYERS];
    for layer in layers.iter_mut().take(count) {
        *layer = Shape::new(cursor.u16()?, cursor.u16()?);
    }
    cursor.finish()?;
    let layers = layers.get(..count).ok_or(PyramidError::LayerCount { got: count })?;
    Ok(Pyramid::new(grid, layers)?)
}

fn emit_pyramid(pyramid: &Pyramid, out: &mut Emitter<'_>) {
    out.u16(pyramid.layers().len() as u16);
    for shape in core::iter::once(&pyramid.grid()).chain(pyramid.layers()) {
        out.u16(shape.height);
        out.u16(shape.width);
    }
}

/// What a file is written from.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'p> {
    /// The token pyramid.
    pub pyramid: Pyramid,
    /// Byte-sorted, distinct, each passing [`lexicon::check_word`].
    pub words: &'p [&'p str],
    /// One row a word, in the words' order.
    pub rows: Rows<'p>,
    /// The decoder's stages, the input first.
    pub stages: &'p [StageSpec],
    /// The weights in the order that `FORMAT.md` states, rounded to binary16 as they are written.
    pub weights: &'p [f32],
    /// Lines of `key = value`.
    pub provenance: &'p str,
}

/// Writes a file into `out`; its length. With an `out` that is too short (an empty one, say) the error states the
/// length that is needed. What was written reads back, or it is an error here.
///
/// # Errors
/// If `out` is too short, or [`Model::read`] would refuse the file.
pub fn emit(parts: &Parts<'_>, out: &mut [u8]) -> Result<usize, EmitError> {
    let plan = Decoder::plan(parts.pyramid.grid(), parts.stages)?;
    // What the file's narrow fields would cut off is refused first; reading it back checks the rest.
    for (id, word) in (0..).zip(parts.words) {
        lexicon::check_word(word).map_err(|rule| FormatError::Word { id, fault: LexiconFault::Rule(rule) })?;
    }
    if plan.input_width() != parts.rows.width() {
        return Err(FormatError::InputWidth { decoder: plan.input_width(), codebook: parts.rows.width() }.into());
    }
    let scratch_bytes = scratch_len(&parts.pyramid, &plan) * size_of::<f32>();
    let mut file = FileEmitter::new(&mut *out);
    file.section(Kind::Pyramid, |section| emit_pyramid(&parts.pyramid, section));
    file.section(Kind::Lexicon, |section| lexicon::emit(parts.words, section));
    file.section(Kind::Codebook, |section| codebook::emit(parts.rows, section));
    file.section(Kind::Decoder, |section| decoder::emit(parts.stages, section));
    file.section(Kind::Weights, |section| {
        for &weight in parts.weights {
            section.bytes(&quant::to_f16_le(weight));
        }
    });
    file.section(Kind::Provenance, |section| section.bytes(parts.provenance.as_bytes()));
    let length = file.finish(scratch_bytes as u32)?;
    Model::read(out.get(..length).unwrap_or(&[]))?;
    Ok(length)
}
