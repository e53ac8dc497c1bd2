//! 2-D convolution with its gradients on the CPU.
//!
//! An image is copied once into zero-padded planes, one for each residue of row and column modulo the stride, so that
//! every kernel tap reads consecutive values; [`contract`](super::contract) and [`correlate`](super::contract) do the
//! arithmetic from there. The gradient of the input is itself a convolution of the output's gradient, one for each
//! residue. Images are spread over rayon's threads. Sums run in an order that the number of threads does not change:
//! results are bit-identical for any number.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::contract::{Gather, PackedWeights, ROW_BLOCK, contract, correlate};
use super::simd::{LANES, lane_sum};
use super::storage::{is_cpu_f32, slice, tensor, with_slice};
use super::winograd;

/// 2-D convolution. `input` [N, C, H, W], `weight` [O, C, k, k], `bias` [O]; the result is [N, O, H', W'] with
/// `H' = (H + 2 padding − k) / stride + 1`. Differentiable in all three.
///
/// Tensors that are not f32 on the CPU take candle's own operations.
///
/// # Errors
/// If the shapes do not fit each other, or the kernel is larger than the padded image.
pub fn conv2d(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: usize) -> Result<Tensor> {
    let tensors = [Some(input), Some(weight), bias];
    if !tensors.into_iter().flatten().all(is_cpu_f32) {
        let output = input.conv2d(weight, padding, stride, 1, 1)?;
        return match bias {
            Some(bias) => output.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?),
            None => Ok(output),
        };
    }
    let op = Conv2d { stride, padding };
    let (input, weight) = (input.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => input.apply_op3(&weight, &bias.contiguous()?, op),
        None => input.apply_op2(&weight, op),
    }
}

