//! What candle's autograd needs around an operation that is linear in its input and in its weight, with a bias for each
//! output channel: from tensors to slices and back, gradients of those operands only that are part of a graph.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::partials::sum_partials;
use super::simd::lane_sum;
use super::storage::{slice, tensor, with_slice};

/// Such an operation, of fixed sizes; its result is [N, outputs, height, width]. All three run on a thread of rayon's, so
/// that what they share out needs no waking of one that is not.
pub(super) trait Linear: Send + Sync {
    const NAME: &'static str;

    fn output_shape(&self) -> Shape;

    fn forward(&self, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32>;

    fn input_gradient(&self, weight: &[f32], grad: &[f32]) -> Vec<f32>;

    fn weight_gradient(&self, input: &[f32], grad: &[f32]) -> Vec<f32>;
}

/// The operation on f32 tensors on the CPU, differentiable in all of them.
pub(super) fn apply<L: Linear + 'static>(
    linear: L,
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let (input, weight) = (input.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => input.apply_op3(&weight, &bias.contiguous()?, Biased(linear)),
        None => input.apply_op2(&weight, Biased(linear)),
    }
}

struct Biased<L>(L);

impl<L: Linear> CustomOp2 for Biased<L> {
    fn name(&self) -> &'static str {
        L::NAME
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        il: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (input, weight) = (slice(input, il)?, slice(weight, wl)?);
        let output = rayon::scope(|_| self.0.forward(input, weight, None));
        Ok((CpuStorage::F32(output), self.0.output_shape()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (input, weight, _) = self.gradients(input, weight, None, grad)?;
        Ok((input, weight))
    }
}

impl<L: Linear> CustomOp3 for Biased<L> {
    fn name(&self) -> &'static str {
        L::NAME
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        il: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
        bias: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (input, weight, bias) = (slice(input, il)?, slice(weight, wl)?, slice(bias, bl)?);
        let output = rayon::scope(|_| self.0.forward(input, weight, Some(bias)));
        Ok((CpuStorage::F32(output), self.0.output_shape()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.gradients(input, weight, Some(bias), grad)
    }
}

impl<L: Linear> Biased<L> {
    /// The gradients of the operands that are part of a graph.
    fn gradients(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, outputs, height, width) = self.0.output_shape().dims4()?;
        with_slice(grad, |grad| {
            let of_input = input.track_op().then(|| {
                let values = with_slice(weight, |weight| Ok(rayon::scope(|_| self.0.input_gradient(weight, grad))))?;
                tensor(values, input.shape().clone())
            });
            let of_weight = weight.track_op().then(|| {
                let values = with_slice(input, |input| Ok(rayon::scope(|_| self.0.weight_gradient(input, grad))))?;
                tensor(values, weight.shape().clone())
            });
            let of_bias = bias
                .filter(|bias| bias.track_op())
                .map(|bias| tensor(bias_gradient(outputs, height * width, grad), bias.shape().clone()));
            Ok((of_input.transpose()?, of_weight.transpose()?, of_bias.transpose()?))
        })
    }
}

/// `db[o] = Σ_{n, y, x} dY[n, o, y, x]`.
fn bias_gradient(outputs: usize, plane: usize, grad: &[f32]) -> Vec<f32> {
    if grad.is_empty() {
        return vec![0.0; outputs];
    }
    let images = grad.par_chunks(outputs * plane);
    let of_image =
        |image: &[f32]| image.chunks_exact(plane).map(|plane| lane_sum(plane, |value| value)).collect::<Vec<_>>();
    sum_partials(images.map(of_image).collect())
}
