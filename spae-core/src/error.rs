//! What can be wrong with a pyramid, a model file or a text, with what was expected and what was found.

use core::fmt::{Display, Formatter, Result};

use crate::codebook::MAX_WIDTH;
use crate::decoder::{MAX_CHANNELS, MAX_PICTURE_SIDE, MAX_SCRATCH, MAX_SHIFT, MAX_STAGES};
use crate::format::{Kind, MAGIC, VERSION};
use crate::lexicon::{MAX_WORD_BYTES, MAX_WORDS};
use crate::pyramid::{MAX_LAYERS, MAX_SIDE, Shape};

/// A list of layers that is no pyramid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PyramidError {
    /// No layer, or more than [`MAX_LAYERS`].
    LayerCount {
        /// Layers given.
        got: usize,
    },
    /// A side of the grid is 0 or beyond [`MAX_SIDE`].
    GridSide {
        /// The grid given.
        grid: Shape,
    },
    /// A layer's sides do not divide the grid's.
    Divides {
        /// Which layer, from 0.
        index: usize,
        /// Its shape.
        layer: Shape,
        /// The grid's shape.
        grid: Shape,
    },
    /// A layer is lower or narrower than the one before it.
    Shrinks {
        /// Which layer, from 0.
        index: usize,
        /// Its shape.
        layer: Shape,
        /// The shape of the layer before.
        previous: Shape,
    },
}

impl Display for PyramidError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::LayerCount { got } => write!(f, "{got} layers; a pyramid has 1 to {MAX_LAYERS}"),
            Self::GridSide { grid } => write!(f, "grid {grid}; sides go from 1 to {MAX_SIDE}"),
            Self::Divides { index, layer, grid } => {
                write!(f, "layer {} is {layer}, which does not divide the grid {grid}", index + 1)
            }
            Self::Shrinks { index, layer, previous } => {
                write!(f, "layer {} is {layer}, smaller than the {previous} before it", index + 1)
            }
        }
    }
}

impl core::error::Error for PyramidError {}

/// Why a text is no word of a lexicon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WordFault {
    /// It has no bytes.
    Empty,
    /// It is longer than [`MAX_WORD_BYTES`].
    TooLong,
    /// It has white space or a control character inside.
    WhiteSpace,
}

impl Display for WordFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it is longer than {MAX_WORD_BYTES} bytes"),
            Self::WhiteSpace => f.write_str("it has white space or a control character inside"),
        }
    }
}

impl core::error::Error for WordFault {}

/// Why an entry of a lexicon section is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum LexiconFault {
    /// Its block does not start where the section says.
    BlockOffset,
    /// Its entry leaves the section, shares more bytes than its predecessor has, or is too long.
    Cut,
    /// It is not UTF-8.
    NotUtf8,
    /// It is not greater than the word before.
    Unsorted,
    /// It is no word.
    Rule(WordFault),
}

impl Display for LexiconFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::BlockOffset => f.write_str("its block starts elsewhere than the section says"),
            Self::Cut => write!(f, "its entry is cut off, or longer than {MAX_WORD_BYTES} bytes"),
            Self::NotUtf8 => f.write_str("it is not UTF-8"),
            Self::Unsorted => f.write_str("it is not greater than the word before it"),
            Self::Rule(inner) => Display::fmt(inner, f),
        }
    }
}

impl core::error::Error for LexiconFault {}

/// Why a stage of a decoder is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StageFault {
    /// Its operation is none of this version's.
    UnknownOperation,
    /// Its activation is none of this version's.
    UnknownActivation,
    /// A byte of it that means nothing is not 0.
    Reserved,
    /// Its sums move up by more than [`MAX_SHIFT`] bits.
    Shift,
    /// It has a ReLU, but 0 is not its lowest activation.
    ZeroPoint,
    /// There are more stages than [`MAX_STAGES`].
    TooMany,
    /// The input is not first, or something else is.
    InputPlace,
    /// It has no channels or more than [`MAX_CHANNELS`].
    Channels,
    /// A side of its output is beyond [`MAX_PICTURE_SIDE`].
    PictureSide,
    /// It adds a stage that does not come before it.
    ResidualPlace,
    /// It adds a stage of another shape, or upsamples.
    ResidualShape,
}

impl Display for StageFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::UnknownOperation => f.write_str("its operation is unknown"),
            Self::UnknownActivation => f.write_str("its activation is unknown"),
            Self::Reserved => f.write_str("a byte of it that means nothing is not 0"),
            Self::Shift => write!(f, "its sums move up by more than {MAX_SHIFT} bits"),
            Self::ZeroPoint => f.write_str("it has a ReLU, but 0 is not its lowest activation"),
            Self::TooMany => write!(f, "there are more than {MAX_STAGES} stages"),
            Self::InputPlace => f.write_str("the input stage stands first, and only there"),
            Self::Channels => write!(f, "channels go from 1 to {MAX_CHANNELS}"),
            Self::PictureSide => write!(f, "a side of its output is beyond {MAX_PICTURE_SIDE}"),
            Self::ResidualPlace => f.write_str("it adds a stage that does not come before it"),
            Self::ResidualShape => f.write_str("it adds a stage of another shape"),
        }
    }
}

