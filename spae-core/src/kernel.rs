//! The arithmetic of a feature map's rows: slices in, slices out; no files and no geometry.
//!
//! A map's row is planar: channel after channel, each `width` values between two zeros that stand for the padding.
//! Work goes in blocks of [`LANES`] neighbouring columns, so that sums stay in registers and a loop over lanes becomes
//! vector instructions; columns behind the row's end are computed from zeros and dropped. Weights are binary16 and
//! widened once a block. Every output is one fixed sequence of f32 products and sums, and only different outputs share
//! a vector register, so all processors give the same bits.

use crate::quant::{f16_le, widen};

/// Columns that are computed together.
pub const LANES: usize = 8;

/// One value a column of a block.
pub type Lanes = [f32; LANES];

/// What follows a stage's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// Applies it to a row.
    pub fn apply(self, row: &mut [f32]) {
        if self == Self::Relu {
            for value in row {
                // Not-a-number becomes 0 on every processor.
                *value = if *value > 0.0 { *value } else { 0.0 };
            }
        }
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

impl Window<'_> {
    /// `N` values of channel `channel` of row `row` from padded column `start` on, zeros behind its end; `None` beyond
    /// the picture's edge.
    #[inline]
    fn values<const N: usize>(&self, row: usize, channel: usize, start: usize) -> Option<[f32; N]> {
        let stride = self.width.checked_add(2)?;
        let at = channel.checked_mul(stride)?;
        let row = self.rows.get(row)?.get(at..at.checked_add(stride)?)?.get(start..)?;
        Some(row.first_chunk().copied().unwrap_or_else(|| {
            let mut values = [0.0; N];
            values.iter_mut().zip(row).for_each(|(value, stored)| *value = *stored);
            values
        }))
    }
}

/// `sums[x] += weight · values[x]`.
#[inline]
fn multiply_add(sums: &mut Lanes, values: &[f32], weight: f32) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += weight * value;
    }
}

/// A 1×1 convolution's products for `N` output channels, added to their sums at the columns from `start` on.
/// `weights`: binary16, for each output channel one an input channel.
pub fn convolve_1x1<const N: usize>(weights: [&[u8]; N], window: &Window<'_>, start: usize, sums: &mut [Lanes; N]) {
    let taps = weights.map(|weights| weights.as_chunks().0);
    for channel in 0..taps.first().map_or(0, |taps| taps.len()) {
        let Some(values) = window.values::<LANES>(1, channel, start + 1) else { return };
        for (sums, taps) in sums.iter_mut().zip(taps) {
            multiply_add(sums, &values, taps.get(channel).map_or(0.0, |tap| f16_le(*tap)));
        }
    }
}

/// A 3×3 convolution's products, with zero padding, for `N` output channels, added to their sums at the columns from
/// `start` on. `weights`: binary16, for each output channel [input channels × 3 × 3].
pub fn convolve_3x3<const N: usize>(weights: [&[u8]; N], window: &Window<'_>, start: usize, sums: &mut [Lanes; N]) {
    let taps = weights.map(|weights| weights.as_chunks().0.as_chunks::<9>().0);
    for channel in 0..taps.first().map_or(0, |taps| taps.len()) {
        let mut widened = [[0.0; 9]; N];
        for (widened, taps) in widened.iter_mut().zip(&taps) {
            *widened = taps.get(channel).map_or([0.0; 9], widen);
        }
        for row in 0..3 {
            let Some(values) = window.values::<{ LANES + 2 }>(row, channel, start) else { continue };
            for (column, values) in values.windows(LANES).enumerate() {
                for (sums, taps) in sums.iter_mut().zip(&widened) {
                    multiply_add(sums, values, taps[3 * row + column]);
                }
            }
        }
    }
}

/// Products of the difference form, in the order of the transformed taps.
pub const UPSAMPLE_PRODUCTS: usize = 9;

/// Output channels of an upsampling that are computed together.
pub const UPSAMPLE_CHANNELS: usize = 8;

