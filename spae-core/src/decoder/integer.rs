//! The decoder at work in integers: one step of the schedule after the other, over a
//! [kernel](crate::kernel::integer)'s loops.
//!
//! A stage's stored constants: zero point (u8), shift (u8), two zero bytes, the multiplier of the stage that is added
//! (i32), one multiplier an output channel (i32). The input goes on with one multiplier a channel for its bias (i32) and
//! the grid bias [h × w × channels] (i8), filled up with zeros; a convolution with one bias a channel (i32) and the quads
//! of int8 weights [channels × taps × input quads]. `FORMAT.md` has the equations.

use core::ops::Range;

use super::Decoder;
use super::schedule::Step;
use super::stage::{Arithmetic, Operation, Stage};
use crate::codebook::Codebook;
use crate::error::StageFault;
use crate::format::u32_at;
use crate::kernel::Activation;
use crate::kernel::integer::{self as kernel, CHANNELS, Kernel, MAX_COLUMNS, Quad, Sums};
use crate::places::Places;
use crate::pyramid::{MAX_LAYERS, Position};
use crate::quant::{addend, requantise};

/// Least common multiple of 1 … [`MAX_LAYERS`]: a mean of that many integer rows is an integer in steps of 1/27,720.
pub const MEAN_STEPS: i32 = 27_720;

const _: () = assert!(MAX_LAYERS == 12);

/// The largest shift of a sum before it is multiplied.
pub const MAX_SHIFT: u8 = 15;

/// Bytes of a stage's constants and weights.
pub(super) fn stage_len(stage: &Stage) -> usize {
    let channels = usize::from(stage.spec.channels);
    let rest = match stage.spec.operation {
        Operation::Input => (stage.shape.area() * channels).next_multiple_of(size_of::<Quad>()),
        _ => channels * stage.depth() * size_of::<Quad>(),
    };
    8 + 8 * channels + rest
}

/// Elements of the memory that stages work in: a tile spread out or the input's sums, and a tile's pixels outside the
/// picture.
pub(super) fn work_len(stages: &[Stage]) -> usize {
    let deepest = stages.iter().map(Stage::depth).max().unwrap_or(0);
    let sums = stages.first().map_or(0, |input| usize::from(input.spec.channels));
    kernel::work_len(deepest).max(sums) + blank_len(stages)
}

fn blank_len(stages: &[Stage]) -> usize {
    (MAX_COLUMNS + 2) * stages.iter().map(Stage::input_quads).max().unwrap_or(0)
}

/// A stage's constants and weights, read in place.
#[derive(Clone, Copy)]
struct Weights<'a> {
    zero_point: u8,
    shift: u8,
    /// Of the stage that is added.
    residual: i32,
    /// `[channels]`.
    multipliers: &'a [Quad],
    /// `[channels]`: a convolution's biases, or the multipliers of the grid bias.
    biases: &'a [Quad],
    /// Taps, or the grid bias.
    quads: &'a [Quad],
}

impl<'a> Weights<'a> {
    fn of(stage: &Stage, all: &'a [u8]) -> Self {
        let end = stage.weights_end(Arithmetic::Integer);
        let bytes = all.get(stage.weights_start..end).unwrap_or(&[]);
        let [zero_point, shift, ..] = *bytes.first_chunk::<4>().unwrap_or(&[0; 4]);
        let quads = bytes.as_chunks().0;
        let channels = usize::from(stage.spec.channels);
        let part = |start: usize, length: usize| quads.get(start..).and_then(|rest| rest.get(..length)).unwrap_or(&[]);
        Self {
            zero_point,
            shift,
            residual: u32_at(bytes, 1) as i32,
            multipliers: part(2, channels),
            biases: part(2 + channels, channels),
            quads: quads.get(2 + 2 * channels..).unwrap_or(&[]),
        }
    }

    fn multiplier(&self, channel: usize) -> i32 {
        self.multipliers.get(channel).map_or(0, |bytes| i32::from_le_bytes(*bytes))
    }

    fn bias(&self, channel: usize) -> i32 {
        self.biases.get(channel).map_or(0, |bytes| i32::from_le_bytes(*bytes))
    }

    fn scale(&self, channel: usize) -> Scale {
        Scale { bias: self.bias(channel), shift: self.shift, multiplier: self.multiplier(channel) }
    }
}

