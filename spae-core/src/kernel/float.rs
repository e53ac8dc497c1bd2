//! Arithmetic in f32 from binary16 weights, over planar rows.
//!
//! A map's row is planar: channel after channel, each `width` values between two zeros that stand for the padding.
//! Work goes in blocks of [`LANES`] neighbouring columns, so that sums stay in registers and a loop over lanes becomes
//! vector instructions; columns behind the row's end are computed from zeros and dropped. Weights are binary16 and
//! widened once a block. Every output is one fixed sequence of f32 products and sums, and only different outputs share
//! a vector register, so all processors give the same bits.
//!
//! On a workstation all of it is inlined, so that a caller compiled for wide vectors has it compiled for them too; on a
//! chip, flash is dearer than calls.

use super::{Activation, UPSAMPLE_PRODUCTS};
use crate::quant::{f16_le, widen};

/// Columns that are computed together.
pub const LANES: usize = 8;

/// One value a column of a block.
pub type Lanes = [f32; LANES];

/// A weight as it is stored, or widened once for many pictures.
pub trait Weight: Copy {
    /// Its value.
    fn value(self) -> f32;

    /// The values of `stored`: where they lie, or put into `memory`.
    fn values<'w, const N: usize>(stored: &'w [Self; N], memory: &'w mut [f32; N]) -> &'w [f32; N];
}

/// Binary16, as in the file; finite.
impl Weight for [u8; 2] {
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn value(self) -> f32 {
        f16_le(self)
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn values<'w, const N: usize>(stored: &'w [Self; N], memory: &'w mut [f32; N]) -> &'w [f32; N] {
        widen(stored, memory);
        memory
    }
}

impl Weight for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }

    #[inline(always)]
    fn values<'w, const N: usize>(stored: &'w [Self; N], _: &'w mut [f32; N]) -> &'w [f32; N] {
        stored
    }
}

/// Three neighbouring rows of a map: above, at and below the one of interest. Rows outside the picture are empty.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Each [channels × (width + 2)], or empty.
    pub rows: [&'a [f32]; 3],
    /// Columns without the padding.
    pub width: usize,
}

/// The columns of a block, and one more on either side.
type Near = [f32; LANES + 2];

impl Window<'_> {
    /// Channel `channel` of row `row` from padded column `start` on: where it lies, or copied into `edge` where the block
    /// ends behind the row, with zeros there. `None` beyond the picture's edge.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn near<'b>(&'b self, row: usize, channel: usize, start: usize, edge: &'b mut Near) -> Option<&'b Near> {
        let stride = self.width.checked_add(2)?;
        let at = channel.checked_mul(stride)?;
        let row = self.rows.get(row)?.get(at..at.checked_add(stride)?)?.get(start..)?;
        row.first_chunk().or_else(|| {
            *edge = [0.0; LANES + 2];
            edge.iter_mut().zip(row).for_each(|(value, stored)| *value = *stored);
            Some(edge)
        })
    }
}

/// The block's columns moved left by 1 − `column`.
#[cfg_attr(target_pointer_width = "64", inline(always))]
fn shifted(near: &Near, column: usize) -> Lanes {
    near.get(column..).and_then(<[f32]>::first_chunk).copied().unwrap_or([0.0; LANES])
}

/// `sums[x] += weight · values[x]`.
#[cfg_attr(target_pointer_width = "64", inline(always))]
fn multiply_add(sums: &mut Lanes, values: &Lanes, weight: f32) {
    for x in 0..LANES {
        sums[x] += weight * values[x];
    }
}

/// A 1×1 convolution's products for `N` output channels, added to their sums at the columns from `start` on.
/// `taps`: for each output channel one an input channel.
#[cfg_attr(target_pointer_width = "64", inline(always))]
pub fn convolve_1x1<W: Weight, const N: usize>(
    taps: [&[W]; N],
    window: &Window<'_>,
    start: usize,
    sums: &mut [Lanes; N],
) {
    for channel in 0..taps.first().map_or(0, |taps| taps.len()) {
        let mut edge = [0.0; LANES + 2];
        let Some(near) = window.near(1, channel, start, &mut edge) else { return };
        let values = shifted(near, 1);
        for (sums, taps) in sums.iter_mut().zip(taps) {
            multiply_add(sums, &values, taps.get(channel).map_or(0.0, |tap| tap.value()));
        }
    }
}

