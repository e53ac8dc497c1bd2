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
use crate::kernel::integer::{self as kernel, Added, CHANNELS, Kernel, MAX_COLUMNS, Quad, Scale, Sums};
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
        let mut sums: Sums = Default::default();
        if operation == Operation::UpsampleConvolve3x3 {
            return tiles.upsample(step.row, work, &mut sums, own);
        }
        let residual = stage.spec.residual.and_then(|residual| self.stages().get(usize::from(residual)));
        let added = residual.map(|earlier| Added {
            activations: before.get(earlier.ring_range(step.row)).unwrap_or(&[]).as_flattened(),
            zero_point: Weights::of(earlier, self.weights).zero_point,
            multiplier: weights.residual,
        });
        tiles.convolve(step.row, added, work, &mut sums, own);
    }
}

/// A row of Ẑ plus the grid bias: `(Σ rows · MEAN_STEPS / n)·multiplier + bias·its multiplier`.
#[allow(clippy::too_many_arguments)]
#[inline(never)]
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
    let mut ids = [0; MAX_LAYERS];
    for (column, pixel) in (0..stage.shape.width).zip(out.chunks_exact_mut(stage.quads().max(1)).skip(1)) {
        let count = places.words(Position { row, column }, complete, &mut ids);
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

    /// Output channels that are summed together: calls `visit` with the first one's number, their weights, how they are
    /// rounded.
    #[inline(always)]
    fn for_channels(&self, mut visit: impl FnMut(usize, &[Quad], &[Scale])) {
        let Weights { shift, multipliers, biases, quads, .. } = self.weights;
        let scale = |multiplier: Quad, bias: Quad| Scale {
            bias: i32::from_le_bytes(bias),
            shift,
            multiplier: i32::from_le_bytes(multiplier),
        };
        let (multipliers, last_multiplier) = multipliers.as_chunks::<CHANNELS>();
        let (biases, last_bias) = biases.as_chunks::<CHANNELS>();
        let taps = quads.chunks_exact((CHANNELS * self.stage.depth()).max(1));
        let last_taps = taps.remainder();
        for (index, ((&[m, n], &[b, c]), taps)) in multipliers.iter().zip(biases).zip(taps).enumerate() {
            visit(CHANNELS * index, taps, &[scale(m, b), scale(n, c)]);
        }
        if let (&[multiplier], &[bias]) = (last_multiplier, last_bias) {
            visit(CHANNELS * multipliers.len(), last_taps, &[scale(multiplier, bias)]);
        }
    }

    /// Bytes from one output pixel to the next.
    fn pitch(&self) -> usize {
        self.stage.quads() * size_of::<Quad>()
    }

    /// A convolution's output row, with the row of an earlier stage that is added.
    fn convolve(&self, row: u16, added: Option<Added<'_>>, work: &mut [u32], sums: &mut Sums, own: &mut [Quad]) {
        let Some(out) = own.get_mut(self.own_range(row)).map(<[Quad]>::as_flattened_mut) else { return };
        let (quads, pitch) = (self.stage.input_quads(), self.pitch());
        for (start, columns) in self.spans() {
            let rows = self.window(start, columns);
            if self.stage.spec.operation == Operation::Convolve3x3 {
                self.kernel.widen(&rows, 3 * quads, quads, columns, work);
            } else {
                let centre = rows[1].get(quads..).unwrap_or(&[]);
                self.kernel.widen(&[centre], quads, quads, columns, work);
            }
            self.for_channels(|first, taps, scales| {
                self.kernel.multiply(taps, scales.len(), 1, work, sums);
                let at = (start + 1) * pitch + first;
                let added =
                    added.map(|added| Added { activations: added.activations.get(at..).unwrap_or(&[]), ..added });
                let out = out.get_mut(at..).unwrap_or(&mut []);
                self.kernel.round(&sums[0], scales, added, columns, pitch, out);
            });
        }
    }

    /// An upsampling's output rows `row` and `row + 1`.
    fn upsample(&self, row: u16, work: &mut [u32], sums: &mut Sums, own: &mut [Quad]) {
        let (quads, pitch) = (self.stage.input_quads(), self.pitch());
        let Ok(out) = own.get_disjoint_mut([self.own_range(row), self.own_range(row + 1)]) else { return };
        let [upper, lower] = out.map(<[Quad]>::as_flattened_mut);
        for (start, columns) in self.spans() {
            self.kernel.differences(self.window(start, columns), quads, columns, work);
            self.for_channels(|first, taps, scales| {
                self.kernel.multiply(taps, scales.len(), kernel::SEGMENTS, work, sums);
                let at = (2 * start + 1) * pitch + first;
                let rows = [upper.get_mut(at..).unwrap_or(&mut []), lower.get_mut(at..).unwrap_or(&mut [])];
                self.kernel.round_blocks(sums, scales, columns, pitch, rows);
            });
        }
    }

    /// Where output row `row` stands among the rings from the stage's own on.
    fn own_range(&self, row: u16) -> Range<usize> {
        let range = self.stage.ring_range(row);
        let start = range.start.saturating_sub(self.stage.ring_start);
        start..start + range.len()
    }
}
