//! 3×3 convolutions with stride 1 and padding 1 by Winograd's minimal filtering F(2×2, 3×3) (Lavin and Gray, 2015), with
//! their gradients: 16 products for 4 outputs where the direct form has 36.
//!
//! For each tile of 2×2 outputs y, the 4×4 inputs d around it, and the kernel w:
//!
//! `y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A`, summed over input channels inside the brackets.
//!
//! So a group of tiles becomes sixteen matrices [channels, tiles], each contracted over the channels with its own
//! [outputs, inputs] of the transformed kernel. The input's gradient is the same with the kernel turned; the kernel's is
//! `Gᵀ [Σ (A dy Aᵀ) ⊙ (Bᵀ d B)] G`.

use std::ops::Range;

use rayon::prelude::*;

use super::contract::{Gather, PackedWeights, contract, correlate};
use super::partials::sum_partials;
use super::simd::{LANES, vectorised};

/// Products of a tile.
const TAPS: usize = 16;
/// Tiles that are worked on together: enough to outweigh fetching the kernel, few enough for the second-level cache.
const TOGETHER: usize = 128;
/// `G`, from a kernel's rows (columns) to those of its transform.
const KERNEL: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// The sizes of one convolution; outputs have the inputs' sides.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) images: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Tiles that are worked on together: rows of tiles of some images.
#[derive(Clone)]
struct Group {
    images: Range<usize>,
    rows: Range<usize>,
}

impl Sizes {
    /// Whether this way is faster than the direct one: with few channels the transforms outweigh the products saved, and
    /// the shorter the rows of tiles are, the less of a vector a transform fills; with few tiles the kernel's own
    /// transform costs more than is saved. Figures: 96 channels at 16² and 256 at 8² gain, 64 at 16² and 32 at 32² lose.
    pub(super) fn pays(&self) -> bool {
        let channels = self.inputs.min(self.outputs);
        channels >= 32 && channels * self.width >= 96 * 16 && self.images * self.tiles() >= 4 * TOGETHER
    }

    fn tile_rows(&self) -> usize {
        self.height.div_ceil(2)
    }

    fn tile_columns(&self) -> usize {
        self.width.div_ceil(2)
    }

    /// Tiles of an image.
    fn tiles(&self) -> usize {
        self.tile_rows() * self.tile_columns()
    }

    /// The input's gradient as a convolution of the output's.
    fn turned(self) -> Self {
        Self { inputs: self.outputs, outputs: self.inputs, ..self }
    }

    fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Images of a group, and rows of tiles of a group. One of them is all there is.
    fn grouping(&self) -> (usize, usize) {
        if self.tiles() <= TOGETHER {
            (TOGETHER / self.tiles(), self.tile_rows())
        } else {
            (1, (TOGETHER / self.tile_columns()).max(1))
        }
    }

    /// The groups that tile rows of the images `images` fall into.
    fn groups(&self, images: Range<usize>) -> Vec<Group> {
        let (_, rows) = self.grouping();
        let starts = (0..self.tile_rows()).step_by(rows);
        starts
            .map(|start| Group { images: images.clone(), rows: start..(start + rows).min(self.tile_rows()) })
            .collect()
    }

    /// Columns of a group's matrices: its tiles, rounded up to whole vectors.
    fn columns(&self, group: &Group) -> usize {
        (group.images.len() * group.rows.len() * self.tile_columns()).next_multiple_of(LANES)
    }
}

/// From one channel to the next where channels are contracted: an odd number of vectors, since a power of two would put
/// all channels in the same few lines of the first-level cache.
fn pitch(columns: usize) -> usize {
    columns | LANES
}

/// From one tap's matrix of `len` values to the next: not a power of two, for the same reason; the transforms read and
/// write all sixteen side by side.
fn tap_pitch(len: usize) -> usize {
    /// Values of a line of the cache.
    const LINE: usize = 16;
    (len.div_ceil(LINE) | 1) * LINE
}