/// A 3×3 convolution's products, with zero padding, for `N` output channels, added to their sums at the columns from
/// `start` on. `taps`: for each output channel [input channels × 3 × 3].
#[cfg_attr(target_pointer_width = "64", inline(always))]
pub fn convolve_3x3<W: Weight, const N: usize>(
    taps: [&[W]; N],
    window: &Window<'_>,
    start: usize,
    sums: &mut [Lanes; N],
) {
    let kernels = taps.map(|taps| taps.as_chunks::<9>().0);
    for channel in 0..kernels.first().map_or(0, |kernels| kernels.len()) {
        let mut memory = [[0.0; 9]; N];
        let mut taps = [&[0.0; 9]; N];
        for ((taps, kernels), memory) in taps.iter_mut().zip(&kernels).zip(&mut memory) {
            if let Some(kernel) = kernels.get(channel) {
                *taps = W::values(kernel, memory);
            }
        }
        for row in 0..3 {
            let mut edge = [0.0; LANES + 2];
            let Some(near) = window.near(row, channel, start, &mut edge) else { continue };
            for column in 0..3 {
                let values = shifted(near, column);
                for (sums, taps) in sums.iter_mut().zip(taps) {
                    multiply_add(sums, &values, taps[3 * row + column]);
                }
            }
        }
    }
}

/// Output channels of an upsampling that are computed together.
pub const UPSAMPLE_CHANNELS: usize = 8;

/// Input channels of an upsampling whose products are added together: each sum goes to memory half as often.
pub const UPSAMPLE_INPUTS: usize = 2;

/// Elements of the memory that an upsampling works in: the differences and the sums of one block.
pub const UPSAMPLE_WORK: usize = UPSAMPLE_PRODUCTS * LANES * (UPSAMPLE_INPUTS + UPSAMPLE_CHANNELS);

/// One block of columns of each product.
pub type Products = [Lanes; UPSAMPLE_PRODUCTS];

/// What the nine transformed taps of one input channel multiply, at the columns from `start` on: the centre c where no
/// neighbour is involved, `r − c` for a row neighbour, `k − c` for a column neighbour, `(d − r) − (k − c)` for a corner.
#[cfg_attr(target_pointer_width = "64", inline(always))]
pub fn upsample_differences(window: &Window<'_>, channel: usize, start: usize, differences: &mut Products) {
    let mut edges = [[0.0; LANES + 2]; 3];
    let [edge_above, edge_centre, edge_below] = &mut edges;
    let rows = |row, edge| {
        let near = window.near(row, channel, start, edge).unwrap_or(&[0.0; LANES + 2]);
        [shifted(near, 0), shifted(near, 1), shifted(near, 2)]
    };
    let (above, below) = (rows(0, edge_above), rows(2, edge_below));
    let [left, c, right] = rows(1, edge_centre);
    for x in 0..LANES {
        let k = [left[x] - c[x], right[x] - c[x]];
        (differences[3][x], differences[4][x], differences[5][x]) = (k[0], c[x], k[1]);
        for (p, [left, r, right]) in [(0, &above), (6, &below)] {
            differences[p][x] = (left[x] - r[x]) - k[0];
            differences[p + 1][x] = r[x] - c[x];
            differences[p + 2][x] = (right[x] - r[x]) - k[1];
        }
    }
}

/// Adds the products of `K` input channels, one after the other, to the sums of output channels. `taps`: for each input
/// channel [outputs × 9], of which the sums take the first.
#[cfg_attr(target_pointer_width = "64", inline(always))]
pub fn upsample_accumulate<W: Weight, const K: usize>(
    taps: [&[W]; K],
    differences: &[Products; K],
    sums: &mut [Products],
) {
    /// Output channels whose taps are widened together.
    const TOGETHER: usize = 4;
    let (sums_of_fours, sums_of_rest) = sums.as_chunks_mut::<TOGETHER>();
    let fours = taps.map(|taps| taps.as_chunks::<{ TOGETHER * UPSAMPLE_PRODUCTS }>().0);
    for (four, sums) in sums_of_fours.iter_mut().enumerate() {
        accumulate(fours.map(|taps| taps.get(four)), differences, sums);
    }
    let ones = taps.map(|taps| taps.as_chunks::<UPSAMPLE_PRODUCTS>().0);
    for (one, sums) in (sums_of_fours.len() * TOGETHER..).zip(sums_of_rest) {
        accumulate(ones.map(|taps| taps.get(one)), differences, core::slice::from_mut(sums));
    }
}

/// `stored`: for each of `K` input channels [outputs × 9], `N` in all.
#[cfg_attr(target_pointer_width = "64", inline(always))]
fn accumulate<W: Weight, const K: usize, const N: usize>(
    stored: [Option<&[W; N]>; K],
    differences: &[Products; K],
    sums: &mut [Products],
) {
    let mut memory = [[0.0; N]; K];
    let mut taps = [&[0.0; N]; K];
    for ((taps, stored), memory) in taps.iter_mut().zip(stored).zip(&mut memory) {
        if let Some(stored) = stored {
            *taps = W::values(stored, memory);
        }
    }
    for (output, sums) in sums.iter_mut().enumerate() {
        for (product, sums) in sums.iter_mut().enumerate() {
            let mut sum = *sums;
            for (taps, differences) in taps.iter().zip(differences) {
                let tap = taps.get(UPSAMPLE_PRODUCTS * output + product).copied().unwrap_or(0.0);
                multiply_add(&mut sum, &differences[product], tap);
            }
            *sums = sum;
        }
    }
}