struct Conv2d {
    stride: usize,
    padding: usize,
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        il: &Layout,
        weight: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = ConvShape::new(il.dims(), wl.dims(), self.stride, self.padding)?;
        let output = forward(&shape, slice(input, il)?, slice(weight, wl)?, None);
        Ok((CpuStorage::F32(output), shape.output_shape()))
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

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
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
        let shape = ConvShape::new(il.dims(), wl.dims(), self.stride, self.padding)?;
        if bl.dims() != [shape.outputs] {
            bail!("conv2d: the bias has shape {:?}, the kernel {:?} needs [{}]", bl.dims(), wl.dims(), shape.outputs);
        }
        let output = forward(&shape, slice(input, il)?, slice(weight, wl)?, Some(slice(bias, bl)?));
        Ok((CpuStorage::F32(output), shape.output_shape()))
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

impl Conv2d {
    /// The gradients of the operands that are part of a graph.
    fn gradients(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let shape = ConvShape::new(input.dims(), weight.dims(), self.stride, self.padding)?;
        with_slice(grad, |grad| {
            let of_input = input.track_op().then(|| {
                let values = with_slice(weight, |weight| Ok(input_gradient(&shape, weight, grad)))?;
                tensor(values, input.shape().clone())
            });
            let of_weight = weight.track_op().then(|| {
                let values = with_slice(input, |input| Ok(weight_gradient(&shape, input, grad)))?;
                tensor(values, weight.shape().clone())
            });
            let of_bias = bias
                .filter(|bias| bias.track_op())
                .map(|bias| tensor(bias_gradient(shape.outputs, shape.output_plane(), grad), bias.shape().clone()));
            Ok((of_input.transpose()?, of_weight.transpose()?, of_bias.transpose()?))
        })
    }
}

/// The sizes of one convolution.
struct ConvShape {
    images: usize,
    inputs: usize,
    height: usize,
    width: usize,
    outputs: usize,
    output_height: usize,
    output_width: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl ConvShape {
    fn new(input: &[usize], weight: &[usize], stride: usize, padding: usize) -> Result<Self> {
        let (&[images, inputs, height, width], &[outputs, weight_inputs, kernel, kernel_width]) = (input, weight)
        else {
            bail!("conv2d: expected an input [N, C, H, W] and a kernel [O, C, k, k], got {input:?} and {weight:?}");
        };
        if weight_inputs != inputs || kernel_width != kernel {
            bail!("conv2d: the kernel {weight:?} does not fit the input {input:?}: expected [O, {inputs}, k, k]");
        }
        if kernel == 0 || stride == 0 || height + 2 * padding < kernel || width + 2 * padding < kernel {
            bail!("conv2d: kernel {kernel}, stride {stride} and padding {padding} do not fit the input {input:?}");
        }
        let output = |side: usize| (side + 2 * padding - kernel) / stride + 1;
        Ok(Self {
            images,
            inputs,
            height,
            width,
            outputs,
            output_height: output(height),
            output_width: output(width),
            kernel,
            stride,
            padding,
        })
    }

    /// The sizes, where Winograd's way can be gone and is the faster one.
    fn winograd(&self) -> Option<winograd::Sizes> {
        let Self { images, inputs, outputs, height, width, .. } = *self;
        let sizes = winograd::Sizes { images, inputs, outputs, height, width };
        ((self.kernel, self.stride, self.padding) == (3, 1, 1) && sizes.pays()).then_some(sizes)
    }

    fn output_shape(&self) -> Shape {
        Shape::from((self.images, self.outputs, self.output_height, self.output_width))
    }

    fn input_plane(&self) -> usize {
        self.height * self.width
    }

    fn output_plane(&self) -> usize {
        self.output_height * self.output_width
    }

    /// Kernel values of one output channel.
    fn depth(&self) -> usize {
        self.inputs * self.kernel * self.kernel
    }

    /// How the forward pass reads the input.
    fn windows(&self) -> Windows {
        let reach = (self.kernel - 1) / self.stride;
        let planes = Planes {
            channels: self.inputs,
            source: (self.height, self.width),
            stride: self.stride,
            before: (self.padding, self.padding),
            size: (self.output_height + reach, self.output_width + reach),
        };
        let taps = (0..self.kernel).flat_map(|row| (0..self.kernel).map(move |column| (row, column)));
        let offsets = (0..self.inputs).flat_map(|c| taps.clone().map(move |tap| (c, tap)));
        let offsets = offsets.map(|(c, (row, column))| planes.offset(c, row, column)).collect();
        Windows::new(planes, offsets, 0..self.output_height, 0..self.output_width)
    }
}

/// Zero-padded copies of an image's channels, one plane for each residue of row and column modulo the stride.
struct Planes {
    channels: usize,
    /// Height and width of a channel before padding.
    source: (usize, usize),
    stride: usize,
    /// Rows and columns of zeros above and to the left.
    before: (usize, usize),
    /// Height and width of one plane.
    size: (usize, usize),
}

impl Planes {
    /// Where the value at `row`, `column` of the padded channel lies.
    fn offset(&self, channel: usize, row: usize, column: usize) -> u32 {
        let stride = self.stride;
        let plane = (channel * stride + row % stride) * stride + column % stride;
        ((plane * self.size.0 + row / stride) * self.size.1 + column / stride) as u32
    }

    fn len(&self) -> usize {
        self.channels * self.stride * self.stride * self.size.0 * self.size.1
    }

    /// Whether the image itself already is what [`Self::fill`] would write.
    fn is_identity(&self) -> bool {
        self.stride == 1 && self.before == (0, 0) && self.source == self.size
    }