/// Channels of tiles as the columns of a contraction.
fn gather(channels: usize, columns: usize) -> Gather {
    let offsets = (0..channels).map(|channel| (channel * pitch(columns)) as u32).collect();
    Gather::new(offsets, (0..columns).step_by(LANES).map(|column| column as u32).collect())
}

/// The convolution. `input` [N, C, H, W], `weight` [O, C, 3, 3], `bias` `[O]`; the result is [N, O, H, W].
pub(super) fn forward(sizes: Sizes, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let kernels = weight.as_chunks::<9>().0;
    convolve(sizes, input, |output, channel| transform_kernel(&kernels[output * sizes.inputs + channel]), bias)
}

/// The input's gradient [N, C, H, W] from the output's.
pub(super) fn input_gradient(sizes: Sizes, weight: &[f32], grad: &[f32]) -> Vec<f32> {
    let kernels = weight.as_chunks::<9>().0;
    let turned = |output: usize, channel: usize| {
        let mut kernel = kernels[channel * sizes.inputs + output];
        kernel.reverse();
        transform_kernel(&kernel)
    };
    convolve(sizes.turned(), grad, turned, None)
}

/// The convolution whose transformed kernel is `kernel(output, input)`.
fn convolve(
    sizes: Sizes,
    input: &[f32],
    kernel: impl Fn(usize, usize) -> [f32; TAPS] + Sync,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let weights = PackedWeights::many(sizes.outputs, sizes.inputs, kernel);
    let (images, _) = sizes.grouping();
    let out_len = sizes.outputs * sizes.plane();
    let mut out = vec![0.0; sizes.images * out_len];
    let chunks = out.par_chunks_mut(images * out_len).enumerate();
    let groups_of = |place: usize, out: &[f32]| {
        let first = place * images;
        sizes.groups(first..first + out.len() / out_len)
    };
    if chunks.len() >= rayon::current_num_threads() {
        chunks.for_each_init(Buffers::default, |buffers, (place, out)| {
            for group in groups_of(place, out) {
                let products = buffers.products(sizes, &group, input, &weights);
                combine_products(sizes, &group, products, bias, out, 2 * group.rows.start..sizes.height);
            }
        });
        return out;
    }
    chunks.for_each(|(place, out)| {
        let parts = groups_of(place, out).into_par_iter().map_init(Buffers::default, |buffers, group| {
            let products = buffers.products(sizes, &group, input, &weights);
            let rows = 0..(2 * group.rows.end).min(sizes.height) - 2 * group.rows.start;
            let mut part = vec![0.0; group.images.len() * sizes.outputs * rows.len() * sizes.width];
            combine_products(sizes, &group, products, bias, &mut part, rows);
            (group, part)
        });
        for (group, part) in parts.collect::<Vec<_>>() {
            place_part(sizes, &group, &part, out);
        }
    });
    out
}

/// Memory of one thread.
#[derive(Default)]
struct Buffers {
    /// [16, C, pitch], the taps [`tap_pitch`] apart.
    tiles: Vec<f32>,
    /// [16, O, columns], the taps [`tap_pitch`] apart.
    products: Vec<f32>,
}

impl Buffers {
    fn products(&mut self, sizes: Sizes, group: &Group, input: &[f32], weights: &[PackedWeights]) -> &[f32] {
        let columns = sizes.columns(group);
        let product_len = sizes.outputs * columns;
        let (tile_pitch, product_pitch) = (tap_pitch(sizes.inputs * pitch(columns)), tap_pitch(product_len));
        self.tiles.resize(TAPS * tile_pitch, 0.0);
        self.products.resize(TAPS * product_pitch, 0.0);
        transform_input(sizes, group, input, columns, &mut self.tiles);
        let gather = gather(sizes.inputs, columns);
        let parts = self.tiles.chunks_exact(tile_pitch).zip(self.products.chunks_exact_mut(product_pitch));
        for (weights, (tiles, products)) in weights.iter().zip(parts) {
            contract(&gather, weights, 0..sizes.outputs, tiles, None, &mut products[..product_len]);
        }
        &self.products
    }
}