/// Output row `a` (0 or 1) of one output channel from its nine sums, activated; `row` takes two columns for each of the block's.
/// `y_ab = s[1,1] + s[a',1] + s[1,b'] + s[a',b'] + bias` with a' = 2a, b' = 2b for column b of each 2 × 2 block.
#[cfg_attr(target_pointer_width = "64", inline(always))]
pub fn upsample_combine(sums: &Products, bias: f32, activation: Activation, a: usize, row: &mut [f32]) {
    let [s00, s01, s02, s10, s11, s12, s20, s21, s22] = sums;
    let outer = if a == 0 { [s00, s01, s02] } else { [s20, s21, s22] };
    let (mut left, mut right) = ([0.0; LANES], [0.0; LANES]);
    for x in 0..LANES {
        let shared = s11[x] + outer[1][x] + bias;
        left[x] = shared + s10[x] + outer[0][x];
        right[x] = shared + s12[x] + outer[2][x];
    }
    activation.apply(&mut left);
    activation.apply(&mut right);
    for ((left, right), pair) in left.iter().zip(&right).zip(row.as_chunks_mut().0) {
        *pair = [*left, *right];
    }
}

#[cfg(test)]
mod tests {
    use super::super::transform_taps;
    use super::*;
    use crate::quant::to_f16_le;

    const WIDTH: usize = 3;
    const HEIGHT: usize = 4;

    /// Small integers, so that every order of summation is exact.
    fn map() -> [[f32; WIDTH]; HEIGHT] {
        [[1.0, -2.0, 3.0], [4.0, 0.0, -6.0], [7.0, 8.0, -9.0], [-5.0, 2.0, 1.0]]
    }

    fn padded() -> [[f32; WIDTH + 2]; HEIGHT] {
        map().map(|[a, b, c]| [0.0, a, b, c, 0.0])
    }

    fn window(rows: &[[f32; WIDTH + 2]; HEIGHT], y: usize) -> Window<'_> {
        let row = |y: Option<usize>| y.and_then(|y| rows.get(y)).map_or(&[][..], |row| &row[..]);
        Window { rows: [row(y.checked_sub(1)), row(Some(y)), row(Some(y + 1))], width: WIDTH }
    }

    const TAPS: [f32; 9] = [1.0, -2.0, 3.0, 0.5, 4.0, -1.0, 2.0, 7.0, -3.0];

    fn direct(at: impl Fn(isize, isize) -> f32, y: isize, x: isize) -> f32 {
        (0..9).map(|t| TAPS[t as usize] * at(y + t / 3 - 1, x + t % 3 - 1)).sum()
    }

    fn pixel(y: isize, x: isize) -> f32 {
        let inside = (0..HEIGHT as isize).contains(&y) && (0..WIDTH as isize).contains(&x);
        if inside { map()[y as usize][x as usize] } else { 0.0 }
    }

    #[test]
    fn convolution_with_zero_padding_equals_its_definition() {
        let rows = padded();
        let weights: [[u8; 2]; 9] = TAPS.map(to_f16_le);
        for y in 0..HEIGHT {
            let mut sums = [[0.0; LANES]];
            convolve_3x3([&weights], &window(&rows, y), 0, &mut sums);
            for (x, sum) in sums[0].iter().enumerate().take(WIDTH) {
                assert_eq!(*sum, direct(pixel, y as isize, x as isize));
            }
        }
    }

    #[test]
    fn difference_form_equals_upsampling_then_convolving_borders_included() {
        let rows = padded();
        let taps = transform_taps(TAPS).map(to_f16_le);
        let doubled = |y: isize, x: isize| pixel(y.div_euclid(2), x.div_euclid(2));
        for y in 0..HEIGHT {
            let (mut differences, mut sums) = ([[0.0; LANES]; 9], [[[0.0; LANES]; 9]]);
            upsample_differences(&window(&rows, y), 0, 0, &mut differences);
            upsample_accumulate([&taps], &[differences], &mut sums);
            for a in 0..2 {
                let mut row = [0.0; 2 * WIDTH];
                upsample_combine(&sums[0], 10.0, Activation::Identity, a, &mut row);
                for (x, value) in row.iter().enumerate() {
                    assert_eq!(*value, 10.0 + direct(doubled, (2 * y + a) as isize, x as isize), "({y}, {a}, {x})");
                }
            }
        }
    }

    #[test]
    fn relu_takes_not_a_number_to_zero() {
        let mut row = [-1.0, 0.0, 2.0, f32::NAN];
        Activation::Relu.apply(&mut row);
        assert_eq!(row, [0.0, 0.0, 2.0, 0.0]);
    }
}