    /// Copies `image` [channels, source] into `padded`, whose other values stay as they are (zero).
    fn fill(&self, image: &[f32], padded: &mut [f32]) {
        let (height, width) = self.source;
        let (plane_height, plane_width) = self.size;
        let stride = self.stride;
        // Of the source's rows (columns), those with a place in the planes.
        let rows = height.min((plane_height * stride).saturating_sub(self.before.0));
        let columns = width.min((plane_width * stride).saturating_sub(self.before.1));
        for channel in 0..self.channels {
            for row in 0..rows {
                let source = &image[(channel * height + row) * width..][..columns];
                let padded_row = row + self.before.0;
                if stride == 1 {
                    let start = self.offset(channel, padded_row, self.before.1) as usize;
                    padded[start..start + columns].copy_from_slice(source);
                    continue;
                }
                for first in 0..stride.min(columns) {
                    let start = self.offset(channel, padded_row, first + self.before.1) as usize;
                    let source = source[first..].iter().step_by(stride);
                    padded[start..].iter_mut().zip(source).for_each(|(padded, &value)| *padded = value);
                }
            }
        }
    }
}

/// A [`Gather`] over [`Planes`] and where its columns go in the output.
struct Windows {
    planes: Planes,
    gather: Gather,
    /// Height and width of the outputs.
    size: (usize, usize),
    /// Columns of the gather from one output row to the next; more than the width where a row is no multiple of the
    /// vector: then rows run on through the padding and the values between them mean nothing.
    pitch: usize,
}

impl Windows {
    /// Outputs at `rows` × `columns` of the planes.
    fn new(planes: Planes, offsets: Vec<u32>, rows: Range<usize>, columns: Range<usize>) -> Self {
        let size = (rows.len(), columns.len());
        let plane_width = planes.size.1;
        let start = |row: usize| (row * plane_width + columns.start) as u32;
        let (bases, pitch) = if size.1.is_multiple_of(LANES) {
            let lanes = (0..size.1).step_by(LANES);
            (rows.flat_map(|row| lanes.clone().map(move |x| start(row) + x as u32)).collect(), size.1)
        } else {
            let values = (size.0.max(1) - 1) * plane_width + size.1;
            let first = start(rows.start);
            ((0..values).step_by(LANES).map(|value| first + value as u32).collect(), plane_width)
        };
        Self { planes, gather: Gather::new(offsets, bases), size, pitch }
    }

    /// Whether the gather's columns are exactly the outputs in row-major order.
    fn is_dense(&self) -> bool {
        self.gather.columns() == self.size.0 * self.size.1
    }

    fn padded_len(&self) -> usize {
        self.planes.len().max(self.gather.extent())
    }

    /// A buffer for [`Self::padded`]; empty where the image is used as it is.
    fn padded_buffer(&self) -> Vec<f32> {
        if self.borrows() { Vec::new() } else { vec![0.0; self.padded_len()] }
    }

    fn borrows(&self) -> bool {
        self.planes.is_identity() && self.planes.len() >= self.gather.extent()
    }

    /// The padded image: written into `buffer`, or the image itself.
    fn padded<'a>(&self, image: &'a [f32], buffer: &'a mut [f32]) -> &'a [f32] {
        if self.borrows() {
            return image;
        }
        self.planes.fill(image, buffer);
        buffer
    }