/// Copies a group's outputs [images, O, rows, W] to their place among those of its images.
fn place_part(sizes: Sizes, group: &Group, part: &[f32], out: &mut [f32]) {
    let plane_len = part.len() / (group.images.len() * sizes.outputs);
    for (plane, part) in out.chunks_exact_mut(sizes.plane()).zip(part.chunks_exact(plane_len)) {
        plane[2 * group.rows.start * sizes.width..][..plane_len].copy_from_slice(part);
    }
}

/// The kernel's gradient [O, C, 3, 3].
pub(super) fn weight_gradient(sizes: Sizes, input: &[f32], grad: &[f32]) -> Vec<f32> {
    let (images, _) = sizes.grouping();
    let firsts = (0..sizes.images).step_by(images);
    let groups: Vec<Group> = firsts.flat_map(|first| sizes.groups(first..(first + images).min(sizes.images))).collect();
    let kernel_len = sizes.outputs * sizes.inputs;
    // Each partial sum is as large as sixteen kernels: no more of them than eight, whatever the number of threads.
    let partials = groups.par_chunks(groups.len().div_ceil(8).max(1)).map(|groups| {
        // [16, O, C]
        let mut sum = vec![0.0; TAPS * kernel_len];
        let (mut tiles, mut grads) = (Vec::new(), Vec::new());
        for group in groups {
            let columns = sizes.columns(group);
            let grad_len = sizes.outputs * columns;
            let (tile_pitch, grad_pitch) = (tap_pitch(sizes.inputs * pitch(columns)), tap_pitch(grad_len));
            tiles.resize(TAPS * tile_pitch, 0.0);
            grads.clear();
            grads.resize(TAPS * grad_pitch, 0.0);
            transform_input(sizes, group, input, columns, &mut tiles);
            transform_gradient(sizes, group, grad, columns, &mut grads);
            let gather = gather(sizes.inputs, columns);
            let parts = tiles.chunks_exact(tile_pitch).zip(grads.chunks_exact(grad_pitch));
            for (sum, (tiles, grads)) in sum.chunks_exact_mut(kernel_len).zip(parts) {
                correlate(&gather, sizes.outputs, &grads[..grad_len], tiles, tile_pitch, sum);
            }
        }
        sum
    });
    transform_kernel_gradient(&sum_partials(partials.collect()), kernel_len)
}

/// `G w Gᵀ` of one kernel, row-major both.
fn transform_kernel(w: &[f32; 9]) -> [f32; TAPS] {
    let mut transformed = [0.0; TAPS];
    for (out, row) in transformed.as_chunks_mut::<4>().0.iter_mut().zip(&KERNEL) {
        // A row of G w.
        let half: [f32; 3] = std::array::from_fn(|n| row[0] * w[n] + row[1] * w[3 + n] + row[2] * w[6 + n]);
        *out = KERNEL.map(|column| column[0] * half[0] + column[1] * half[1] + column[2] * half[2]);
    }
    transformed
}

/// `Gᵀ u G`; `taps` is [16, pairs of channels], the result [pairs, 3, 3].
fn transform_kernel_gradient(taps: &[f32], pairs: usize) -> Vec<f32> {
    let mut of_weight = vec![0.0; pairs * 9];
    of_weight.par_chunks_exact_mut(9).with_min_len(256).enumerate().for_each(|(pair, w)| {
        for (i, row) in KERNEL.iter().enumerate() {
            // Row i of u G.
            let mut half = [0.0; 3];
            for (j, column) in KERNEL.iter().enumerate() {
                let tap = taps[(4 * i + j) * pairs + pair];
                half.iter_mut().zip(column).for_each(|(half, factor)| *half += factor * tap);
            }
            for (m, factor) in row.iter().enumerate() {
                (0..3).for_each(|n| w[3 * m + n] += factor * half[n]);
            }
        }
    });
    of_weight
}

