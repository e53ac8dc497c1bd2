//! The network from Ẑ to pixels, row by row: no feature map ever stands whole in memory.
//!
//! The decoder is a checked list of stages. Stage 0 takes Ẑ (already behind the first 1×1 layer, which is folded into
//! the codebook), adds a learned bias per grid position and activates; the others are convolutions, some behind a ×2
//! nearest upsampling, some with a residual connection from an earlier stage. Each stage keeps a ring of its newest
//! output rows, as many as its consumers look back. The schedule is derived once, when the file is read; so are the
//! exact lengths of the rings.
//!
//! After [`Decoder::read`] has returned, decoding cannot fail.

mod drawing;
mod schedule;
mod stage;

pub use crate::kernel::Weight;
pub use drawing::PixelRow;
pub use stage::{Operation, Stage, StageSpec};

use crate::codebook::all_finite_f16;
use crate::error::{FormatError, StageFault};
use crate::format::{Cursor, Emitter, Kind};
use crate::kernel::Activation;
use crate::pyramid::Shape;
use crate::saq::RunningAverage;
use schedule::Progress;

/// The most stages, the input's included.
pub const MAX_STAGES: usize = 32;

/// The most channels of a stage.
pub const MAX_CHANNELS: u16 = 1024;

/// Longest side of a picture, in pixels.
pub const MAX_PICTURE_SIDE: u16 = 2048;

/// The most elements (f32) that the rings may take: 256 MiB, so that every size in bytes fits 32 bits.
pub const MAX_SCRATCH: usize = 1 << 26;

/// Stands in the file for "adds no earlier stage".
const NO_RESIDUAL: u8 = 0xFF;

/// The stages and weights of a model, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    stages: [Stage; MAX_STAGES],
    stage_count: usize,
    weights: &'a [[u8; 2]],
    /// Elements of all rings.
    rings_len: usize,
    /// Elements of the memory that an upsampling works in.
    work_len: usize,
}

impl<'a> Decoder<'a> {
    /// Checks the decoder's section and that the weights' section is exactly as long as its stages need.
    ///
    /// # Errors
    /// If a stage is unknown, misplaced, too wide, or adds a stage of another shape; if weights are missing, left over
    /// or not finite.
    pub fn read(grid: Shape, section: &[u8], weights: &'a [u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(Kind::Decoder, section);
        let count = cursor.u16()?;
        if count == 0 || usize::from(count) > MAX_STAGES {
            return Err(FormatError::StageCount { got: count });
        }
        let mut specs = [Stage::EMPTY.spec; MAX_STAGES];
        for (index, spec) in specs.iter_mut().take(usize::from(count)).enumerate() {
            let fault = |fault| FormatError::Stage { index, fault };
            let operation = usize::from(cursor.u8()?);
            spec.operation = *Operation::ALL.get(operation).ok_or(fault(StageFault::UnknownOperation))?;
            spec.activation = match cursor.u8()? {
                0 => Activation::Identity,
                1 => Activation::Relu,
                _ => return Err(fault(StageFault::UnknownActivation)),
            };
            spec.residual = Some(cursor.u8()?).filter(|&residual| residual != NO_RESIDUAL);
            if cursor.u8()? != 0 {
                return Err(fault(StageFault::Reserved));
            }
            spec.channels = cursor.u16()?;
        }
        cursor.finish()?;
        let mut decoder = Self::plan(grid, specs.get(..usize::from(count)).unwrap_or(&[]))?;
        let expected = size_of::<[u8; 2]>() * decoder.stages().last().map_or(0, Stage::weights_end);
        if weights.len() != expected {
            return Err(FormatError::WeightsLength { expected, got: weights.len() });
        }
        if !all_finite_f16(weights) {
            return Err(FormatError::NotFinite { section: Kind::Weights });
        }
        decoder.weights = weights.as_chunks().0;
        Ok(decoder)
    }