    /// Rows of the gather's columns from dense outputs; columns that are no output become zero.
    fn spread(&self, outputs: &[f32], columns: &mut [f32]) {
        let (height, width) = self.size;
        for (outputs, columns) in
            outputs.chunks_exact(height * width).zip(columns.chunks_exact_mut(self.gather.columns()))
        {
            columns.fill(0.0);
            for (row, outputs) in outputs.chunks_exact(width).enumerate() {
                columns[row * self.pitch..][..width].copy_from_slice(outputs);
            }
        }
    }
}

/// `out` [images, weights.rows(), windows.size] from `images`, spread over threads by image, or by rows of the weights
/// where there are few images.
fn contract_images(windows: &Windows, weights: &PackedWeights, images: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    let plane = windows.size.0 * windows.size.1;
    let image_len = windows.planes.channels * windows.planes.source.0 * windows.planes.source.1;
    let out_len = weights.rows() * plane;
    if out_len == 0 || image_len == 0 {
        return;
    }
    let columns = windows.gather.columns();
    let rows_of = |rows: Range<usize>, padded: &[f32], out: &mut [f32], buffer: &mut Vec<f32>| {
        if windows.is_dense() {
            return contract(&windows.gather, weights, rows, padded, bias, out);
        }
        buffer.resize(rows.len() * columns, 0.0);
        contract(&windows.gather, weights, rows, padded, bias, buffer);
        for (buffer, out) in buffer.chunks_exact(columns).zip(out.chunks_exact_mut(plane)) {
            for (row, out) in out.chunks_exact_mut(windows.size.1).enumerate() {
                out.copy_from_slice(&buffer[row * windows.pitch..][..windows.size.1]);
            }
        }
    };
    let images = images.par_chunks_exact(image_len);
    if images.len() >= rayon::current_num_threads() {
        out.par_chunks_exact_mut(out_len).zip(images).for_each_init(
            || (windows.padded_buffer(), Vec::new()),
            |(padded, buffer), (out, image)| {
                rows_of(0..weights.rows(), windows.padded(image, padded), out, buffer);
            },
        );
        return;
    }
    let images: Vec<&[f32]> = images.collect();
    let mut padded = windows.padded_buffer();
    for (image, out) in images.into_iter().zip(out.chunks_exact_mut(out_len)) {
        let padded = windows.padded(image, &mut padded);
        out.par_chunks_mut(ROW_BLOCK * plane).enumerate().for_each_init(Vec::new, |buffer, (block, out)| {
            let first = block * ROW_BLOCK;
            rows_of(first..weights.rows().min(first + ROW_BLOCK), padded, out, buffer);
        });
    }
}

fn forward(shape: &ConvShape, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    if let Some(sizes) = shape.winograd() {
        return winograd::forward(sizes, input, weight, bias);
    }
    let depth = shape.depth();
    let weights = PackedWeights::new(shape.outputs, depth, |row, k| weight[row * depth + k]);
    let mut output = vec![0.0; shape.images * shape.outputs * shape.output_plane()];
    contract_images(&shape.windows(), &weights, input, bias, &mut output);
    output
}

/// `dX[c, s·u + r − p] = Σ_{o, j} W[o, c, r + s·j] · dY[o, u − j]`, one convolution for each residue r (row and column)
/// of the padded input's coordinate modulo the stride s.
fn input_gradient(shape: &ConvShape, weight: &[f32], grad: &[f32]) -> Vec<f32> {
    if let Some(sizes) = shape.winograd() {
        return winograd::input_gradient(sizes, weight, grad);
    }
    let (kernel, stride, padding) = (shape.kernel, shape.stride, shape.padding);
    let mut out = vec![0.0; shape.images * shape.inputs * shape.input_plane()];
    // u of the first and the last input row over all residues, and the zeros that u − j needs before.
    let reach = (kernel - 1) / stride;
    let before = reach.saturating_sub(padding / stride);
    let padded = |side: usize| (side - 1 + padding) / stride + 1 + before;
    if shape.images == 0 || shape.height == 0 || shape.width == 0 {
        return out;
    }
    // Input coordinates of residue r: first u, and how many.
    let span = |residue: usize, side: usize| {
        let first = padding.saturating_sub(residue).div_ceil(stride);
        let end = (side + padding).saturating_sub(residue).div_ceil(stride);
        first..end.max(first)
    };
    for row_residue in 0..stride {
        for column_residue in 0..stride {
            let (rows, columns) = (span(row_residue, shape.height), span(column_residue, shape.width));
            let taps = |residue: usize| (residue..kernel).step_by(stride);
            let (row_taps, column_taps): (Vec<_>, Vec<_>) =
                (taps(row_residue).collect(), taps(column_residue).collect());
            if rows.is_empty() || columns.is_empty() || row_taps.is_empty() || column_taps.is_empty() {
                continue;
            }
            let planes = Planes {
                channels: shape.outputs,
                source: (shape.output_height, shape.output_width),
                stride: 1,
                before: (before, before),
                size: (padded(shape.height), padded(shape.width)),
            };
            // Row k of the gather is (o, jr, jc); it lies j before u.
            let mut offsets = Vec::new();
            let mut positions = Vec::new();
            for o in 0..shape.outputs {
                for (row_step, row_tap) in row_taps.iter().enumerate() {
                    for (column_step, column_tap) in column_taps.iter().enumerate() {
                        let (row, column) = (row_taps.len() - 1 - row_step, column_taps.len() - 1 - column_step);
                        offsets.push(planes.offset(o, row, column));
                        positions.push((o, row_tap * kernel + column_tap));
                    }
                }
            }
            // Output u reads from u + before − (steps − 1) on.
            let shift =
                |range: &Range<usize>, steps: usize| range.start + before + 1 - steps..range.end + before + 1 - steps;
            let (from_rows, from_columns) = (shift(&rows, row_taps.len()), shift(&columns, column_taps.len()));
            let windows = Windows::new(planes, offsets, from_rows, from_columns);
            let weights = PackedWeights::new(shape.inputs, positions.len(), |c, k| {
                let (o, tap) = positions[k];
                weight[(o * shape.inputs + c) * kernel * kernel + tap]
            });
            if stride == 1 {
                contract_images(&windows, &weights, grad, None, &mut out);
            } else {
                let mut part = vec![0.0; shape.images * shape.inputs * rows.len() * columns.len()];
                contract_images(&windows, &weights, grad, None, &mut part);
                let origin =
                    (rows.start * stride + row_residue - padding, columns.start * stride + column_residue - padding);
                interleave(&part, windows.size, &mut out, (shape.height, shape.width), stride, origin);
            }
        }
    }
    out
}

/// Writes planes of size `size` to every `stride`-th row and column of `out`'s planes, from `origin` on.
fn interleave(
    planes: &[f32],
    size: (usize, usize),
    out: &mut [f32],
    out_size: (usize, usize),
    stride: usize,
    origin: (usize, usize),
) {
    let planes = planes.par_chunks_exact(size.0 * size.1);
    out.par_chunks_exact_mut(out_size.0 * out_size.1).zip(planes).with_min_len(16).for_each(|(out, plane)| {
        for (row, values) in plane.chunks_exact(size.1).enumerate() {
            let out = &mut out[(origin.0 + row * stride) * out_size.1 + origin.1..];
            out.iter_mut().step_by(stride).zip(values).for_each(|(out, &value)| *out = value);
        }
    });
}

/// Images that share one partial sum of a weight gradient, and those of them that are correlated together; neither
/// depends on the number of threads.
pub(super) fn image_chunks(images: usize, column_blocks: usize) -> (usize, usize) {
    // Enough columns to outweigh the sums over lanes; no more partial sums than 16.
    let together = (64 / column_blocks.max(1)).clamp(1, 8);
    (images.div_ceil(16).next_multiple_of(together), together)
}

fn weight_gradient(shape: &ConvShape, input: &[f32], grad: &[f32]) -> Vec<f32> {
    if let Some(sizes) = shape.winograd() {
        return winograd::weight_gradient(sizes, input, grad);
    }
    let windows = shape.windows();
    let (input_len, grad_len) = (shape.inputs * shape.input_plane(), shape.outputs * shape.output_plane());
    let weights = shape.outputs * shape.depth();
    if weights == 0 || shape.images == 0 {
        return vec![0.0; weights];
    }
    let columns = windows.gather.columns();
    let (chunk, together) = image_chunks(shape.images, columns / LANES);
    let padded_len = windows.padded_len();
    let partial_of = |(input, grad): (&[f32], &[f32])| {
        let mut sum = vec![0.0; weights];
        let borrows = windows.borrows();
        let mut padded = vec![0.0; if borrows { 0 } else { together * padded_len }];
        let mut spread = vec![0.0; if windows.is_dense() { 0 } else { together * shape.outputs * columns }];
        for (input, grad) in input.chunks(together * input_len).zip(grad.chunks(together * grad_len)) {
            let images = input.len() / input_len;
            let (image_values, image_pitch) = if borrows {
                (input, input_len)
            } else {
                for (image, padded) in input.chunks_exact(input_len).zip(padded.chunks_exact_mut(padded_len)) {
                    windows.planes.fill(image, padded);
                }
                (&padded[..], padded_len)
            };
            let rows = if windows.is_dense() {
                grad
            } else {
                let spread = &mut spread[..images * shape.outputs * columns];
                windows.spread(grad, spread);
                spread
            };
            correlate(&windows.gather, shape.outputs, rows, image_values, image_pitch, &mut sum);
        }
        sum
    };
    let partials: Vec<Vec<f32>> =
        input.par_chunks(chunk * input_len).zip(grad.par_chunks(chunk * grad_len)).map(partial_of).collect();
    sum_partials(partials)
}

/// The sum of equally long vectors, in their order.
pub(super) fn sum_partials(partials: Vec<Vec<f32>>) -> Vec<f32> {
    let mut partials = partials.into_iter();
    let mut total = partials.next().unwrap_or_default();
    let rest: Vec<_> = partials.collect();
    total.par_chunks_mut(4096).enumerate().for_each(|(block, total)| {
        for partial in &rest {
            total.iter_mut().zip(&partial[block * 4096..]).for_each(|(total, value)| *total += value);
        }
    });
    total
}

/// `db[o] = Σ_{n, y, x} dY[n, o, y, x]`.
pub(super) fn bias_gradient(outputs: usize, plane: usize, grad: &[f32]) -> Vec<f32> {
    if outputs * plane == 0 {
        return vec![0.0; outputs];
    }
    let partials: Vec<Vec<f32>> = grad
        .par_chunks(outputs * plane)
        .map(|image| image.chunks_exact(plane).map(|plane| lane_sum(plane, |value| value)).collect())
        .collect();
    if partials.is_empty() { vec![0.0; outputs] } else { sum_partials(partials) }
}

#[cfg(test)]
mod tests {
    use super::super::check::*;
    use super::*;