/// What the reader checks of one stage's constants.
pub(super) fn check(stage: &Stage, all: &[u8]) -> Result<(), StageFault> {
    let bytes = all.get(stage.weights_start..stage.weights_end(Arithmetic::Integer)).unwrap_or(&[]);
    let [_, _, reserved @ ..] = *bytes.first_chunk::<4>().unwrap_or(&[0; 4]);
    let weights = Weights::of(stage, all);
    if reserved != [0; 2] || (stage.spec.residual.is_none() && weights.residual != 0) {
        return Err(StageFault::Reserved);
    }
    if weights.shift > MAX_SHIFT {
        return Err(StageFault::Shift);
    }
    if stage.spec.activation == Activation::Relu && weights.zero_point != 0 {
        return Err(StageFault::ZeroPoint);
    }
    let filled_up = if stage.spec.operation == Operation::Input {
        let bias = stage.shape.area() * usize::from(stage.spec.channels);
        weights.quads.as_flattened().get(bias..).unwrap_or(&[]).iter().all(|&byte| byte == 0)
    } else {
        let used = usize::from(stage.inputs) % size_of::<Quad>();
        let last_quads = weights.quads.chunks_exact(stage.input_quads().max(1)).filter_map(|quads| quads.last());
        used == 0 || last_quads.flat_map(|quad| quad.iter().skip(used)).all(|&byte| byte == 0)
    };
    if filled_up { Ok(()) } else { Err(StageFault::Reserved) }
}

impl Decoder<'_> {
    /// Fills the padding of all rings; `rings` without the memory that stages work in.
    pub(super) fn clear_rings(&self, rings: &mut [Quad]) {
        for stage in self.stages() {
            let zero_point = Weights::of(stage, self.weights).zero_point;
            let range = stage.ring_start..stage.ring_start + usize::from(stage.ring_rows) * stage.row_len;
            rings.get_mut(range).unwrap_or(&mut []).fill([zero_point; 4]);
        }
    }

    /// Computes the rows of one step into their rings.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn compute_integer(
        &self,
        kernel: &dyn Kernel,
        step: Step,
        codebook: &Codebook<'_>,
        places: &Places<'_, '_>,
        complete: usize,
        work: &mut [u32],
        rings: &mut [Quad],
    ) {
        let Some(stage) = self.stages().get(step.stage) else { return };
        let weights = Weights::of(stage, self.weights);
        let before = step.stage.checked_sub(1).and_then(|before| self.stages().get(before));
        let Some((source, (before, own))) = before.zip(rings.split_at_mut_checked(stage.ring_start)) else {
            return input_row(stage, weights, step.row, codebook, places, complete, work, rings);
        };
        let tile = work.len().saturating_sub(blank_len(self.stages()));
        let Some((work, blank)) = work.split_at_mut_checked(tile) else { return };
        let blank: &mut [Quad] = bytemuck::try_cast_slice_mut(blank).unwrap_or(&mut []);
        let source_weights = Weights::of(source, self.weights);
        let operation = stage.spec.operation;
        let centre = step.row / operation.rows();
        let row = |row: Option<u16>| {
            row.filter(|&row| row < source.shape.height).and_then(|row| before.get(source.ring_range(row)))
        };
        let rows = [row(centre.checked_sub(1)), row(Some(centre)), row(centre.checked_add(1))];
        if operation.reach() > 0 && rows.contains(&None) {
            blank.fill([source_weights.zero_point; 4]);
        }
        let tiles = Tiles { kernel, stage, weights, rows, blank, width: usize::from(source.shape.width) };
        if operation == Operation::UpsampleConvolve3x3 {
            return tiles.upsample(step.row, work, own);
        }
        let residual = stage.spec.residual.and_then(|residual| self.stages().get(usize::from(residual)));
        let residual = residual.map(|earlier| Residual {
            row: before.get(earlier.ring_range(step.row)).unwrap_or(&[]),
            zero_point: Weights::of(earlier, self.weights).zero_point,
        });
        tiles.convolve(step.row, residual, work, own);
    }
}