    /// Derives shapes, rings and lengths from a list of stages. The decoder has no weights yet.
    pub(crate) fn plan(grid: Shape, specs: &[StageSpec]) -> Result<Decoder<'static>, FormatError> {
        let mut stages = [Stage::EMPTY; MAX_STAGES];
        for (index, &spec) in specs.iter().enumerate() {
            let fault = |fault| FormatError::Stage { index, fault };
            let (before, rest) = stages.split_at_mut_checked(index).ok_or(fault(StageFault::TooMany))?;
            let slot = rest.first_mut().ok_or(fault(StageFault::TooMany))?;
            let (inputs, source, weights_start) =
                before.last().map_or((0, grid, 0), |source| (source.spec.channels, source.shape, source.weights_end()));
            let factor = spec.operation.rows();
            if (index == 0) != (spec.operation == Operation::Input) {
                return Err(fault(StageFault::InputPlace));
            }
            if spec.channels == 0 || spec.channels > MAX_CHANNELS {
                return Err(fault(StageFault::Channels));
            }
            let shape = Shape::new(source.height * factor, source.width * factor);
            if shape.height.max(shape.width) > MAX_PICTURE_SIDE {
                return Err(fault(StageFault::PictureSide));
            }
            if let Some(residual) = spec.residual {
                let earlier = before.get(usize::from(residual)).ok_or(fault(StageFault::ResidualPlace))?;
                if earlier.shape != shape || earlier.spec.channels != spec.channels || factor != 1 {
                    return Err(fault(StageFault::ResidualShape));
                }
            }
            *slot = Stage { spec, inputs, shape, weights_start, ..Stage::EMPTY };
        }
        let mut decoder = Decoder { stages, stage_count: specs.len(), weights: &[], rings_len: 0, work_len: 0 };
        match decoder.stages().last() {
            Some(last) if matches!(last.spec.channels, 1 | 3) => {}
            _ => return Err(FormatError::PictureChannels),
        }
        decoder.size_rings()?;
        Ok(decoder)
    }

    /// The stages, the input first.
    pub fn stages(&self) -> &[Stage] {
        self.stages.get(..self.stage_count).unwrap_or(&[])
    }

    /// Rows and columns of the picture.
    pub fn picture_shape(&self) -> Shape {
        self.stages().last().map_or(Shape::new(0, 0), |stage| stage.shape)
    }

    /// 1 for grey, 3 for red, green, blue.
    pub fn picture_channels(&self) -> usize {
        self.stages().last().map_or(0, |stage| usize::from(stage.spec.channels))
    }

    /// The length d of Ẑ's vectors.
    pub fn input_width(&self) -> usize {
        self.stages().first().map_or(0, |stage| usize::from(stage.spec.channels))
    }

    /// All weights in the order of the file, binary16.
    pub const fn weights(&self) -> &'a [[u8; 2]] {
        self.weights
    }

    /// Scratch elements that [`rows`](Self::rows) needs.
    pub const fn scratch_len(&self) -> usize {
        self.work_len + self.rings_len
    }

    /// Multiply–accumulates for one picture.
    pub fn multiply_accumulates(&self) -> usize {
        self.stages().iter().map(Stage::multiply_accumulates).fold(0, usize::saturating_add)
    }

    /// Decodes `average`, in which `complete` layers have arrived, and hands out the picture row by row from the top.
    ///
    /// Uses [`scratch_len`](Self::scratch_len) elements of `scratch`, which must be zero at first and may be used again
    /// as they are; with fewer, no row comes.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn rows(
        &self,
        average: &RunningAverage<'_, '_>,
        complete: usize,
        scratch: &mut [f32],
        visit: impl FnMut(u16, PixelRow<'_>),
    ) {
        self.rows_from(self.weights, average, complete, scratch, visit);
    }

    /// As [`rows`](Self::rows), from a copy of the [weights](Self::weights): widened to f32 once for many pictures, say.
    /// The bits are the same.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn rows_from<W: Weight>(
        &self,
        weights: &[W],
        average: &RunningAverage<'_, '_>,
        complete: usize,
        scratch: &mut [f32],
        mut visit: impl FnMut(u16, PixelRow<'_>),
    ) {
        let Some((work, rings)) =
            scratch.get_mut(..self.scratch_len()).and_then(|scratch| scratch.split_at_mut_checked(self.work_len))
        else {
            return;
        };
        let Some(last) = self.stages().last() else { return };
        let mut progress = Progress::START;
        for row in 0..last.shape.height {
            while let Some(step) = self.step(&mut progress, row) {
                self.compute(weights, step, average, complete, work, rings);
            }
            visit(row, PixelRow::new(last, rings.get(last.ring_range(row)).unwrap_or(&[])));
        }
    }
}

/// Writes the decoder's section.
pub(crate) fn emit(specs: &[StageSpec], out: &mut Emitter<'_>) {
    out.u16(specs.len() as u16);
    for spec in specs {
        out.u8(spec.operation as u8);
        out.u8(spec.activation as u8);
        out.u8(spec.residual.unwrap_or(NO_RESIDUAL));
        out.u8(0);
        out.u16(spec.channels);
    }
}
