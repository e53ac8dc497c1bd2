//! The network from Ẑ to pixels, row by row: no feature map ever stands whole in memory.
//!
//! The decoder is a checked list of stages. Stage 0 takes Ẑ (already behind the first 1×1 layer, which is folded into
//! the codebook), adds a learned bias per grid position and activates; the others are convolutions, some behind a ×2
//! nearest upsampling, some with a residual connection from an earlier stage. Each stage keeps a ring of its newest
//! output rows, as many as its consumers look back. The schedule is derived once, when the file is read; so are the
//! exact lengths of the rings.
//!
//! It computes in f32 (`float`) or in integers (`integer`); schedule, rings and stages are the same.
//!
//! After [`Decoder::read`] has returned, decoding cannot fail.

#[cfg(feature = "float")]
mod float;
mod integer;
mod pixels;
mod schedule;
mod stage;
mod write;

use core::ops::Range;

pub use crate::kernel::float::Weight;
pub use integer::{MAX_SHIFT, MEAN_STEPS};
pub use pixels::{PixelRow, Values};
pub use stage::{Arithmetic, Operation, Stage, StageSpec};
pub use write::{IntegerStage, Weights};
pub(crate) use write::{emit, emit_weights};

use crate::codebook::{Codebook, all_finite_f16};
use crate::error::{FormatError, StageFault};
use crate::format::{Cursor, Kind};
use crate::kernel::Activation;
use crate::kernel::integer::{Kernel, Quad};
use crate::places::Places;
use crate::pyramid::Shape;
#[cfg(feature = "float")]
use crate::saq::RunningAverage;
use schedule::{Progress, Step};

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
    arithmetic: Arithmetic,
    stages: [Stage; MAX_STAGES],
    stage_count: usize,
    weights: &'a [u8],
    /// Elements of all rings.
    rings_len: usize,
    /// Elements of the memory that an upsampling works in.
    work_len: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder without stages, to be filled.
    pub(crate) const EMPTY: Self = Self {
        arithmetic: Arithmetic::Float,
        stages: [Stage::EMPTY; MAX_STAGES],
        stage_count: 0,
        weights: &[],
        rings_len: 0,
        work_len: 0,
    };

    /// Checks the decoder's section of a file of `version` and that the weights' section is exactly as long as its stages
    /// need.
    ///
    /// # Errors
    /// If a stage is unknown, misplaced, too wide, or adds a stage of another shape; if weights are missing, left over
    /// or not finite, or an integer stage's constants out of range.
    pub fn read(version: u16, grid: Shape, section: &[u8], weights: &'a [u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::EMPTY;
        decoder.fill(version, grid, section, weights)?;
        Ok(decoder)
    }

    /// As [`read`](Self::read), in place: a decoder takes a kilobyte, which a small stack has once.
    pub(crate) fn fill(
        &mut self,
        version: u16,
        grid: Shape,
        section: &[u8],
        weights: &'a [u8],
    ) -> Result<(), FormatError> {
        let mut cursor = Cursor::new(Kind::Decoder, section);
        let count = cursor.u16()?;
        if count == 0 || usize::from(count) > MAX_STAGES {
            return Err(FormatError::StageCount { got: count });
        }
        // Version 1 had no integers.
        self.arithmetic = match if version == 1 { 0 } else { cursor.u16()? } {
            0 => Arithmetic::Float,
            1 => Arithmetic::Integer,
            got => return Err(FormatError::Arithmetic { got }),
        };
        for index in 0..usize::from(count) {
            let fault = |fault| FormatError::Stage { index, fault };
            let operation = usize::from(cursor.u8()?);
            let operation = *Operation::ALL.get(operation).ok_or(fault(StageFault::UnknownOperation))?;
            let activation = match cursor.u8()? {
                0 => Activation::Identity,
                1 => Activation::Relu,
                _ => return Err(fault(StageFault::UnknownActivation)),
            };
            let residual = Some(cursor.u8()?).filter(|&residual| residual != NO_RESIDUAL);
            if cursor.u8()? != 0 {
                return Err(fault(StageFault::Reserved));
            }
            let channels = cursor.u16()?;
            self.push(grid, StageSpec { operation, activation, residual, channels }).map_err(fault)?;
        }
        cursor.finish()?;
        self.lay_out()?;
        let expected = self.weights_bytes();
        if weights.len() != expected {
            return Err(FormatError::WeightsLength { expected, got: weights.len() });
        }
        match self.arithmetic {
            Arithmetic::Float if !all_finite_f16(weights) => {
                return Err(FormatError::NotFinite { section: Kind::Weights });
            }
            Arithmetic::Float => {}
            Arithmetic::Integer => {
                for (index, stage) in self.stages().iter().enumerate() {
                    integer::check(stage, weights).map_err(|fault| FormatError::Stage { index, fault })?;
                }
            }
        }
        self.weights = weights;
        Ok(())
    }

    /// The shapes, rings and lengths of a list of stages, without weights.
    pub(crate) fn plan(arithmetic: Arithmetic, grid: Shape, specs: &[StageSpec]) -> Result<Self, FormatError> {
        let mut decoder = Self { arithmetic, ..Decoder::EMPTY };
        for (index, &spec) in specs.iter().enumerate() {
            decoder.push(grid, spec).map_err(|fault| FormatError::Stage { index, fault })?;
        }
        decoder.lay_out()?;
        Ok(decoder)
    }

    /// Derives what follows from a stage's place behind those before it.
    fn push(&mut self, grid: Shape, spec: StageSpec) -> Result<(), StageFault> {
        let arithmetic = self.arithmetic;
        let (before, rest) = self.stages.split_at_mut_checked(self.stage_count).ok_or(StageFault::TooMany)?;
        let slot = rest.first_mut().ok_or(StageFault::TooMany)?;
        let (inputs, source, weights_start) = before
            .last()
            .map_or((0, grid, 0), |source| (source.spec.channels, source.shape, source.weights_end(arithmetic)));
        let factor = spec.operation.rows();
        if before.is_empty() != (spec.operation == Operation::Input) {
            return Err(StageFault::InputPlace);
        }
        if spec.channels == 0 || spec.channels > MAX_CHANNELS {
            return Err(StageFault::Channels);
        }
        let shape = Shape::new(source.height * factor, source.width * factor);
        if shape.height.max(shape.width) > MAX_PICTURE_SIDE {
            return Err(StageFault::PictureSide);
        }
        if let Some(residual) = spec.residual {
            let earlier = before.get(usize::from(residual)).ok_or(StageFault::ResidualPlace)?;
            if earlier.shape != shape || earlier.spec.channels != spec.channels || factor != 1 {
                return Err(StageFault::ResidualShape);
            }
        }
        *slot = Stage { spec, inputs, shape, weights_start, ..Stage::EMPTY };
        self.stage_count += 1;
        Ok(())
    }

    /// Checks the last stage and sizes the rings.
    fn lay_out(&mut self) -> Result<(), FormatError> {
        match self.stages().last() {
            Some(last) if matches!(last.spec.channels, 1 | 3) => self.size_rings(),
            _ => Err(FormatError::PictureChannels),
        }
    }

    /// Bytes of all weights.
    fn weights_bytes(&self) -> usize {
        let end = self.stages().last().map_or(0, |last| last.weights_end(self.arithmetic));
        match self.arithmetic {
            Arithmetic::Float => end * size_of::<[u8; 2]>(),
            Arithmetic::Integer => end,
        }
    }

    /// What it computes in.
    pub const fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
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

    /// All weights in the order of the file, binary16; none of an integer decoder.
    pub const fn weights(&self) -> &'a [[u8; 2]] {
        match self.arithmetic {
            Arithmetic::Float => self.weights.as_chunks().0,
            Arithmetic::Integer => &[],
        }
    }

    /// The weights of stage `index` among [all](Self::weights).
    pub fn stage_weights(&self, index: usize) -> &'a [[u8; 2]] {
        self.stages().get(index).map_or(&[], |stage| stage.weights(self.weights()))
    }

    /// Scratch elements of four bytes that decoding needs.
    pub const fn scratch_len(&self) -> usize {
        self.work_len + self.rings_len
    }

    /// Multiply–accumulates for one picture.
    pub fn multiply_accumulates(&self) -> usize {
        self.stages().iter().map(Stage::multiply_accumulates).fold(0, usize::saturating_add)
    }

    /// Decodes `average`, in which `complete` layers have arrived, in f32, from the [weights](Self::weights) or a copy of
    /// them: widened to f32 once for many pictures, say. Hands out each row of a stage that is computed, and the picture
    /// row by row from the top.
    ///
    /// Uses [`scratch_len`](Self::scratch_len) elements of `scratch`, which must be zero at first and may be used again
    /// as they are; with fewer, no row comes.
    #[cfg(feature = "float")]
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn float_rows<W: Weight>(
        &self,
        weights: &[W],
        average: &RunningAverage<'_, '_>,
        complete: usize,
        scratch: &mut [f32],
        mut observe: impl FnMut(usize, u16, Values<'_>),
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
                self.compute_float(weights, step, average, complete, work, rings);
                for (row, range) in self.computed(step) {
                    observe(step.stage, row, Values::Float(rings.get(range).unwrap_or(&[])));
                }
            }
            visit(row, PixelRow::new(last, Values::Float(rings.get(last.ring_range(row)).unwrap_or(&[]))));
        }
    }

    /// As [`float_rows`](Self::float_rows) for an integer decoder: draws the words at `places`, whose rows `codebook` has.
    /// What lies in `scratch` does not matter.
    #[allow(clippy::too_many_arguments)]
    pub fn integer_rows(
        &self,
        kernel: &dyn Kernel,
        codebook: &Codebook<'_>,
        places: &Places<'_, '_>,
        complete: usize,
        scratch: &mut [u32],
        mut observe: impl FnMut(usize, u16, Values<'_>),
        mut visit: impl FnMut(u16, PixelRow<'_>),
    ) {
        let Some((work, rings)) =
            scratch.get_mut(..self.scratch_len()).and_then(|scratch| scratch.split_at_mut_checked(self.work_len))
        else {
            return;
        };
        let rings: &mut [Quad] = bytemuck::try_cast_slice_mut(rings).unwrap_or(&mut []);
        let Some(last) = self.stages().last() else { return };
        self.clear_rings(rings);
        let mut progress = Progress::START;
        for row in 0..last.shape.height {
            while let Some(step) = self.step(&mut progress, row) {
                self.compute_integer(kernel, step, codebook, places, complete, work, rings);
                for (row, range) in self.computed(step) {
                    observe(step.stage, row, Values::Integer(rings.get(range).unwrap_or(&[])));
                }
            }
            visit(row, PixelRow::new(last, Values::Integer(rings.get(last.ring_range(row)).unwrap_or(&[]))));
        }
    }

    /// The rows that `step` computes, and where they stand among all rings.
    fn computed(&self, step: Step) -> impl Iterator<Item = (u16, Range<usize>)> + use<> {
        let stage = self.stages().get(step.stage).copied().unwrap_or(Stage::EMPTY);
        (0..stage.spec.operation.rows()).map(move |row| (step.row + row, stage.ring_range(step.row + row)))
    }
}
