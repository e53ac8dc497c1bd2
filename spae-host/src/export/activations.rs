//! How large a decoder's activations get, and the 8-bit steps that cost least.

use anyhow::Result;
use rayon::prelude::*;
use spae_core::canvas::Canvas;
use spae_core::decoder::Values;
use spae_core::kernel::Activation;
use spae_core::model::Model;

use crate::drawing;
use crate::tokenizer::Tokens;

/// Bins of a histogram on either side of 0.
const BINS: usize = 4096;

/// Activations of one stage: how often each magnitude came up.
#[derive(Clone, Debug)]
pub(super) struct Activations {
    /// The largest magnitude.
    largest: f32,
    /// Counts of values from −`largest` to `largest`.
    counts: Vec<u64>,
}

/// 8-bit activations: `value = (q − zero_point)·step`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Steps {
    pub step: f64,
    pub zero_point: u8,
}

/// The activations of every stage of the float decoder of `model`, over the pictures of `encodings` from every prefix of
/// whole layers.
pub(super) fn observe(model: &Model<'_>, encodings: &[Tokens]) -> Result<Vec<Activations>> {
    let stages = model.decoder().stages().len();
    let largest = over_pictures(model, encodings, vec![0.0f32; stages], &|largest, stage, value| {
        largest[stage] = largest[stage].max(value.abs());
    })?;
    let largest = largest.into_iter().reduce(|a, b| a.iter().zip(&b).map(|(a, b)| a.max(*b)).collect());
    let largest = largest.unwrap_or_else(|| vec![0.0; stages]);
    let empty = vec![vec![0u64; 2 * BINS]; stages];
    let counts = over_pictures(model, encodings, empty.clone(), &|counts, stage, value| {
        let share = if largest[stage] > 0.0 { value / largest[stage] } else { 0.0 };
        let bin = ((share + 1.0) * BINS as f32) as usize;
        counts[stage][bin.min(2 * BINS - 1)] += 1;
    })?;
    let counts = counts.into_iter().fold(empty, |mut total, counts| {
        let pairs = total.iter_mut().flatten().zip(counts.iter().flatten());
        pairs.for_each(|(total, count)| *total += count);
        total
    });
    Ok(largest.into_iter().zip(counts).map(|(largest, counts)| Activations { largest, counts }).collect())
}

/// Runs `note` over all values that the stages take, starting from a copy of `start` for each picture.
fn over_pictures<T: Clone + Send + Sync>(
    model: &Model<'_>,
    encodings: &[Tokens],
    start: T,
    note: &(impl Fn(&mut T, usize, f32) + Sync),
) -> Result<Vec<T>> {
    let one = |tokens: &Tokens| {
        drawing::check_ids(model, tokens)?;
        let mut noted = start.clone();
        let mut scratch = vec![0; model.scratch_len()];
        let mut canvas = Canvas::new(model, &mut scratch)?;
        for (layer, ids) in tokens.iter().enumerate() {
            drawing::place(&mut canvas, layer, ids);
            let observe = |stage: usize, _, values: Values<'_>| {
                // Padding is 0 and changes neither the largest magnitude nor, much, the best steps.
                if let Values::Float(values) = values {
                    values.iter().for_each(|&value| note(&mut noted, stage, value));
                }
            };
            canvas.rows_observed(observe, |_, _| ());
        }
        Ok(noted)
    };
    encodings.par_iter().map(one).collect()
}

impl Activations {
    /// The steps with the least squared error. Behind a ReLU all 256 are at and above 0.
    pub(super) fn steps(&self, activation: Activation) -> Steps {
        /// Shares of the largest magnitude at which values are cut off.
        const SHARES: std::ops::RangeInclusive<u32> = 16..=64;
        let (highest, lowest) = self.range();
        let steps = SHARES.rev().map(|share| {
            let share = f64::from(share) / 64.0;
            let (highest, lowest) = match activation {
                Activation::Relu => (highest.max(0.0) * share, 0.0),
                Activation::Identity => (highest.max(0.0) * share, lowest.min(0.0) * share),
            };
            let step = ((highest - lowest) / 255.0).max(f64::MIN_POSITIVE.sqrt());
            Steps { step, zero_point: (-lowest / step).round() as u8 }
        });
        let error = |steps: &Steps| self.error(*steps);
        steps.min_by(|a, b| error(a).total_cmp(&error(b))).unwrap_or(Steps { step: 1.0, zero_point: 0 })
    }

    /// The highest and the lowest value met.
    fn range(&self) -> (f64, f64) {
        let met = |bin: &usize| self.counts[*bin] > 0;
        let highest = (0..2 * BINS).rev().find(met).map_or(0.0, |bin| self.value(bin + 1));
        let lowest = (0..2 * BINS).find(met).map_or(0.0, |bin| self.value(bin));
        (highest, lowest)
    }

    /// Where bin `bin` starts.
    fn value(&self, bin: usize) -> f64 {
        (bin as f64 / BINS as f64 - 1.0) * f64::from(self.largest)
    }

    fn error(&self, steps: Steps) -> f64 {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let errors = counted.map(|(bin, &count)| {
            // Within a bin values are taken to be even, rounding's own error apart from it.
            let value = self.value(bin) + f64::from(self.largest) / (2.0 * BINS as f64);
            let quantised = (value / steps.step + f64::from(steps.zero_point)).clamp(0.0, 255.0);
            let cut = (quantised - f64::from(steps.zero_point)) * steps.step - value;
            count as f64 * (cut * cut + steps.step * steps.step / 12.0)
        });
        errors.sum()
    }
}
