//! A model file in f32 arithmetic to one in integers: int8 weights with one scale a channel, 8-bit activations whose
//! steps are measured.

use anyhow::{Result, anyhow, ensure};
use spae_core::codebook::{RowEncoding, Rows};
use spae_core::decoder::{Arithmetic, IntegerStage, MAX_SHIFT, MEAN_STEPS, Operation, Stage, StageSpec, Weights};
use spae_core::model::{Model, Parts};
use spae_core::quant::{INT8_LIMIT, f16_le};

use super::activations::{self, Steps};
use super::{emit, rows};
use crate::tokenizer::Tokens;

/// The integer form of `model`, whose activations are measured on the pictures of `encodings`.
///
/// # Errors
/// If `model` computes in integers already, its rows are not int8, there is nothing to measure on, or ids are not its own.
pub fn quantise(model: &Model<'_>, encodings: &[Tokens]) -> Result<Vec<u8>> {
    let (decoder, codebook) = (model.decoder(), model.codebook());
    ensure!(decoder.arithmetic() == Arithmetic::Float, "the model computes in integers already");
    ensure!(codebook.encoding() != RowEncoding::F16, "integers need codebook rows in int8 or int4: see --rows");
    ensure!(!encodings.is_empty(), "integers need pictures to measure activations on: give --data");
    let activations = activations::observe(model, encodings)?;
    let mut stages: Vec<Quantised> = Vec::new();
    let mut steps: Vec<Steps> = Vec::new();
    for (index, (stage, activations)) in decoder.stages().iter().zip(&activations).enumerate() {
        let weights: Vec<f32> = decoder.stage_weights(index).iter().map(|&weight| f16_le(weight)).collect();
        let is_last = index + 1 == decoder.stages().len();
        let own = if is_last { Steps::PIXELS } else { activations.steps(stage.spec.activation) };
        let residual = stage.spec.residual.map(|residual| steps[usize::from(residual)]);
        stages.push(match steps.last() {
            None => input(stage, &weights, |column| codebook.scale(column), own),
            Some(source) => convolution(stage, &weights, *source, residual, own),
        });
        steps.push(own);
    }
    let words: Vec<String> = model.lexicon().words().map(|word| word.as_str().to_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let scales: Vec<f32> = (0..codebook.width()).map(|column| codebook.scale(column)).collect();
    let row = |id| (0..codebook.width()).map(move |column| codebook.integer_row(id).element(column));
    let values: Vec<i8> = (0..codebook.row_count()).flat_map(row).collect();
    let specs: Vec<StageSpec> = decoder.stages().iter().map(|stage| stage.spec).collect();
    let stages: Vec<IntegerStage<'_>> = stages.iter().map(Quantised::stage).collect();
    let parts = Parts {
        pyramid: *model.pyramid(),
        words: &words,
        rows: match codebook.encoding() {
            RowEncoding::Int4 => Rows::Int4 { scales: &scales, values: &values },
            _ => Rows::Int8 { scales: &scales, values: &values },
        },
        stages: &specs,
        weights: Weights::Int8(&stages),
        provenance: model.provenance(),
    };
    emit(&parts).map_err(|error| anyhow!("{error}"))
}

impl Steps {
    /// The decoder's output as pixels: `⌊127.5·(v + 1) + ½⌋`. The zero point, 127.5, is no integer; see [`Self::offset`].
    const PIXELS: Self = Self { step: 1.0 / 127.5, zero_point: 128 };

    /// What is added to `v / step`.
    fn offset(self) -> f64 {
        if self == Self::PIXELS { 127.5 } else { f64::from(self.zero_point) }
    }
}

/// An integer stage that owns its numbers.
#[derive(Debug)]
struct Quantised {
    zero_point: u8,
    shift: u8,
    residual: i32,
    multipliers: Vec<i32>,
    biases: Vec<i32>,
    weights: Vec<i8>,
}

impl Quantised {
    fn stage(&self) -> IntegerStage<'_> {
        IntegerStage {
            zero_point: self.zero_point,
            shift: self.shift,
            residual: self.residual,
            multipliers: &self.multipliers,
            biases: &self.biases,
            weights: &self.weights,
        }
    }
}