    fn by_candle(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
        let bias = bias.reshape((1, bias.elem_count(), 1, 1))?;
        x.conv2d(weight, padding, stride, 1, 1)?.broadcast_add(&bias)
    }

    /// Images, input and output channels, height, width, kernel, stride, padding.
    const SHAPES: [[usize; 8]; 18] = [
        [3, 5, 7, 16, 16, 3, 1, 1],
        [2, 3, 13, 9, 11, 3, 1, 1],
        [2, 4, 1, 8, 8, 4, 2, 1],
        [3, 1, 5, 32, 32, 4, 2, 1],
        [1, 6, 6, 7, 5, 1, 1, 0],
        [5, 6, 4, 8, 4, 1, 1, 0],
        [2, 3, 4, 5, 5, 3, 2, 0],
        [2, 3, 4, 8, 8, 3, 2, 1],
        [2, 3, 4, 10, 6, 4, 2, 2],
        [1, 3, 8, 2, 2, 3, 1, 1],
        [9, 12, 1, 32, 32, 3, 1, 1],
        [1, 2, 2, 1, 1, 3, 1, 1],
        [2, 2, 3, 6, 7, 3, 1, 0],
        [2, 2, 3, 5, 4, 3, 1, 2],
        // Large enough for Winograd's way: several images a group, several groups an image, odd sides.
        [17, 32, 34, 8, 8, 3, 1, 1],
        [2, 33, 32, 32, 40, 3, 1, 1],
        [5, 40, 32, 15, 23, 3, 1, 1],
        [300, 32, 32, 1, 2, 3, 1, 1],
    ];

