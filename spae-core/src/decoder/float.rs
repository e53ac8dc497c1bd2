//! The decoder at work in f32: one step of the schedule after the other, over [`kernel`]'s arithmetic.

use super::Decoder;
use super::schedule::Step;
use super::stage::{Operation, Stage};
use crate::kernel::UPSAMPLE_PRODUCTS;
use crate::kernel::float::{
    self as kernel, LANES, Lanes, Products, UPSAMPLE_CHANNELS, UPSAMPLE_INPUTS, Weight, Window,
};
use crate::pyramid::Position;
use crate::saq::RunningAverage;

/// Output channels of a convolution that are computed together: as many as keep their sums in registers, 16 on a
/// Cortex-M4F.
const CHANNELS: usize = if cfg!(target_pointer_width = "64") { 8 } else { 2 };

/// The weights of a convolution.
#[derive(Clone, Copy)]
struct Weights<'a, W> {
    /// [outputs].
    biases: &'a [W],
    /// Their order is the operation's.
    taps: &'a [W],
}

impl<W: Weight> Weights<'_, W> {
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn bias(&self, channel: usize) -> f32 {
        self.biases.get(channel).map_or(0.0, |bias| bias.value())
    }
}

impl Decoder<'_> {
    /// Computes the rows of one step into their rings.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub(super) fn compute_float<W: Weight>(
        &self,
        all_weights: &[W],
        step: Step,
        average: &RunningAverage<'_, '_>,
        complete: usize,
        work: &mut [f32],
        rings: &mut [f32],
    ) {
        let Some(stage) = self.stages().get(step.stage) else { return };
        let before = step.stage.checked_sub(1).and_then(|before| self.stages().get(before));
        let Some((source, (before, own))) = before.zip(rings.split_at_mut_checked(stage.ring_start)) else {
            return input_row(stage, stage.weights(all_weights), step.row, average, complete, rings);
        };
        let operation = stage.spec.operation;
        let window = window(source, step.row / operation.rows(), before);
        let weights = stage.weights(all_weights).split_at_checked(usize::from(stage.spec.channels));
        let Some((biases, taps)) = weights else { return };
        let weights = Weights { biases, taps };
        if operation == Operation::UpsampleConvolve3x3 {
            return upsample_rows(stage, step.row, weights, &window, work, own);
        }
        let residual = stage.spec.residual.and_then(|residual| self.stages().get(usize::from(residual)));
        let residual = residual.and_then(|earlier| before.get(earlier.ring_range(step.row))).unwrap_or(&[]);
        let Some(out) = ring_row(stage, step.row, own) else { return };
        convolve_row(stage, weights, &window, residual, out);
    }
}

/// A row of Ẑ plus the grid bias, activated. `biases`: [h × w × channels].
fn input_row<W: Weight>(
    stage: &Stage,
    biases: &[W],
    row: u16,
    average: &RunningAverage<'_, '_>,
    complete: usize,
    rings: &mut [f32],
) {
    let (width, channels) = (usize::from(stage.shape.width), usize::from(stage.spec.channels));
    let Some(out) = rings.get_mut(stage.ring_range(row)) else { return };
    for column in 0..stage.shape.width {
        let at = usize::from(row) * width + usize::from(column);
        let value = average.value(Position { row, column }, complete).unwrap_or(&[]);
        let biases = biases.get(at * channels..).unwrap_or(&[]);
        for (channel, (out, bias)) in out.chunks_exact_mut(stage.stride().max(1)).zip(biases).enumerate() {
            if let Some(out) = out.get_mut(usize::from(column) + 1) {
                *out = value.get(channel).copied().unwrap_or(0.0) + bias.value();
            }
        }
    }
    for out in out.chunks_exact_mut(stage.stride().max(1)) {
        stage.spec.activation.apply(interior_mut(out));
    }
}

/// The three rows of `source` around its row `row`. `rings`: those up to `source`'s at least.
#[inline]
fn window<'r>(source: &Stage, row: u16, rings: &'r [f32]) -> Window<'r> {
    let get = |row: Option<u16>| match row {
        Some(row) if row < source.shape.height => rings.get(source.ring_range(row)).unwrap_or(&[]),
        _ => &[],
    };
    let rows = [get(row.checked_sub(1)), get(Some(row)), get(row.checked_add(1))];
    Window { rows, width: usize::from(source.shape.width) }
}

/// Row `row` of `stage`, [channels × (width + 2)]. `own`: the rings from `stage`'s on.
#[inline]
fn ring_row<'r>(stage: &Stage, row: u16, own: &'r mut [f32]) -> Option<&'r mut [f32]> {
    let range = stage.ring_range(row);
    own.get_mut(range.start.checked_sub(stage.ring_start)?..)?.get_mut(..range.len())
}

/// A convolution's output row. `residual`: the earlier stage's row or nothing; both [channels × (width + 2)].
#[cfg_attr(target_pointer_width = "64", inline(always))]
fn convolve_row<W: Weight>(
    stage: &Stage,
    weights: Weights<'_, W>,
    window: &Window<'_>,
    residual: &[f32],
    out: &mut [f32],
) {
    let (channels, stride) = (usize::from(stage.spec.channels), stage.stride());
    let mut first = 0;
    while first < channels {
        let together = if channels - first >= CHANNELS { CHANNELS } else { 1 };
        let part = first * stride..(first + together) * stride;
        let (Some(out), residual) = (out.get_mut(part.clone()), residual.get(part).unwrap_or(&[])) else { return };
        if together == CHANNELS {
            convolve_channels::<W, CHANNELS>(stage, weights, first, window, residual, out);
        } else {
            convolve_channels::<W, 1>(stage, weights, first, window, residual, out);
        }
        first += together;
    }
}