vectorised! {
    /// `Bᵀ d B` of a group's tiles, [16, C, pitch]; outside the image is zero.
    fn transform_input(sizes: Sizes, group: &Group, input: &[f32], columns: usize, tiles: &mut [f32]) {
        let (height, width, across) = (sizes.height, sizes.width, sizes.tile_columns());
        let tap_len = tap_pitch(sizes.inputs * pitch(columns));
        // A row with a zero on either side, its even and its odd places.
        let mut padded = vec![0.0f32; 2 * across + 2];
        let (mut even, mut odd) = (vec![0.0f32; across + 1], vec![0.0f32; across + 1]);
        // Four rows [4, across] each: (d B) of the tile row at hand.
        let mut halves = vec![0.0f32; 16 * across];
        for (image_place, image) in group.images.clone().enumerate() {
            for channel in 0..sizes.inputs {
                let plane = &input[(image * sizes.inputs + channel) * height * width..][..height * width];
                for (row_place, row) in group.rows.clone().enumerate() {
                    for (at, half) in halves.chunks_exact_mut(4 * across).enumerate() {
                        match (2 * row + at).checked_sub(1).filter(|&y| y < height) {
                            Some(y) => padded[1..=width].copy_from_slice(&plane[y * width..][..width]),
                            None => padded.fill(0.0),
                        }
                        for (pair, (even, odd)) in padded.chunks_exact(2).zip(even.iter_mut().zip(&mut odd)) {
                            (*even, *odd) = (pair[0], pair[1]);
                        }
                        let (first, rest) = half.split_at_mut(across);
                        let (second, rest) = rest.split_at_mut(across);
                        let (third, fourth) = rest.split_at_mut(across);
                        subtract(first, &even, &even[1..]);
                        add(second, &odd, &even[1..]);
                        subtract(third, &even[1..], &odd);
                        subtract(fourth, &odd, &odd[1..]);
                    }
                    let (top, rest) = halves.split_at(4 * across);
                    let (upper, rest) = rest.split_at(4 * across);
                    let (lower, bottom) = rest.split_at(4 * across);
                    let start = channel * pitch(columns) + (image_place * group.rows.len() + row_place) * across;
                    for column in 0..4 {
                        let part = column * across..(column + 1) * across;
                        let (top, upper, lower, bottom) =
                            (&top[part.clone()], &upper[part.clone()], &lower[part.clone()], &bottom[part]);
                        let at = |row: usize| (4 * row + column) * tap_len + start;
                        let out = |row: usize| at(row)..at(row) + across;
                        subtract(&mut tiles[out(0)], top, lower);
                        add(&mut tiles[out(1)], upper, lower);
                        subtract(&mut tiles[out(2)], lower, upper);
                        subtract(&mut tiles[out(3)], upper, bottom);
                    }
                }
            }
        }
    }
}

/// `out = a + b`.
#[inline(always)]
fn add(out: &mut [f32], a: &[f32], b: &[f32]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a + b);
}

/// `out = a − b`.
#[inline(always)]
fn subtract(out: &mut [f32], a: &[f32], b: &[f32]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a - b);
}