    #[test]
    fn agrees_with_candle() -> Result<()> {
        for shape @ [n, c, o, h, w, k, stride, padding] in SHAPES {
            let (x, weight, bias) = (variable(1, &[n, c, h, w])?, variable(2, &[o, c, k, k])?, variable(3, &[o])?);
            let expected = by_candle(&x, &weight, &bias, stride, padding)?;
            let got = conv2d(&x, &weight, Some(&bias), stride, padding)?;
            assert_same(&format!("{shape:?}"), &got, &expected, &[&x, &weight, &bias], 1e-5)?;
            let expected = x.conv2d(&weight, padding, stride, 1, 1)?;
            let got = conv2d(&x, &weight, None, stride, padding)?;
            assert_same(&format!("{shape:?} without bias"), &got, &expected, &[&x, &weight], 1e-5)?;
        }
        Ok(())
    }

    #[test]
    fn takes_any_strides() -> Result<()> {
        let (x, weight) = (variable(1, &[6, 9, 5, 4])?, variable(2, &[3, 3, 5, 4])?);
        let run = |x: &Tensor, weight: &Tensor| conv2d(x, weight, None, 1, 1);
        let (x_view, weight_view) = (x.permute((3, 2, 0, 1))?.narrow(2, 1, 4)?, weight.permute((3, 2, 0, 1))?);
        let expected = run(&x_view.contiguous()?, &weight_view.contiguous()?)?;
        assert_same("permuted", &run(&x_view, &weight_view)?, &expected, &[&x, &weight], 0.0)
    }

