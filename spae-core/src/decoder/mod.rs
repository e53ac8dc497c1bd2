//! The network from Ẑ to pixels, row by row: no feature map ever stands whole in memory.
//!
//! The decoder is a checked list of stages. Stage 0 takes Ẑ (already behind the first 1×1 layer, which is folded into
//! the codebook), adds a learned bias per grid position and activates; the others are convolutions, some behind a ×2
//! nearest upsampling, some with a residual connection from an earlier stage. Each stage keeps a ring of its newest
//! output rows, as many as its consumers look back. The schedule is derived once, when the file is read; so are the
//! exact lengths of the rings.
//!
//! After [`Decoder::read`] has returned, decoding cannot fail.

use core::ops::Range;

use crate::codebook::all_finite_f16;
use crate::error::{FormatError, StageFault};
use crate::format::{Cursor, Emitter, Kind};
use crate::kernel::{self, Activation, UPSAMPLE_PRODUCTS, Window};
use crate::pyramid::{Position, Shape};
use crate::quant::{self, f16_le};
use crate::saq::RunningAverage;

/// The most stages, the input's included.
pub const MAX_STAGES: usize = 32;

/// The most channels of a stage.
pub const MAX_CHANNELS: u16 = 1024;

/// Longest side of a picture, in pixels.
pub const MAX_PICTURE_SIDE: u16 = 2048;

/// What a stage computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Operation {
    /// Ẑ plus a bias per grid position and channel. First, and only first.
    Input,
    /// 1×1 convolution.
    Convolve1x1,
    /// 3×3 convolution with zero padding.
    Convolve3x3,
    /// Nearest ×2 upsampling and 3×3 convolution with zero padding, from transformed taps.
    UpsampleConvolve3x3,
}

impl Operation {
    const ALL: [Self; 4] = [Self::Input, Self::Convolve1x1, Self::Convolve3x3, Self::UpsampleConvolve3x3];

    /// Rows of the source above and below that an output row needs.
    const fn reach(self) -> u16 {
        match self {
            Self::Input | Self::Convolve1x1 => 0,
            Self::Convolve3x3 | Self::UpsampleConvolve3x3 => 1,
        }
    }

    /// Output rows that are computed together.
    const fn rows(self) -> u16 {
        match self {
            Self::UpsampleConvolve3x3 => 2,
            _ => 1,
        }
    }

    const fn taps(self) -> usize {
        match self {
            Self::Input => 0,
            Self::Convolve1x1 => 1,
            Self::Convolve3x3 => 9,
            Self::UpsampleConvolve3x3 => UPSAMPLE_PRODUCTS,
        }
    }
}

/// A stage as the file states it; its input is the stage before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StageSpec {
    /// What it computes.
    pub operation: Operation,
    /// What follows the sums.
    pub activation: Activation,
    /// An earlier stage of the same shape whose output is added before the activation.
    pub residual: Option<u8>,
    /// Output channels.
    pub channels: u16,
}

const NO_RESIDUAL: u8 = 0xFF;

/// A stage with everything that follows from its place in the list.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stage {
    /// As the file states it.
    pub spec: StageSpec,
    /// Channels of the stage before; 0 for the input.
    pub inputs: u16,
    /// Output rows and columns.
    pub shape: Shape,
    /// Output rows that stay in memory.
    ring_rows: u16,
    /// Where the ring starts among all rings, in elements.
    ring_start: usize,
    /// Where the stage's weights start, in bytes.
    weights_start: usize,
}

impl Stage {
    const EMPTY: Self = Self {
        spec: StageSpec { operation: Operation::Input, activation: Activation::Identity, residual: None, channels: 0 },
        inputs: 0,
        shape: Shape::new(0, 0),
        ring_rows: 1,
        ring_start: 0,
        weights_start: 0,
    };

    /// Elements of one padded output row: channels × (width + 2).
    const fn row_len(&self) -> usize {
        self.spec.channels as usize * self.stride()
    }

    const fn stride(&self) -> usize {
        self.shape.width as usize + 2
    }

    /// Weights, biases included: the grid bias [h × w × d], or a bias [channels] and the taps.
    pub fn weight_count(&self) -> usize {
        let channels = usize::from(self.spec.channels);
        match self.spec.operation {
            Operation::Input => self.shape.area() * channels,
            operation => channels + channels * usize::from(self.inputs) * operation.taps(),
        }
    }

