//! A whole model file: its sections read together, checked against each other, and written.
//!
//! After [`Model::read`] has returned, no accessor fails, and decoding neither fails nor needs more memory than
//! [`Model::scratch_len`] states.

use crate::codebook::{self, Codebook, RowEncoding, Rows};
use crate::decoder::{self, Arithmetic, Decoder, StageSpec, Weights};
use crate::error::{EmitError, FormatError, LexiconFault, PyramidError};
use crate::format::{Cursor, Emitter, FileEmitter, Kind, Sections};
use crate::lexicon::{self, Lexicon};
use crate::places;
use crate::pyramid::{MAX_LAYERS, Pyramid, Shape};
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
        let mut model = Self::without_stages(&sections)?;
        model.read_stages(&sections)?;
        Ok(model)
    }

    /// As [`read`](Self::read), in `place`: a model takes about a kilobyte, which a small stack need not hold. After an error
    /// there is none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_in(place: &mut Option<Self>, file: &'a [u8]) -> Result<(), FormatError> {
        *place = None;
        let sections = Sections::read(file)?;
        let result = place.insert(Self::without_stages(&sections)?).read_stages(&sections);
        if result.is_err() {
            *place = None;
        }
        result
    }

    #[inline(always)]
    fn without_stages(sections: &Sections<'a>) -> Result<Self, FormatError> {
        Ok(Self {
            pyramid: read_pyramid(sections.section(Kind::Pyramid))?,
            lexicon: Lexicon::read(sections.section(Kind::Lexicon))?,
            codebook: Codebook::read(sections.section(Kind::Codebook))?,
            decoder: Decoder::EMPTY,
            provenance: core::str::from_utf8(sections.section(Kind::Provenance))
                .map_err(|error| FormatError::ProvenanceNotUtf8 { at: error.valid_up_to() })?,
            version: sections.version(),
        })
    }

    /// Reads the rest, and checks the sections against each other.
    fn read_stages(&mut self, sections: &Sections<'a>) -> Result<(), FormatError> {
        let weights = sections.section(Kind::Weights);
        self.decoder.fill(self.version, self.pyramid.grid(), sections.section(Kind::Decoder), weights)?;
        let Self { lexicon, codebook, decoder, .. } = self;
        if lexicon.len() != codebook.row_count() {
            return Err(FormatError::RowCount { words: lexicon.len(), rows: codebook.row_count() });
        }
        if decoder.input_width() != codebook.width() {
            return Err(FormatError::InputWidth { decoder: decoder.input_width(), codebook: codebook.width() });
        }
        if decoder.arithmetic() == Arithmetic::Float && !cfg!(feature = "float") {
            return Err(FormatError::FloatLeftOut);
        }
        if decoder.arithmetic() == Arithmetic::Integer && codebook.encoding() == RowEncoding::F16 {
            return Err(FormatError::IntegerRows);
        }
        let (stated, derived) = (sections.scratch_bytes(), self.scratch_len() * size_of::<u32>());
        if stated as usize != derived {
            return Err(FormatError::ScratchBytes { stated, derived });
        }
        Ok(())
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

    /// Elements (u32) of scratch memory that a [`Canvas`](crate::canvas::Canvas) borrows; exact.
    pub fn scratch_len(&self) -> usize {
        scratch_len(&self.pyramid, self.lexicon.len(), &self.decoder)
    }
}

fn scratch_len(pyramid: &Pyramid, words: u32, decoder: &Decoder<'_>) -> usize {
    words_len(pyramid, words, decoder) + decoder.scratch_len()
}

/// Elements of scratch memory that hold the words so far: their average, or their ids.
pub(crate) fn words_len(pyramid: &Pyramid, words: u32, decoder: &Decoder<'_>) -> usize {
    match decoder.arithmetic() {
        Arithmetic::Float => saq::average_len(pyramid, decoder.input_width()),
        Arithmetic::Integer => places::places_len(pyramid, words).div_ceil(size_of::<u32>()),
    }
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
    /// Their weights; int8 ones need int8 rows.
    pub weights: Weights<'p>,
    /// Lines of `key = value`.
    pub provenance: &'p str,
}

/// Writes a file into `out`; its length. With an `out` that is too short (an empty one, say) the error states the
/// length that is needed. What was written reads back, or it is an error here.
///
/// # Errors
/// If `out` is too short, or [`Model::read`] would refuse the file.
pub fn emit(parts: &Parts<'_>, out: &mut [u8]) -> Result<usize, EmitError> {
    let arithmetic = parts.weights.arithmetic();
    let plan = Decoder::plan(arithmetic, parts.pyramid.grid(), parts.stages)?;
    // What the file's narrow fields would cut off is refused first; reading it back checks the rest.
    for (id, word) in (0..).zip(parts.words) {
        lexicon::check_word(word).map_err(|rule| FormatError::Word { id, fault: LexiconFault::Rule(rule) })?;
    }
    if plan.input_width() != parts.rows.width() {
        return Err(FormatError::InputWidth { decoder: plan.input_width(), codebook: parts.rows.width() }.into());
    }
    let scratch_bytes = scratch_len(&parts.pyramid, parts.words.len() as u32, &plan) * size_of::<u32>();
    let mut file = FileEmitter::new(&mut *out);
    file.section(Kind::Pyramid, |section| emit_pyramid(&parts.pyramid, section));
    file.section(Kind::Lexicon, |section| lexicon::emit(parts.words, section));
    file.section(Kind::Codebook, |section| codebook::emit(parts.rows, section));
    file.section(Kind::Decoder, |section| decoder::emit(arithmetic, parts.stages, section));
    file.section(Kind::Weights, |section| decoder::emit_weights(parts.stages, parts.weights, section));
    file.section(Kind::Provenance, |section| section.bytes(parts.provenance.as_bytes()));
    let length = file.finish(scratch_bytes as u32)?;
    Model::read(out.get(..length).unwrap_or(&[]))?;
    Ok(length)
}