/// Multipliers of `ratios`, what one step of each channel's sum is of one step of its activation, and the shift that they
/// need: the smallest with which all fit.
fn multipliers(ratios: &[f64]) -> (u8, Vec<i32>) {
    let largest = ratios.iter().fold(0.0, |largest: f64, &ratio| largest.max(ratio));
    let fits = |shift: &u8| largest * 2f64.powi(32 - i32::from(*shift)) < f64::from(i32::MAX);
    let shift = (0..=MAX_SHIFT).find(fits).unwrap_or(MAX_SHIFT);
    let multiplier = |ratio: &f64| (ratio * 2f64.powi(32 - i32::from(shift))).round() as i32;
    (shift, ratios.iter().map(multiplier).collect())
}

/// The multiplier of an addend whose step is `ratio` of an activation's.
fn addend_multiplier(ratio: f64) -> i32 {
    (ratio * 65_536.0).round() as i32
}

/// The input. `bias` [h × w × channels]; `scale` of a codebook column.
fn input(stage: &Stage, bias: &[f32], scale: impl Fn(usize) -> f32, own: Steps) -> Quantised {
    let channels = usize::from(stage.spec.channels);
    // What the zero point adds is part of the bias.
    let bias: Vec<f32> = bias.iter().map(|&bias| (f64::from(bias) + own.offset() * own.step) as f32).collect();
    let bias = rows::integers(&bias, channels, INT8_LIMIT);
    let ratios: Vec<f64> =
        (0..channels).map(|column| f64::from(scale(column)) / f64::from(MEAN_STEPS) / own.step).collect();
    let (shift, multipliers) = multipliers(&ratios);
    let biases = bias.scales.iter().map(|&scale| addend_multiplier(f64::from(scale) / own.step)).collect();
    Quantised { zero_point: own.zero_point, shift, residual: 0, multipliers, biases, weights: bias.values }
}

/// A convolution. `weights`: biases, then taps in the order of binary16 files.
fn convolution(stage: &Stage, weights: &[f32], source: Steps, residual: Option<Steps>, own: Steps) -> Quantised {
    let (outputs, inputs) = (usize::from(stage.spec.channels), usize::from(stage.inputs));
    let (real_biases, stored) = weights.split_at(outputs);
    let count = stored.len() / outputs / inputs;
    let upsamples = stage.spec.operation == Operation::UpsampleConvolve3x3;
    // [outputs × taps × inputs]
    let mut taps = Vec::with_capacity(stored.len());
    for output in 0..outputs {
        for tap in 0..count {
            taps.extend((0..inputs).map(|input| {
                let at = if upsamples { input * outputs + output } else { output * inputs + input };
                stored[at * count + tap]
            }));
        }
    }
    let (mut ratios, mut biases, mut quantised) = (Vec::new(), Vec::new(), Vec::new());
    for (taps, &bias) in taps.chunks_exact(count * inputs).zip(real_biases) {
        let channel = rows::integers(taps, 1, INT8_LIMIT);
        let scale = f64::from(channel.scales[0]).max(f64::MIN_POSITIVE.sqrt());
        // A source's zero point is subtracted once and for all. In the difference form it stands in the centre alone.
        let all: i64 = if upsamples {
            channel.values[4 * inputs..5 * inputs].iter().map(|&tap| i64::from(tap)).sum()
        } else {
            channel.values.iter().map(|&tap| i64::from(tap)).sum()
        };
        let sum_step = source.step * scale;
        let offset = own.offset() * own.step / sum_step;
        let bias = f64::from(bias) / sum_step + offset - f64::from(source.zero_point) * all as f64;
        biases.push(bias.round().clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i32);
        ratios.push(sum_step / own.step);
        quantised.extend(channel.values);
    }
    let (shift, multipliers) = multipliers(&ratios);
    let residual = residual.map_or(0, |earlier| addend_multiplier(earlier.step / own.step));
    debug_assert!(quantised.iter().all(|&tap| f32::from(tap).abs() <= INT8_LIMIT));
    Quantised { zero_point: own.zero_point, shift, residual, multipliers, biases, weights: quantised }
}
