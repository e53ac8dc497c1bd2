//! The arithmetic of one feature-map row: slices in, slices out; no files and no geometry.
//!
//! A map's row is planar: channel after channel, each `width` values between two zeros that stand for the padding.
//! Weights are binary16, widened once and used for a whole row. Every output is one fixed sequence of f32 products
//! and sums, and only different outputs share a vector register, so all processors give the same bits.

use crate::quant::f16_le;

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

impl<'a> Window<'a> {
    /// Channel `channel` of row `row` with its padding, or nothing beyond the picture's edge.
    fn channel(&self, row: usize, channel: usize) -> Option<&'a [f32]> {
        let stride = self.width + 2;
        self.rows.get(row)?.get(channel * stride..(channel + 1) * stride)
    }
}

/// `sums[x] += weight · row[x]`.
fn multiply_add(sums: &mut [f32], row: &[f32], weight: f32) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += weight * value;
    }
}

/// One output channel of a 1×1 convolution, added to `sums` [width]. `weights`: binary16, one an input channel.
pub fn convolve_1x1(weights: &[u8], window: &Window<'_>, sums: &mut [f32]) {
    for (channel, weight) in weights.as_chunks().0.iter().enumerate() {
        if let Some(row) = window.channel(1, channel).and_then(|row| row.get(1..)) {
            multiply_add(sums, row, f16_le(*weight));
        }
    }
}

/// One output channel of a 3×3 convolution with zero padding, added to `sums` [width]. `weights`: binary16
/// [input channels × 3 × 3].
pub fn convolve_3x3(weights: &[u8], window: &Window<'_>, sums: &mut [f32]) {
    for (channel, taps) in weights.as_chunks::<18>().0.iter().enumerate() {
        for (row, taps) in taps.as_chunks::<6>().0.iter().enumerate() {
            let Some(values) = window.channel(row, channel) else { continue };
            for (column, tap) in taps.as_chunks().0.iter().enumerate() {
                if let Some(shifted) = values.get(column..) {
                    multiply_add(sums, shifted, f16_le(*tap));
                }
            }
        }
    }
}

/// Products of the difference form, in the order of the transformed taps.
pub const UPSAMPLE_PRODUCTS: usize = 9;

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

/// What the nine transformed taps of one input channel multiply, [9 × width]: the centre c where no neighbour is
/// involved, `r − c` for a row neighbour, `k − c` for a column neighbour, `d − r − k + c` for a corner.
pub fn upsample_differences(window: &Window<'_>, channel: usize, differences: &mut [f32]) {
    let width = window.width;
    let Some(centre) = window.channel(1, channel) else { return };
    for (product, out) in differences.chunks_exact_mut(width.max(1)).take(UPSAMPLE_PRODUCTS).enumerate() {
        let (p, q) = (product / 3, product % 3);
        let neighbour = window.channel(p, channel);
        for (x, out) in out.iter_mut().enumerate() {
            let at = |row: Option<&[f32]>, column: usize| row.and_then(|row| row.get(column)).copied().unwrap_or(0.0);
            let c = at(Some(centre), x + 1);
            let r = at(neighbour, x + 1);
            let k = at(Some(centre), x + q);
            *out = match (p == 1, q == 1) {
                (true, true) => c,
                (false, true) => r - c,
                (true, false) => k - c,
                (false, false) => at(neighbour, x + q) - r - k + c,
            };
        }
    }
}

/// Adds one input channel's products to the sums of every output channel. `taps`: binary16 [outputs × 9];
/// `sums` [outputs × 9 × width].
pub fn upsample_accumulate(taps: &[u8], differences: &[f32], width: usize, sums: &mut [f32]) {
    let rows = sums.chunks_exact_mut(width.max(1));
    for (index, (tap, sums)) in taps.as_chunks().0.iter().zip(rows).enumerate() {
        let start = index % UPSAMPLE_PRODUCTS * width;
        if let Some(differences) = differences.get(start..start + width) {
            multiply_add(sums, differences, f16_le(*tap));
        }
    }
}

/// Output row `a` (0 or 1) [2·width] of one output channel from its nine sums [9 × width]:
/// `y_ab = s[1,1] + s[a',1] + s[1,b'] + s[a',b'] + bias` with a' = 2a, b' = 2b for column b of each 2 × 2 block.
pub fn upsample_combine(sums: &[f32], width: usize, bias: f32, a: usize, row: &mut [f32]) {
    let sum = |p: usize, q: usize, x: usize| sums.get((3 * p + q) * width + x).copied().unwrap_or(0.0);
    for (x, pair) in row.as_chunks_mut::<2>().0.iter_mut().take(width).enumerate() {
        for (value, q) in pair.iter_mut().zip([0, 2]) {
            *value = sum(1, 1, x) + sum(2 * a, 1, x) + sum(1, q, x) + sum(2 * a, q, x) + bias;
        }
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
            let mut sums = [0.0; WIDTH];
            convolve_3x3(weights.as_flattened(), &window(&rows, y), &mut sums);
            for (x, sum) in sums.iter().enumerate() {
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
            let (mut differences, mut sums) = ([0.0; 9 * WIDTH], [0.0; 9 * WIDTH]);
            upsample_differences(&window(&rows, y), 0, &mut differences);
            upsample_accumulate(taps.as_flattened(), &differences, WIDTH, &mut sums);
            for a in 0..2 {
                let mut row = [0.0; 2 * WIDTH];
                upsample_combine(&sums, WIDTH, 10.0, a, &mut row);
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
