//! The decoder's sections as they are written: its stages and their weights.

use super::NO_RESIDUAL;
use super::stage::{Arithmetic, Operation, StageSpec};
use crate::format::Emitter;
use crate::kernel::integer::Quad;
use crate::quant;

/// The weights to be written, and with them the arithmetic.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'w> {
    /// In the order that `FORMAT.md` states, rounded to binary16 as they are written.
    F16(&'w [f32]),
    /// One a stage.
    Int8(&'w [IntegerStage<'w>]),
}

impl Weights<'_> {
    /// What a decoder with these weights computes in.
    pub const fn arithmetic(&self) -> Arithmetic {
        match self {
            Self::F16(_) => Arithmetic::Float,
            Self::Int8(_) => Arithmetic::Integer,
        }
    }
}

/// An integer stage's constants and weights. An activation is `requantise(sum + bias, shift, multiplier, …)` of
/// [`quant`]: what its real value's steps are, and where 0 lies among them, is in those numbers.
#[derive(Clone, Copy, Debug)]
pub struct IntegerStage<'w> {
    /// The activation that stands for 0.
    pub zero_point: u8,
    /// Bits that sums move up before they are multiplied, at most [`MAX_SHIFT`](super::MAX_SHIFT).
    pub shift: u8,
    /// The multiplier of the stage that is added; 0 if none is.
    pub residual: i32,
    /// One a channel.
    pub multipliers: &'w [i32],
    /// One a channel: what a convolution's sum starts from, or the multipliers of the input's grid bias.
    pub biases: &'w [i32],
    /// The input's grid bias [h × w × channels], or taps [channels × taps × input channels].
    pub weights: &'w [i8],
}

/// Writes the decoder's section.
pub(crate) fn emit(arithmetic: Arithmetic, specs: &[StageSpec], out: &mut Emitter<'_>) {
    out.u16(specs.len() as u16);
    out.u16(match arithmetic {
        Arithmetic::Float => 0,
        Arithmetic::Integer => 1,
    });
    for spec in specs {
        out.u8(spec.operation as u8);
        out.u8(spec.activation as u8);
        out.u8(spec.residual.unwrap_or(NO_RESIDUAL));
        out.u8(0);
        out.u16(spec.channels);
    }
}

/// Writes the weights' section.
pub(crate) fn emit_weights(specs: &[StageSpec], weights: Weights<'_>, out: &mut Emitter<'_>) {
    match weights {
        Weights::F16(weights) => {
            for &weight in weights {
                out.bytes(&quant::to_f16_le(weight));
            }
        }
        Weights::Int8(stages) => {
            let mut inputs = 0;
            for (spec, stage) in specs.iter().zip(stages) {
                emit_stage(spec, inputs, stage, out);
                inputs = usize::from(spec.channels);
            }
        }
    }
}

fn emit_stage(spec: &StageSpec, inputs: usize, stage: &IntegerStage<'_>, out: &mut Emitter<'_>) {
    out.bytes(&[stage.zero_point, stage.shift, 0, 0]);
    out.u32(stage.residual as u32);
    for &number in stage.multipliers.iter().chain(stage.biases) {
        out.u32(number as u32);
    }
    // The input's bias is one run; taps are runs of input channels. Each is filled up to whole quads.
    let run = if spec.operation == Operation::Input { stage.weights.len() } else { inputs };
    for weights in stage.weights.chunks(run.max(1)) {
        for &weight in weights {
            out.u8(weight as u8);
        }
        for _ in weights.len()..weights.len().next_multiple_of(size_of::<Quad>()) {
            out.u8(0);
        }
    }
}