/// Elements of the memory that an upsampling works in: the differences and the sums of one block.
pub const UPSAMPLE_WORK: usize = UPSAMPLE_PRODUCTS * LANES * (1 + UPSAMPLE_CHANNELS);

/// One block of columns of each product.
pub type Products = [Lanes; UPSAMPLE_PRODUCTS];

/// The transformed taps of a 3×3 kernel behind a nearest ×2 upsampling: `t = T·w·Tᵀ`, `T = [[1,0,0],[1,1,1],[0,0,1]]`.
/// Both row-major; w ↔ t is a bijection.
pub fn transform_taps(w: [f32; 9]) -> [f32; UPSAMPLE_PRODUCTS] {
    let fold = |a: f32, b: f32, c: f32| [a, a + b + c, c];
    let [a, b, c, d, e, f, g, h, i] = w;
    let columns = [fold(a, b, c), fold(d, e, f), fold(g, h, i)];
    let mut t = [0.0; UPSAMPLE_PRODUCTS];
    for q in 0..3 {
        let [top, middle, bottom] = fold(columns[0][q], columns[1][q], columns[2][q]);
        (t[q], t[3 + q], t[6 + q]) = (top, middle, bottom);
    }
    t
}

/// What the nine transformed taps of one input channel multiply, at the columns from `start` on: the centre c where no
/// neighbour is involved, `r − c` for a row neighbour, `k − c` for a column neighbour, `(d − r) − (k − c)` for a corner.
pub fn upsample_differences(window: &Window<'_>, channel: usize, start: usize, differences: &mut Products) {
    let rows = [0, 1, 2].map(|row| window.values::<{ LANES + 2 }>(row, channel, start).unwrap_or([0.0; LANES + 2]));
    let [above, centre, below] = &rows;
    for x in 0..LANES {
        let c = centre[x + 1];
        let k = [centre[x] - c, centre[x + 2] - c];
        (differences[3][x], differences[4][x], differences[5][x]) = (k[0], c, k[1]);
        for (p, row) in [(0, above), (6, below)] {
            let r = row[x + 1];
            differences[p][x] = (row[x] - r) - k[0];
            differences[p + 1][x] = r - c;
            differences[p + 2][x] = (row[x + 2] - r) - k[1];
        }
    }
}

/// Adds one input channel's products to the sums of output channels. `taps`: binary16 [outputs × 9].
pub fn upsample_accumulate(taps: &[u8], differences: &Products, sums: &mut [Products]) {
    for (taps, sums) in taps.as_chunks().0.as_chunks::<UPSAMPLE_PRODUCTS>().0.iter().zip(sums) {
        let taps = widen(taps);
        for ((sums, differences), tap) in sums.iter_mut().zip(differences).zip(taps) {
            multiply_add(sums, differences, tap);
        }
    }
}

/// Output row `a` (0 or 1) of one output channel from its nine sums; `row` takes two columns for each of the block's.
/// `y_ab = s[1,1] + s[a',1] + s[1,b'] + s[a',b'] + bias` with a' = 2a, b' = 2b for column b of each 2 × 2 block.
pub fn upsample_combine(sums: &Products, bias: f32, a: usize, row: &mut [f32]) {
    let [s00, s01, s02, s10, s11, s12, s20, s21, s22] = sums;
    let outer = if a == 0 { [s00, s01, s02] } else { [s20, s21, s22] };
    for (x, pair) in row.as_chunks_mut().0.iter_mut().take(LANES).enumerate() {
        let shared = s11[x] + outer[1][x] + bias;
        *pair = [shared + s10[x] + outer[0][x], shared + s12[x] + outer[2][x]];
    }
}

#[cfg(test)]
mod tests {
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
            convolve_3x3([weights.as_flattened()], &window(&rows, y), 0, &mut sums);
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
            upsample_accumulate(taps.as_flattened(), &differences, &mut sums);
            for a in 0..2 {
                let mut row = [0.0; 2 * WIDTH];
                upsample_combine(&sums[0], 10.0, a, &mut row);
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