/// A row of Ẑ plus the grid bias: `(Σ rows · MEAN_STEPS / n)·multiplier + bias·its multiplier`.
#[allow(clippy::too_many_arguments)]
fn input_row(
    stage: &Stage,
    weights: Weights<'_>,
    row: u16,
    codebook: &Codebook<'_>,
    places: &Places<'_, '_>,
    complete: usize,
    work: &mut [u32],
    rings: &mut [Quad],
) {
    let (width, channels) = (usize::from(stage.shape.width), usize::from(stage.spec.channels));
    let Some(out) = rings.get_mut(stage.ring_range(row)) else { return };
    let sums: &mut [i32] = bytemuck::try_cast_slice_mut(work).unwrap_or(&mut []);
    let Some(sums) = sums.get_mut(..channels) else { return };
    for (column, pixel) in (0..stage.shape.width).zip(out.chunks_exact_mut(stage.quads().max(1)).skip(1)) {
        let (count, ids) = places.words(Position { row, column }, complete);
        sums.fill(0);
        for &id in ids.iter().take(count) {
            codebook.integer_row(id).add_to(sums);
        }
        let share = MEAN_STEPS.checked_div(count as i32).unwrap_or(0);
        let at = (usize::from(row) * width + usize::from(column)) * channels;
        let biases = weights.quads.as_flattened().get(at..).unwrap_or(&[]).iter().zip(weights.biases);
        let scales = sums.iter().zip(weights.multipliers);
        for ((out, (&bias, factor)), (&sum, multiplier)) in pixel.as_flattened_mut().iter_mut().zip(biases).zip(scales)
        {
            let addend = addend(i16::from(bias as i8), i32::from_le_bytes(*factor));
            *out = requantise(sum * share, weights.shift, i32::from_le_bytes(*multiplier), addend);
        }
    }
}

/// The row of an earlier stage that is added.
#[derive(Clone, Copy)]
struct Residual<'a> {
    /// [(width + 2) × quads].
    row: &'a [Quad],
    zero_point: u8,
}

/// A stage's next rows, tile after tile.
struct Tiles<'a> {
    kernel: &'a dyn Kernel,
    stage: &'a Stage,
    weights: Weights<'a>,
    /// The source's rows above, at and below, each [(width + 2) × input quads].
    rows: [Option<&'a [Quad]>; 3],
    /// A tile's pixels outside the picture.
    blank: &'a [Quad],
    /// Columns of the source.
    width: usize,
}

impl<'a> Tiles<'a> {
    /// First column and number of columns of each tile.
    fn spans(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (width, together) = (self.width, self.kernel.columns().clamp(1, MAX_COLUMNS));
        (0..width).step_by(together).map(move |start| (start, together.min(width - start)))
    }

    /// The source's rows from padded column `start` on, `columns + 2` pixels of each.
    fn window(&self, start: usize, columns: usize) -> [&'a [Quad]; 3] {
        let quads = self.stage.input_quads();
        let length = (columns + 2) * quads;
        self.rows.map(|row| match row {
            Some(row) => row.get(start * quads..).and_then(|row| row.get(..length)).unwrap_or(&[]),
            None => self.blank.get(..length).unwrap_or(&[]),
        })
    }

    /// The weights of the output channels from `first` on, and how many channels they are.
    fn taps(&self, first: usize) -> (&'a [Quad], usize) {
        let depth = self.stage.depth();
        let channels = CHANNELS.min(usize::from(self.stage.spec.channels) - first);
        let taps = self.weights.quads.get(first * depth..).and_then(|rest| rest.get(..channels * depth));
        (taps.unwrap_or(&[]), channels)
    }

    fn channels(&self) -> usize {
        usize::from(self.stage.spec.channels)
    }