/// The `N` output channels from `first` on; `residual` and `out` [N × (width + 2)].
#[cfg_attr(target_pointer_width = "64", inline(always))]
fn convolve_channels<W: Weight, const N: usize>(
    stage: &Stage,
    weights: Weights<'_, W>,
    first: usize,
    window: &Window<'_>,
    residual: &[f32],
    out: &mut [f32],
) {
    let operation = stage.spec.operation;
    let taps_len = usize::from(stage.inputs) * operation.taps();
    let mut taps: [&[W]; N] = [&[]; N];
    let rest = weights.taps.get(first * taps_len..).unwrap_or(&[]);
    for (taps, stored) in taps.iter_mut().zip(rest.chunks_exact(taps_len.max(1))) {
        *taps = stored;
    }
    let biases: [f32; N] = core::array::from_fn(|channel| weights.bias(first + channel));
    for start in (0..window.width).step_by(LANES) {
        let mut sums: [Lanes; N] = biases.map(|bias| [bias; LANES]);
        match operation {
            Operation::Convolve1x1 => kernel::convolve_1x1(taps, window, start, &mut sums),
            _ => kernel::convolve_3x3(taps, window, start, &mut sums),
        }
        let mut residual = residual.chunks_exact(stage.stride().max(1));
        for (out, sums) in out.chunks_exact_mut(stage.stride().max(1)).zip(&mut sums) {
            if let Some(residual) = residual.next() {
                let earlier = interior(residual).get(start..).unwrap_or(&[]);
                sums.iter_mut().zip(earlier).for_each(|(sum, earlier)| *sum += earlier);
            }
            stage.spec.activation.apply(sums);
            let out = interior_mut(out).get_mut(start..).unwrap_or(&mut []);
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum);
        }
    }
}

/// An upsampling's output rows `row` and `row + 1`. `work`: [`kernel::UPSAMPLE_WORK`]; `own`: the rings from `stage`'s
/// on.
#[cfg_attr(target_pointer_width = "64", inline(always))]
fn upsample_rows<W: Weight>(
    stage: &Stage,
    row: u16,
    weights: Weights<'_, W>,
    window: &Window<'_>,
    work: &mut [f32],
    own: &mut [f32],
) {
    let channels = usize::from(stage.spec.channels);
    let work = work.as_chunks_mut::<LANES>().0.as_chunks_mut::<UPSAMPLE_PRODUCTS>().0;
    let Some((differences, sums)) = work.split_first_chunk_mut() else { return };
    for first in (0..channels).step_by(UPSAMPLE_CHANNELS) {
        let Some(sums) = sums.get_mut(..UPSAMPLE_CHANNELS.min(channels - first)) else { return };
        for start in (0..window.width).step_by(LANES) {
            upsample_block(weights.taps, channels, first, start, window, differences, sums);
            for (channel, sums) in (first..).zip(&*sums) {
                for a in 0..2 {
                    // The pair may wrap around the ring, so each row is found on its own.
                    let out = ring_row(stage, row + a, own).unwrap_or(&mut []);
                    let out = out.chunks_exact_mut(stage.stride().max(1)).nth(channel).unwrap_or(&mut []);
                    let out = interior_mut(out).get_mut(2 * start..).unwrap_or(&mut []);
                    let length = out.len().min(2 * LANES);
                    let out = out.get_mut(..length).unwrap_or(&mut []);
                    let (bias, activation) = (weights.bias(channel), stage.spec.activation);
                    kernel::upsample_combine(sums, bias, activation, usize::from(a), out);
                }
            }
        }
    }
}

/// The sums of the output channels from `first` on, as many as `sums` holds, at the columns from `start` on. `taps`:
/// [inputs × channels × 9].
#[cfg_attr(target_pointer_width = "64", inline(always))]
fn upsample_block<W: Weight>(
    taps: &[W],
    channels: usize,
    first: usize,
    start: usize,
    window: &Window<'_>,
    differences: &mut [Products; UPSAMPLE_INPUTS],
    sums: &mut [Products],
) {
    sums.fill([[0.0; LANES]; UPSAMPLE_PRODUCTS]);
    let mut taps = taps
        .chunks_exact((UPSAMPLE_PRODUCTS * channels).max(1))
        .map(|taps| taps.get(UPSAMPLE_PRODUCTS * first..).unwrap_or(&[]));
    let mut channel = 0;
    while let Some(of_one) = taps.next() {
        let [one, other] = &mut *differences;
        kernel::upsample_differences(window, channel, start, one);
        if let Some(of_other) = taps.next() {
            kernel::upsample_differences(window, channel + 1, start, other);
            kernel::upsample_accumulate([of_one, of_other], differences, sums);
        } else {
            kernel::upsample_accumulate([of_one], core::array::from_ref(one), sums);
        }
        channel += UPSAMPLE_INPUTS;
    }
}

/// A padded row without its padding.
#[inline]
fn interior(row: &[f32]) -> &[f32] {
    if let [_, interior @ .., _] = row { interior } else { &[] }
}

/// As [`interior`], to write.
#[inline]
fn interior_mut(row: &mut [f32]) -> &mut [f32] {
    if let [_, interior @ .., _] = row { interior } else { &mut [] }
}