impl core::error::Error for StageFault {}

/// Why a byte string is no model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum FormatError {
    /// Not even a header and its table fit.
    TooShort {
        /// Found.
        got: usize,
    },
    /// The first four bytes are not the format's.
    Magic {
        /// Found.
        got: [u8; 4],
    },
    /// The format version is 0 or newer than this crate.
    Version {
        /// Found.
        got: u16,
    },
    /// The file is longer or shorter than it says.
    TotalLength {
        /// As the header says.
        expected: u32,
        /// Found.
        got: usize,
    },
    /// The number of sections is not the version's.
    SectionCount {
        /// Found.
        got: u16,
    },
    /// Header or table have changed.
    HeaderChecksum {
        /// As stated.
        expected: u32,
        /// As computed.
        got: u32,
    },
    /// A section is missing or out of order.
    SectionTag {
        /// The section.
        section: Kind,
    },
    /// A section does not start where the one before ends.
    SectionOffset {
        /// The section.
        section: Kind,
        /// Needed.
        expected: usize,
        /// As the table says.
        got: u32,
    },
    /// A section ends outside the file.
    SectionLength {
        /// The section.
        section: Kind,
        /// As the table says.
        got: u32,
        /// Bytes that are left in the file.
        left: usize,
    },
    /// A section has changed.
    SectionChecksum {
        /// The section.
        section: Kind,
        /// As stated.
        expected: u32,
        /// As computed.
        got: u32,
    },
    /// Bytes between sections are not 0.
    Padding {
        /// The section.
        section: Kind,
    },
    /// A section ends before its content does.
    SectionCut {
        /// The section.
        section: Kind,
        /// Offset in the section.
        at: usize,
        /// Bytes wanted there.
        wanted: usize,
        /// Bytes left.
        left: usize,
    },
    /// A section goes on behind its content.
    SectionSurplus {
        /// The section.
        section: Kind,
        /// Offset in the section.
        at: usize,
        /// Bytes left.
        left: usize,
    },
    /// The layers are no pyramid.
    Pyramid(PyramidError),
    /// No words, or more than [`MAX_WORDS`].
    WordCount {
        /// Found.
        got: u32,
    },
    /// A word is wrong.
    Word {
        /// Which, from 0.
        id: u32,
        /// Why.
        fault: LexiconFault,
    },
    /// The codebook's rows are stored in an unknown way.
    RowEncoding {
        /// Found.
        got: u16,
    },
    /// The codebook's rows have no or too many elements.
    RowWidth {
        /// Found.
        got: u16,
    },
    /// A number is infinite or none.
    NotFinite {
        /// The section.
        section: Kind,
    },
    /// No stages or more than [`MAX_STAGES`].
    StageCount {
        /// Found.
        got: u16,
    },
    /// A stage is wrong.
    Stage {
        /// Which, from 0.
        index: usize,
        /// Why.
        fault: StageFault,
    },
    /// The last stage has neither 1 nor 3 channels.
    PictureChannels,
    /// Weights are missing or left over.
    WeightsLength {
        /// Needed.
        expected: usize,
        /// Found.
        got: usize,
    },
    /// What the decoder computes in is unknown.
    Arithmetic {
        /// Found.
        got: u16,
    },
    /// An integer decoder's rows are not integers.
    IntegerRows,
    /// A decoder in f32, which this build has left out.
    FloatLeftOut,
    /// The provenance is not UTF-8.
    ProvenanceNotUtf8 {
        /// Offset in the section.
        at: usize,
    },
    /// Words and rows differ in number.
    RowCount {
        /// Words.
        words: u32,
        /// Rows.
        rows: u32,
    },
    /// The decoder and the codebook differ in width.
    InputWidth {
        /// The decoder's.
        decoder: usize,
        /// The codebook's.
        codebook: usize,
    },
    /// The stages' rings take more memory than [`MAX_SCRATCH`].
    ScratchTooLarge {
        /// Elements of four bytes needed.
        elements: u64,
    },
    /// The header states another scratch size than the stages need.
    ScratchBytes {
        /// As the header says.
        stated: u32,
        /// As the stages need.
        derived: usize,
    },
}