    #[test]
    fn agrees_with_finite_differences() -> Result<()> {
        // Among them shapes that candle's own backward pass does not take: a stride above the kernel, sides of two parities.
        for [h, w, k, stride, padding] in
            [[8, 6, 4, 2, 1], [7, 8, 3, 2, 1], [9, 7, 2, 3, 1], [6, 6, 1, 2, 0], [4, 4, 1, 1, 1]]
        {
            let (x, weight, bias) = (variable(1, &[2, 3, h, w])?, variable(2, &[4, 3, k, k])?, variable(3, &[4])?);
            let run = |t: &[Tensor]| conv2d(&t[0], &t[1], Some(&t[2]), stride, padding);
            assert_finite_differences("conv2d", run, &[&x, &weight, &bias], 1e-2, 1e-4)?;
        }
        Ok(())
    }

    #[test]
    fn does_not_depend_on_the_number_of_threads() -> Result<()> {
        for (images, width, channels) in [(1, 16, 7), (5, 8, 7), (33, 7, 7), (33, 16, 32)] {
            let (x, weight, bias) =
                (variable(1, &[images, channels, 8, width])?, variable(2, &[33, channels, 3, 3])?, variable(3, &[33])?);
            assert_independent_of_threads(|| {
                let output = conv2d(&x, &weight, Some(&bias), 1, 1)?;
                let mut results = gradients(&output, &[&x, &weight, &bias])?;
                results.push(values(&output)?);
                Ok(results)
            })?;
        }
        Ok(())
    }

    #[test]
    fn an_operand_outside_the_graph_costs_no_gradient() -> Result<()> {
        let (x, weight) = (variable(1, &[1, 2, 8, 8])?, variable(2, &[3, 2, 3, 3])?);
        let gradients = conv2d(&x.as_detached_tensor(), &weight, None, 1, 1)?.sum_all()?.backward()?;
        assert!(gradients.get(&x).is_none() && gradients.get(&weight).is_some());
        Ok(())
    }

    #[test]
    fn wrong_shapes_are_errors() -> Result<()> {
        let (x, weight) = (variable(1, &[1, 2, 3, 3])?, variable(2, &[3, 2, 3, 3])?);
        assert!(conv2d(&x, &random(2, &[3, 1, 3, 3])?, None, 1, 1).is_err());
        assert!(conv2d(&x, &random(2, &[3, 2, 3, 1])?, None, 1, 1).is_err());
        assert!(conv2d(&x, &random(2, &[3, 2, 4, 4])?, None, 1, 0).is_err());
        assert!(conv2d(&x, &weight, Some(&random(3, &[2])?), 1, 1).is_err());
        assert!(conv2d(&x, &weight, None, 0, 1).is_err());
        assert!(conv2d(&x.flatten_all()?, &weight, None, 1, 1).is_err());
        Ok(())
    }

    #[test]
    fn empty_batches_are_fine() -> Result<()> {
        let (x, weight) = (variable(1, &[0, 2, 8, 8])?, variable(2, &[3, 2, 3, 3])?);
        let output = conv2d(&x, &weight, None, 1, 1)?;
        assert_eq!(output.dims(), [0, 3, 8, 8]);
        assert_eq!(gradients(&output, &[&weight])?[0], vec![0.0; 54]);
        Ok(())
    }
}