vectorised! {
    /// `Aᵀ m A` of a group's products [16, O, columns], into the rows `places` of planes [images, O, places.end, W].
    fn combine_products(
        sizes: Sizes, group: &Group, products: &[f32], bias: Option<&[f32]>, out: &mut [f32], places: Range<usize>,
    ) {
        let (columns, across, rows, width) = (sizes.columns(group), sizes.tile_columns(), group.rows.len(), sizes.width);
        let tap_len = tap_pitch(sizes.outputs * columns);
        let mut both = vec![0.0f32; 4 * across];
        for image in 0..group.images.len() {
            for channel in 0..sizes.outputs {
                let bias = bias.map_or(0.0, |bias| bias[channel]);
                let plane = &mut out[(image * sizes.outputs + channel) * places.end * width..][..places.end * width];
                let plane = &mut plane[places.start * width..];
                for (row, out) in plane.chunks_mut(2 * width).take(rows).enumerate() {
                    let start = channel * columns + (image * rows + row) * across;
                    let m = |tap: usize| &products[tap * tap_len + start..][..across];
                    let m: [&[f32]; TAPS] = std::array::from_fn(m);
                    let (upper, lower) = both.split_at_mut(2 * across);
                    let (upper, lower) = (upper.as_chunks_mut::<2>().0, lower.as_chunks_mut::<2>().0);
                    for (x, (upper, lower)) in upper.iter_mut().zip(lower).enumerate() {
                        let above = |column: usize| m[column][x] + m[4 + column][x] + m[8 + column][x];
                        let below = |column: usize| m[4 + column][x] - m[8 + column][x] - m[12 + column][x];
                        let (a, b) = ([above(0), above(1), above(2), above(3)], [below(0), below(1), below(2), below(3)]);
                        *upper = [a[0] + a[1] + a[2] + bias, a[1] - a[2] - a[3] + bias];
                        *lower = [b[0] + b[1] + b[2] + bias, b[1] - b[2] - b[3] + bias];
                    }
                    for (out, row) in out.chunks_exact_mut(width).zip(both.chunks_exact(2 * across)) {
                        out.copy_from_slice(&row[..width]);
                    }
                }
            }
        }
    }
}

vectorised! {
    /// `A dy Aᵀ` of a group's tiles, [16, O, columns]; outside the image is zero.
    fn transform_gradient(sizes: Sizes, group: &Group, grad: &[f32], columns: usize, grads: &mut [f32]) {
        let (height, width, across) = (sizes.height, sizes.width, sizes.tile_columns());
        let tap_len = tap_pitch(sizes.outputs * columns);
        // Two rows, their even and their odd places: [2, across] each.
        let mut padded = vec![0.0f32; 2 * across];
        let mut parts = vec![0.0f32; 4 * across];
        for (image_place, image) in group.images.clone().enumerate() {
            for channel in 0..sizes.outputs {
                let plane = &grad[(image * sizes.outputs + channel) * height * width..][..height * width];
                for (row_place, row) in group.rows.clone().enumerate() {
                    for (at, part) in parts.chunks_exact_mut(2 * across).enumerate() {
                        match Some(2 * row + at).filter(|&y| y < height) {
                            Some(y) => padded[..width].copy_from_slice(&plane[y * width..][..width]),
                            None => padded.fill(0.0),
                        }
                        let (even, odd) = part.split_at_mut(across);
                        for (pair, (even, odd)) in padded.chunks_exact(2).zip(even.iter_mut().zip(odd)) {
                            (*even, *odd) = (pair[0], pair[1]);
                        }
                    }
                    let (top, bottom) = parts.split_at(2 * across);
                    let start = channel * columns + (image_place * group.rows.len() + row_place) * across;
                    // Row i of A dy: top, top + bottom, top − bottom, −bottom.
                    for (i, [of_top, of_bottom]) in [[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [0.0, -1.0f32]].into_iter().enumerate() {
                        let mut taps = grads[4 * i * tap_len..].chunks_mut(tap_len);
                        let mut next = || taps.next().map_or(&mut [][..], |tap| &mut tap[start..start + across]);
                        let (first, second, third, fourth) = (next(), next(), next(), next());
                        for x in 0..across {
                            let even = of_top * top[x] + of_bottom * bottom[x];
                            let odd = of_top * top[across + x] + of_bottom * bottom[across + x];
                            first[x] = even;
                            second[x] = even + odd;
                            third[x] = even - odd;
                            fourth[x] = -odd;
                        }
                    }
                }
            }
        }
    }
}