impl Display for FormatError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::TooShort { got } => {
                write!(f, "{got} bytes are too few for a model file: it is cut off or something else")
            }
            Self::Magic { got } => write!(f, "starts with {got:02x?} instead of {MAGIC:02x?}: this is no model file"),
            Self::Version { got } => write!(
                f,
                "format version {got}; this program reads 1 to {VERSION}: export the model again or use a newer program"
            ),
            Self::TotalLength { expected, got } => {
                write!(f, "{got} bytes long, but the header says {expected}: it is cut off or has something behind it")
            }
            Self::SectionCount { got } => write!(f, "{got} sections; a model file has 6"),
            Self::HeaderChecksum { expected, got } => {
                write!(f, "checksum of the header is {got:08x}, not {expected:08x}: the file is damaged")
            }
            Self::SectionTag { section } => write!(f, "the {section} section is not where it belongs"),
            Self::SectionOffset { section, expected, got } => {
                write!(f, "the {section} section starts at {got} instead of {expected}")
            }
            Self::SectionLength { section, got, left } => {
                write!(f, "the {section} section has {got} bytes where {left} are left")
            }
            Self::SectionChecksum { section, expected, got } => {
                write!(f, "checksum of the {section} section is {got:08x}, not {expected:08x}: the file is damaged")
            }
            Self::Padding { section } => write!(f, "the padding behind the {section} section is not zero"),
            Self::SectionCut { section, at, wanted, left } => {
                write!(f, "the {section} section ends at byte {at}: {wanted} bytes wanted, {left} left")
            }
            Self::SectionSurplus { section, at, left } => {
                write!(f, "the {section} section has {left} bytes too many from byte {at}")
            }
            Self::Pyramid(inner) => write!(f, "pyramid: {inner}"),
            Self::WordCount { got } => write!(f, "{got} words; a lexicon has 1 to {MAX_WORDS}"),
            Self::Word { id, fault } => write!(f, "word {id} of the lexicon: {fault}"),
            Self::RowEncoding { got } => write!(f, "row encoding {got} is unknown; 0 is int8, 1 is f16 and 2 is int4"),
            Self::RowWidth { got } => write!(f, "rows of {got} elements; 1 to {MAX_WIDTH} are possible"),
            Self::NotFinite { section } => write!(f, "the {section} section has a number that is not finite"),
            Self::StageCount { got } => write!(f, "{got} stages; a decoder has 1 to {MAX_STAGES}"),
            Self::Stage { index, fault } => write!(f, "stage {index} of the decoder: {fault}"),
            Self::PictureChannels => f.write_str("the last stage must give 1 or 3 channels"),
            Self::WeightsLength { expected, got } => {
                write!(f, "the weights take {got} bytes; the stages need {expected}")
            }
            Self::Arithmetic { got } => write!(f, "arithmetic {got} is unknown; 0 is f32 and 1 is integers"),
            Self::IntegerRows => f.write_str("a decoder that computes in integers needs codebook rows in int8 or int4"),
            Self::FloatLeftOut => {
                f.write_str("the decoder computes in f32, and spae-core was built without its feature `float`")
            }
            Self::ProvenanceNotUtf8 { at } => write!(f, "the provenance is not UTF-8 at byte {at}"),
            Self::RowCount { words, rows } => write!(f, "{words} words, but {rows} codebook rows"),
            Self::InputWidth { decoder, codebook } => {
                write!(f, "the decoder takes vectors of {decoder}, the codebook has {codebook}")
            }
            Self::ScratchTooLarge { elements } => {
                write!(f, "the stages need {elements} elements of scratch memory; {MAX_SCRATCH} are the most")
            }
            Self::ScratchBytes { stated, derived } => {
                write!(f, "the header states {stated} bytes of scratch memory; the stages need {derived}")
            }
        }
    }
}

impl core::error::Error for FormatError {}

impl From<PyramidError> for FormatError {
    fn from(error: PyramidError) -> Self {
        Self::Pyramid(error)
    }
}

/// Why no model file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EmitError {
    /// The output does not hold it.
    OutputTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        got: usize,
    },
    /// It does not fit 32-bit offsets.
    FileTooLong {
        /// Found.
        got: usize,
    },
    /// The parts make no model.
    Unreadable(FormatError),
}

impl Display for EmitError {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::OutputTooSmall { needed, got } => write!(f, "the file takes {needed} bytes; there is room for {got}"),
            Self::FileTooLong { got } => write!(f, "{got} bytes do not fit the format's 32-bit offsets"),
            Self::Unreadable(inner) => write!(f, "the parts make no model: {inner}"),
        }
    }
}

impl core::error::Error for EmitError {}

impl From<FormatError> for EmitError {
    fn from(error: FormatError) -> Self {
        Self::Unreadable(error)
    }
}

/// The memory lent to a canvas is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ScratchTooSmall {
    /// Elements (u32) needed.
    pub needed: usize,
    /// Elements lent.
    pub got: usize,
}

impl Display for ScratchTooSmall {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "scratch memory of {} words; the model needs {}", self.got, self.needed)
    }
}

impl core::error::Error for ScratchTooSmall {}

/// A word that the lexicon does not have, under the policy that stops there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct UnknownWord {
    /// Offset of its first byte in the text.
    pub offset: u32,
}

impl Display for UnknownWord {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "the word at byte {} is not in the lexicon", self.offset)
    }
}

impl core::error::Error for UnknownWord {}