    /// A convolution's output row.
    fn convolve(&self, row: u16, residual: Option<Residual<'_>>, work: &mut [u32], own: &mut [Quad]) {
        let Some(out) = own.get_mut(self.own_range(row)) else { return };
        let (quads, stride) = (self.stage.input_quads(), self.stage.quads().max(1));
        let mut sums: Sums = Default::default();
        for (start, columns) in self.spans() {
            let rows = self.window(start, columns);
            if self.stage.spec.operation == Operation::Convolve3x3 {
                self.kernel.widen(&rows, 3 * quads, quads, columns, work);
            } else {
                let centre = rows[1].get(quads..).unwrap_or(&[]);
                self.kernel.widen(&[centre], quads, quads, columns, work);
            }
            let at = (start + 1) * stride;
            let Some(out) = out.get_mut(at..) else { return };
            let earlier = residual.map(|residual| residual.row.get(at..).unwrap_or(&[]));
            for first in (0..self.channels()).step_by(CHANNELS) {
                let (taps, channels) = self.taps(first);
                self.kernel.multiply(taps, channels, 1, work, &mut sums);
                for (channel, sums) in (first..first + channels).zip(&sums[0]) {
                    let scale = self.weights.scale(channel);
                    let pixels = out.chunks_exact_mut(stride).zip(sums).take(columns);
                    match (earlier, residual) {
                        (Some(earlier), Some(Residual { zero_point, .. })) => {
                            for ((pixel, sum), earlier) in pixels.zip(earlier.chunks_exact(stride)) {
                                let value = earlier.as_flattened().get(channel).copied().unwrap_or(zero_point);
                                let value = i16::from(value) - i16::from(zero_point);
                                put(pixel, channel, scale.apply(*sum, addend(value, self.weights.residual)));
                            }
                        }
                        _ => pixels.for_each(|(pixel, sum)| put(pixel, channel, scale.apply(*sum, 0))),
                    }
                }
            }
        }
    }

    /// An upsampling's output rows `row` and `row + 1`.
    /// `y_ab = s[1,1] + s[a',1] + s[1,b'] + s[a',b'] + bias` with a' = 2a, b' = 2b for column b of each 2 × 2 block.
    fn upsample(&self, row: u16, work: &mut [u32], own: &mut [Quad]) {
        let (quads, stride) = (self.stage.input_quads(), self.stage.quads().max(1));
        let Ok(out) = own.get_disjoint_mut([self.own_range(row), self.own_range(row + 1)]) else { return };
        let [mut upper, mut lower] = out.map(|row| row.get_mut(stride..).unwrap_or(&mut []));
        let mut sums: Sums = Default::default();
        for (start, columns) in self.spans() {
            self.kernel.differences(self.window(start, columns), quads, columns, work);
            let (Some((above, rest_above)), Some((below, rest_below))) = (
                core::mem::take(&mut upper).split_at_mut_checked(2 * columns * stride),
                core::mem::take(&mut lower).split_at_mut_checked(2 * columns * stride),
            ) else {
                return;
            };
            for first in (0..self.channels()).step_by(CHANNELS) {
                let (taps, channels) = self.taps(first);
                self.kernel.multiply(taps, channels, kernel::SEGMENTS, work, &mut sums);
                for index in 0..channels.min(CHANNELS) {
                    let channel = first + index;
                    let scale = self.weights.scale(channel);
                    let block = (2 * stride).max(1);
                    let blocks = above.chunks_exact_mut(block).zip(below.chunks_exact_mut(block));
                    for (x, (above, below)) in blocks.enumerate().take(MAX_COLUMNS) {
                        let s = |product: usize| sums[product][index][x];
                        for (row, a) in [(above, 0), (below, 6)] {
                            let shared = s(4).wrapping_add(s(a + 1));
                            let Some((left, right)) = row.split_at_mut_checked(stride) else { return };
                            for (pixel, b) in [(left, 0), (right, 2)] {
                                let sum = shared.wrapping_add(s(3 + b)).wrapping_add(s(a + b));
                                put(pixel, channel, scale.apply(sum, 0));
                            }
                        }
                    }
                }
            }
            (upper, lower) = (rest_above, rest_below);
        }
    }

    /// Where output row `row` stands among the rings from the stage's own on.
    fn own_range(&self, row: u16) -> Range<usize> {
        let range = self.stage.ring_range(row);
        let start = range.start.saturating_sub(self.stage.ring_start);
        start..start + range.len()
    }
}

/// How a channel's sums become activations.
#[derive(Clone, Copy)]
struct Scale {
    bias: i32,
    shift: u8,
    multiplier: i32,
}

impl Scale {
    #[inline(always)]
    fn apply(self, sum: i32, addend: i64) -> u8 {
        requantise(sum.wrapping_add(self.bias), self.shift, self.multiplier, addend)
    }
}

/// Writes one channel of a pixel.
#[inline(always)]
fn put(pixel: &mut [Quad], channel: usize, value: u8) {
    if let Some(place) = pixel.as_flattened_mut().get_mut(channel) {
        *place = value;
    }
}