    /// Multiply–accumulates for one picture; an upsampling stage counts its nine products per input position.
    pub fn multiply_accumulates(&self) -> usize {
        let positions = match self.spec.operation {
            Operation::Input => 0,
            Operation::UpsampleConvolve3x3 => self.shape.area() / 4,
            _ => self.shape.area(),
        };
        positions * usize::from(self.inputs) * usize::from(self.spec.channels) * self.spec.operation.taps()
    }

    fn ring_range(&self, row: u16) -> Range<usize> {
        let start = self.ring_start + usize::from(row % self.ring_rows) * self.row_len();
        start..start + self.row_len()
    }
}

/// The stages and weights of a model, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    stages: [Stage; MAX_STAGES],
    stage_count: usize,
    weights: &'a [u8],
    /// Elements of all rings.
    rings_len: usize,
    /// Elements of the differences and sums of the hungriest upsampling stage.
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
        let expected = decoder.stages().iter().map(Stage::weight_count).sum::<usize>() * 2;
        if weights.len() != expected {
            return Err(FormatError::WeightsLength { expected, got: weights.len() });
        }
        if !all_finite_f16(weights) {
            return Err(FormatError::NotFinite { section: Kind::Weights });
        }
        decoder.weights = weights;
        Ok(decoder)
    }

    /// Derives shapes, rings and lengths from a list of stages. The decoder has no weights yet.
    pub(crate) fn plan(grid: Shape, specs: &[StageSpec]) -> Result<Decoder<'static>, FormatError> {
        let mut stages = [Stage::EMPTY; MAX_STAGES];
        let mut weights_start = 0;
        for (index, &spec) in specs.iter().enumerate() {
            let fault = |fault| FormatError::Stage { index, fault };
            let (before, rest) = stages.split_at_mut_checked(index).ok_or(fault(StageFault::TooMany))?;
            let slot = rest.first_mut().ok_or(fault(StageFault::TooMany))?;
            let (inputs, source) = before.last().map_or((0, grid), |source| (source.spec.channels, source.shape));
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
            weights_start += slot.weight_count() * 2;
        }
        let mut decoder = Decoder { stages, stage_count: specs.len(), weights: &[], rings_len: 0, work_len: 0 };
        match decoder.stages().last() {
            Some(last) if matches!(last.spec.channels, 1 | 3) => {}
            _ => return Err(FormatError::PictureChannels),
        }
        decoder.size_rings();
        Ok(decoder)
    }

    /// Runs the schedule without arithmetic to find how far back each ring must reach, then lays the rings out.
    fn size_rings(&mut self) {
        let mut needed = [1; MAX_STAGES];
        let mut produced = [0; MAX_STAGES];
        let last = self.stage_count - 1;
        for row in 0..self.picture_shape().height {
            self.advance(row, &mut produced, |decoder, produced, index, row| {
                for (source, oldest) in decoder.rows_used(index, row) {
                    needed[source] = needed[source].max(produced[source] - oldest);
                }
            });
            needed[last] = needed[last].max(produced[last] - row);
        }
        let mut start = 0;
        for (stage, needed) in self.stages.iter_mut().zip(needed).take(self.stage_count) {
            (stage.ring_rows, stage.ring_start) = (needed, start);
            start += usize::from(needed) * stage.row_len();
        }
        self.rings_len = start;
        let work = |stage: &Stage| match stage.spec.operation {
            Operation::UpsampleConvolve3x3 => {
                UPSAMPLE_PRODUCTS * usize::from(stage.shape.width / 2) * (1 + usize::from(stage.spec.channels))
            }
            _ => 0,
        };
        self.work_len = self.stages().iter().map(work).max().unwrap_or(0);
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

    /// Scratch elements that [`rows`](Self::rows) needs.
    pub const fn scratch_len(&self) -> usize {
        self.work_len + self.rings_len
    }

    /// Multiply–accumulates for one picture.
    pub fn multiply_accumulates(&self) -> usize {
        self.stages().iter().map(Stage::multiply_accumulates).sum()
    }

    /// Computes all that picture row `row` needs and is not there yet, in order: `compute(self, produced, stage, row)`.
    fn advance(
        &self,
        row: u16,
        produced: &mut [u16; MAX_STAGES],
        mut compute: impl FnMut(&Self, &[u16; MAX_STAGES], usize, u16),
    ) {
        let mut wanted = [0; MAX_STAGES];
        if let Some(last) = self.stage_count.checked_sub(1) {
            wanted[last] = row + 1;
        }
        for (index, stage) in self.stages().iter().enumerate().skip(1).rev() {
            if wanted[index] <= produced[index] {
                continue;
            }
            let operation = stage.spec.operation;
            let source = self.stages[index - 1].shape.height;
            let upto = wanted[index].div_ceil(operation.rows()) + operation.reach();
            wanted[index - 1] = wanted[index - 1].max(upto.min(source));
            if let Some(residual) = stage.spec.residual.map(usize::from) {
                wanted[residual] = wanted[residual].max(wanted[index]);
            }
        }
        for (index, stage) in self.stages().iter().enumerate() {
            while produced[index] < wanted[index] {
                compute(self, produced, index, produced[index]);
                produced[index] += stage.spec.operation.rows();
            }
        }
    }

    /// The stages that stage `index` reads for its output row `row`, each with the oldest row that it reads there.
    fn rows_used(&self, index: usize, row: u16) -> impl Iterator<Item = (usize, u16)> {
        let spec = self.stages[index].spec;
        let source = index
            .checked_sub(1)
            .map(|source| (source, (row / spec.operation.rows()).saturating_sub(spec.operation.reach())));
        source.into_iter().chain(spec.residual.map(|residual| (usize::from(residual), row)))
    }

    /// Decodes `average`, in which `complete` layers have arrived, and hands out the picture row by row from the top.
    ///
    /// Uses [`scratch_len`](Self::scratch_len) elements of `scratch`, which must be zero at first and may be used again
    /// as they are; with fewer, no row comes.
    pub fn rows(
        &self,
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
        let mut produced = [0; MAX_STAGES];
        for row in 0..last.shape.height {
            self.advance(row, &mut produced, |decoder, _, index, row| match decoder.stages[index].spec.operation {
                Operation::Input => decoder.input_row(average, complete, row, rings),
                Operation::UpsampleConvolve3x3 => decoder.upsample_rows(index, row, work, rings),
                operation => decoder.convolve_row(index, operation, row, rings),
            });
            let values = rings.get(last.ring_range(row)).unwrap_or(&[]);
            visit(row, PixelRow { values, stride: last.stride(), channels: usize::from(last.spec.channels) });
        }
    }

    fn stage_weights(&self, stage: &Stage) -> &'a [u8] {
        let end = stage.weights_start + stage.weight_count() * 2;
        self.weights.get(stage.weights_start..end).unwrap_or(&[])
    }

    fn input_row(&self, average: &RunningAverage<'_, '_>, complete: usize, row: u16, rings: &mut [f32]) {
        let stage = &self.stages[0];
        let (width, channels) = (usize::from(stage.shape.width), usize::from(stage.spec.channels));
        let Some(out) = rings.get_mut(stage.ring_range(row)) else { return };
        let biases = self.stage_weights(stage).as_chunks().0;
        for column in 0..stage.shape.width {
            let at = usize::from(row) * width + usize::from(column);
            let value = average.value(Position { row, column }, complete).unwrap_or(&[]);
            let biases = biases.get(at * channels..).unwrap_or(&[]);
            for (channel, (out, bias)) in out.chunks_exact_mut(stage.stride()).zip(biases).enumerate() {
                if let Some(out) = out.get_mut(usize::from(column) + 1) {
                    *out = value.get(channel).copied().unwrap_or(0.0) + f16_le(*bias);
                }
            }
        }
        for out in out.chunks_exact_mut(stage.stride()) {
            stage.spec.activation.apply(interior(out));
        }
    }

    /// The three rows of the stage before `index` around its row `row`, and the memory of the rings from `index` on.
    fn window<'r>(
        &self,
        index: usize,
        row: u16,
        rings: &'r mut [f32],
    ) -> Option<(Window<'r>, &'r [f32], &'r mut [f32])> {
        let source = self.stages.get(index.checked_sub(1)?)?;
        let (before, own) = rings.split_at_mut_checked(self.stages[index].ring_start)?;
        let before = &*before;
        let get = |row: Option<u16>| match row {
            Some(row) if row < source.shape.height => before.get(source.ring_range(row)).unwrap_or(&[]),
            _ => &[],
        };
        let rows = [get(row.checked_sub(1)), get(Some(row)), get(row.checked_add(1))];
        Some((Window { rows, width: usize::from(source.shape.width) }, before, own))
    }

    fn convolve_row(&self, index: usize, operation: Operation, row: u16, rings: &mut [f32]) {
        let stage = &self.stages[index];
        let Some((window, before, own)) = self.window(index, row, rings) else { return };
        let range = stage.ring_range(row);
        let Some(out) = own.get_mut(range.start - stage.ring_start..range.end - stage.ring_start) else { return };
        let residual = stage.spec.residual.and_then(|residual| self.stages.get(usize::from(residual)));
        let residual = residual.and_then(|earlier| before.get(earlier.ring_range(row)));
        let Some((biases, taps)) = self.stage_weights(stage).split_at_checked(2 * usize::from(stage.spec.channels))
        else {
            return;
        };
        let taps_len = 2 * usize::from(stage.inputs) * operation.taps();
        let channels = out.chunks_exact_mut(stage.stride()).zip(biases.as_chunks().0).zip(taps.chunks_exact(taps_len));
        for (channel, ((out, bias), taps)) in channels.enumerate() {
            let sums = interior(out);
            sums.fill(f16_le(*bias));
            match operation {
                Operation::Convolve1x1 => kernel::convolve_1x1(taps, &window, sums),
                _ => kernel::convolve_3x3(taps, &window, sums),
            }
            let earlier = residual.and_then(|rows| rows.get(channel * stage.stride() + 1..)).unwrap_or(&[]);
            for (sum, earlier) in sums.iter_mut().zip(earlier) {
                *sum += earlier;
            }
            stage.spec.activation.apply(sums);
        }
    }

    fn upsample_rows(&self, index: usize, row: u16, work: &mut [f32], rings: &mut [f32]) {
        let stage = &self.stages[index];
        let Some((window, _, own)) = self.window(index, row / 2, rings) else { return };
        let width = window.width;
        let channels = usize::from(stage.spec.channels);
        let Some((differences, sums)) = work.split_at_mut_checked(UPSAMPLE_PRODUCTS * width) else { return };
        let Some(sums) = sums.get_mut(..UPSAMPLE_PRODUCTS * width * channels) else { return };
        let Some((biases, taps)) = self.stage_weights(stage).split_at_checked(2 * channels) else { return };
        sums.fill(0.0);
        for (channel, taps) in taps.chunks_exact(2 * UPSAMPLE_PRODUCTS * channels).enumerate() {
            kernel::upsample_differences(&window, channel, differences);
            kernel::upsample_accumulate(taps, differences, width, sums);
        }
        // The pair (row, row + 1) may wrap around the ring, so each row is found on its own.
        let sums = sums.chunks_exact(UPSAMPLE_PRODUCTS * width);
        for (channel, (sums, bias)) in sums.zip(biases.as_chunks().0).enumerate() {
            for a in 0..2 {
                let start = stage.ring_range(row + a).start - stage.ring_start + channel * stage.stride();
                let Some(out) = own.get_mut(start..start + stage.stride()) else { return };
                let out = interior(out);
                kernel::upsample_combine(sums, width, f16_le(*bias), usize::from(a), out);
                stage.spec.activation.apply(out);
            }
        }
    }
}

/// A padded row without its padding.
fn interior(row: &mut [f32]) -> &mut [f32] {
    match row {
        [_, interior @ .., _] => interior,
        _ => &mut [],
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

/// One row of a picture, as it leaves the decoder.
#[derive(Clone, Copy, Debug)]
pub struct PixelRow<'a> {
    /// [channels × (width + 2)].
    values: &'a [f32],
    stride: usize,
    channels: usize,
}

impl<'a> PixelRow<'a> {
    /// 1 for grey, 3 for red, green, blue.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// One channel's pixels from the left.
    pub fn channel(&self, channel: usize) -> impl ExactSizeIterator<Item = u8> + use<'a> {
        let row = self.values.chunks_exact(self.stride.max(1)).nth(channel).unwrap_or(&[]);
        let interior = if let [_, interior @ .., _] = row { interior } else { &[] };
        interior.iter().map(|&value| quant::pixel(value))
    }
}
