//! The convolutions that torchvision's networks are made of, each followed by a ReLU.

use anyhow::Result;
use candle_core::Tensor;

use super::Frozen;
use crate::ops;

/// ε of Inception's batch norms.
const NORM_EPSILON: f64 = 1e-3;

/// A convolution and a ReLU.
#[derive(Debug)]
pub(super) struct ConvRelu {
    /// [out, in, k, k]; of a kernel that is a line, [out, taps × in, 1, 1].
    weight: Tensor,
    bias: Tensor,
    stride: usize,
    padding: usize,
    line: Option<Line>,
}

/// A kernel of `taps` cells along dimension `dimension` of an input [B, C, height, width]; sides are kept.
#[derive(Clone, Copy, Debug)]
struct Line {
    dimension: usize,
    taps: usize,
}

impl ConvRelu {
    /// `name.weight` [out, in, k, k] and `name.bias`.
    pub(super) fn take(
        weights: &mut Frozen,
        name: &str,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        (stride, padding): (usize, usize),
    ) -> Result<Self> {
        let weight = weights.take_shaped(&format!("{name}.weight"), &[outputs, inputs, kernel, kernel])?;
        let bias = weights.take_shaped(&format!("{name}.bias"), &[outputs])?;
        Ok(Self { weight, bias, stride, padding, line: None })
    }

    /// `name.conv.weight` [out, in, rows, columns] with the batch norm `name.bn` folded in. Kernels are square, or a line
    /// that keeps the sides.
    pub(super) fn take_normed(
        weights: &mut Frozen,
        name: &str,
        [inputs, outputs]: [usize; 2],
        [rows, columns]: [usize; 2],
        (stride, padding): (usize, usize),
    ) -> Result<Self> {
        let weight = weights.take_shaped(&format!("{name}.conv.weight"), &[outputs, inputs, rows, columns])?;
        let mut norm = |what: &str| weights.take_shaped(&format!("{name}.bn.{what}"), &[outputs]);
        let (scale, shift, mean, variance) =
            (norm("weight")?, norm("bias")?, norm("running_mean")?, norm("running_var")?);
        let scale = (scale / (variance + NORM_EPSILON)?.sqrt()?)?;
        let weight = weight.broadcast_mul(&scale.reshape((outputs, 1, 1, 1))?)?;
        let bias = (shift - (mean * scale)?)?;
        if rows == columns {
            return Ok(Self { weight, bias, stride, padding, line: None });
        }
        let line = Line { dimension: if rows > 1 { 2 } else { 3 }, taps: rows.max(columns) };
        let weight = weight.reshape((outputs, inputs, line.taps))?.transpose(1, 2)?.contiguous()?;
        let weight = weight.reshape((outputs, line.taps * inputs, 1, 1))?;
        Ok(Self { weight, bias, stride: 1, padding: 0, line: Some(line) })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let shifted;
        let x = match self.line {
            None => x,
            Some(Line { dimension, taps }) => {
                let padded = x.pad_with_zeros(dimension, taps / 2, taps / 2)?;
                let parts = (0..taps).map(|tap| padded.narrow(dimension, tap, x.dim(dimension)?));
                shifted = Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, 1)?;
                &shifted
            }
        };
        Ok(ops::relu(&ops::conv2d(x, &self.weight, Some(&self.bias), self.stride, self.padding)?)?)
    }
}
