//! Arithmetic in 32-bit integers from int8 weights and 8-bit activations, over rows of pixels.
//!
//! A map's row is interleaved: pixel after pixel from the left, one pixel of padding at either end, each pixel its
//! channels in groups of four ([`Quad`]), the last group filled up. Work goes in tiles of a few neighbouring output
//! columns: what their taps multiply is spread out into 16-bit lanes once (a convolution's window, or an upsampling's
//! differences, which take 10 bits), then one product after the other is summed for two output channels at a time.
//!
//! All sums wrap around at 32 bits, so every order of summation gives the same bits, and so does every [`Kernel`]:
//! [`Portable`] is the reference, and faster ones for a processor live outside this crate behind the same trait.

use core::fmt::Debug;

use super::UPSAMPLE_PRODUCTS;
use crate::quant::{addend, requantise};

/// Four neighbouring channels of a pixel, or the four weights that multiply them.
pub type Quad = [u8; 4];

/// The most columns of a tile.
pub const MAX_COLUMNS: usize = 4;

/// Output channels whose products are summed together.
pub const CHANNELS: usize = 2;

/// Segments of an upsampling: one a product of the difference form.
pub const SEGMENTS: usize = UPSAMPLE_PRODUCTS;

/// Sums of a tile: `[segment][channel][column]`. A convolution has one segment, an upsampling nine.
pub type Sums = [[[i32; MAX_COLUMNS]; CHANNELS]; SEGMENTS];

/// Words of the memory that a tile is spread out in: `quads` groups of four taps for each column, two lanes a word.
pub const fn work_len(quads: usize) -> usize {
    MAX_COLUMNS * quads * 2
}

/// How a channel's sums become activations: see [`requantise`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// Added to a sum first.
    pub bias: i32,
    /// What it is shifted to the left by then: 0 to 15.
    pub shift: u8,
    /// What it is multiplied by in the end.
    pub multiplier: i32,
}

/// Activations of an earlier stage that are added to a convolution's sums.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a> {
    /// As those that are made lie.
    pub activations: &'a [u8],
    /// Which of them stands for 0.
    pub zero_point: u8,
    /// See [`addend`].
    pub multiplier: i32,
}

/// The inner loops. How values lie in `work` is the kernel's own affair: it alone writes and reads it.
///
/// Every slice may be of any length, and what is missing of one counts as 0 or stays as it is: a kernel that reaches
/// memory through pointers checks lengths first.
pub trait Kernel: Debug + Sync {
    /// Columns of a tile, 1 to [`MAX_COLUMNS`].
    fn columns(&self) -> usize;

    /// Spreads out what a convolution multiplies: for column x of `columns`, from each of `rows` in turn the `span` quads
    /// that start at quad `x · step`.
    fn widen(&self, rows: &[&[Quad]], span: usize, step: usize, columns: usize, work: &mut [u32]);

    /// Spreads out what an upsampling multiplies: for column x of `columns` the nine groups of `quads` quads of
    /// differences, in the order of the [transformed taps](super::transform_taps). `rows` above, at and below, each
    /// `columns + 2` pixels of `quads` quads: with c the centre, r the pixel above or below, k the one to the left or
    /// right, d a corner, they are c where no neighbour is involved, `r − c`, `k − c` and `(d − r) − (k − c)`.
    fn differences(&self, rows: [&[Quad]; 3], quads: usize, columns: usize, work: &mut [u32]);

    /// Sums of products for `channels` (1 or 2) output channels at all columns of a tile. `weights`: for each channel its
    /// quads of int8, segment after segment; `work` has as many quads for each column. Columns that were not spread out
    /// give any sums.
    fn multiply(&self, weights: &[Quad], channels: usize, segments: usize, work: &[u32], sums: &mut Sums);

    /// Rounds a convolution's sums, `[channel][column]`, for as many channels as there are `scales`: channel c at column x
    /// of `columns` becomes byte `x · pitch + c` of `out`.
    fn round(
        &self,
        sums: &[[i32; MAX_COLUMNS]; CHANNELS],
        scales: &[Scale],
        added: Option<Added<'_>>,
        columns: usize,
        pitch: usize,
        out: &mut [u8],
    ) {
        round(sums, scales, added, columns, pitch, out);
    }

    /// Rounds an upsampling's sums, four a column: `y_ab = s[1,1] + s[a',1] + s[1,b'] + s[a',b']` with a' = 2a, b' = 2b.
    /// Output row a of channel c at column x, b of `columns` becomes byte `(2x + b) · pitch + c` of `out[a]`.
    fn round_blocks(&self, sums: &Sums, scales: &[Scale], columns: usize, pitch: usize, out: [&mut [u8]; 2]) {
        round_blocks(sums, scales, columns, pitch, out);
    }
}

/// The reference: plain loops that compilers turn into vectors where there are any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Portable;

impl Kernel for Portable {
    fn columns(&self) -> usize {
        MAX_COLUMNS
    }

    fn widen(&self, rows: &[&[Quad]], span: usize, step: usize, columns: usize, work: &mut [u32]) {
        let depth = rows.len() * span;
        for (x, column) in columns_mut(work, depth).take(columns).enumerate() {
            for (segment, row) in column.chunks_exact_mut((4 * span).max(1)).zip(rows) {
                let source = row.get(x * step..).unwrap_or(&[]).as_flattened();
                segment.iter_mut().zip(source).for_each(|(lane, &value)| *lane = i16::from(value));
            }
        }
    }

    fn differences(&self, rows: [&[Quad]; 3], quads: usize, columns: usize, work: &mut [u32]) {
        let length = (4 * quads).max(1);
        for (x, column) in columns_mut(work, UPSAMPLE_PRODUCTS * quads).take(columns).enumerate() {
            let pixels = rows.map(|row| [x, x + 1, x + 2].map(|x| pixel(row, x, quads)));
            let [_, middle @ [_, centre, _], _] = pixels;
            for (p, (products, row)) in column.chunks_exact_mut(3 * length).zip(pixels).enumerate() {
                let [_, r, _] = row;
                for (q, ((lanes, d), k)) in products.chunks_exact_mut(length).zip(row).zip(middle).enumerate() {
                    let lanes = lanes.iter_mut();
                    match (p, q) {
                        (1, 1) => lanes.zip(centre).for_each(|(lane, &c)| *lane = i16::from(c)),
                        (1, _) | (_, 1) => {
                            let differences = d.iter().zip(centre).map(|(&d, &c)| i16::from(d) - i16::from(c));
                            lanes.zip(differences).for_each(|(lane, difference)| *lane = difference);
                        }
                        _ => lanes.zip(d.iter().zip(r).zip(k.iter().zip(centre))).for_each(
                            |(lane, ((&d, &r), (&k, &c)))| {
                                *lane = (i16::from(d) - i16::from(r)) - (i16::from(k) - i16::from(c));
                            },
                        ),
                    }
                }
            }
        }
    }

    fn multiply(&self, weights: &[Quad], channels: usize, segments: usize, work: &[u32], sums: &mut Sums) {
        let depth = weights.len().checked_div(channels).unwrap_or(0);
        let length = depth.checked_div(segments).unwrap_or(0);
        let lanes: &[i16] = bytemuck::try_cast_slice(work).unwrap_or(&[]);
        let column = |x: usize, segment: usize| {
            let lanes = lanes.get(4 * (x * depth + segment * length)..).unwrap_or(&[]);
            lanes.as_chunks::<4>().0.get(..length).unwrap_or(&[])
        };
        let row = |channel: usize, segment: usize| {
            weights.get(channel * depth + segment * length..).and_then(|row| row.get(..length)).unwrap_or(&[])
        };
        for (segment, sums) in sums.iter_mut().enumerate().take(segments) {
            let columns = [0, 1, 2, 3].map(|x| column(x, segment));
            if channels == CHANNELS {
                *sums = dot_two([row(0, segment), row(1, segment)], columns);
            } else {
                sums[0] = dot_one(row(0, segment), columns);
            }
        }
    }
}

/// The channels of pixel `x` of a row; none if it is not there.
fn pixel(row: &[Quad], x: usize, quads: usize) -> &[u8] {
    row.get(x * quads..).and_then(|pixels| pixels.get(..quads)).unwrap_or(&[]).as_flattened()
}

/// The lanes of each column in turn, `4 · quads` each.
#[inline]
fn columns_mut(work: &mut [u32], quads: usize) -> impl Iterator<Item = &mut [i16]> {
    let lanes: &mut [i16] = bytemuck::try_cast_slice_mut(work).unwrap_or(&mut []);
    lanes.chunks_exact_mut((4 * quads).max(1))
}

/// Taps whose loads stand together: more of them spill registers, fewer leave pointers to be moved more often.
const STEP: usize = 1;

fn dot_one(weights: &[Quad], [a, b, c, d]: [&[[i16; 4]]; MAX_COLUMNS]) -> [i32; MAX_COLUMNS] {
    let mut sums = [0i32; MAX_COLUMNS];
    let weights = weights.as_flattened().as_chunks::<STEP>().0;
    let [a, b, c, d] = [a, b, c, d].map(|column| column.as_flattened().as_chunks::<STEP>().0);
    for (weights, ((a, b), (c, d))) in weights.iter().zip(a.iter().zip(b).zip(c.iter().zip(d))) {
        for k in 0..STEP {
            let weight = i32::from(weights[k] as i8);
            let lanes = [a[k], b[k], c[k], d[k]];
            for x in 0..MAX_COLUMNS {
                sums[x] = sums[x].wrapping_add(weight * i32::from(lanes[x]));
            }
        }
    }
    sums
}

fn dot_two([v, w]: [&[Quad]; CHANNELS], [a, b, c, d]: [&[[i16; 4]]; MAX_COLUMNS]) -> [[i32; MAX_COLUMNS]; CHANNELS] {
    let mut sums = [[0i32; MAX_COLUMNS]; CHANNELS];
    let [v, w] = [v, w].map(|row| row.as_flattened().as_chunks::<STEP>().0);
    let [a, b, c, d] = [a, b, c, d].map(|column| column.as_flattened().as_chunks::<STEP>().0);
    for ((v, w), ((a, b), (c, d))) in v.iter().zip(w).zip(a.iter().zip(b).zip(c.iter().zip(d))) {
        for k in 0..STEP {
            let (v, w) = (i32::from(v[k] as i8), i32::from(w[k] as i8));
            let lanes = [a[k], b[k], c[k], d[k]];
            for x in 0..MAX_COLUMNS {
                let lane = i32::from(lanes[x]);
                sums[0][x] = sums[0][x].wrapping_add(v * lane);
                sums[1][x] = sums[1][x].wrapping_add(w * lane);
            }
        }
    }
    sums
}

impl Scale {
    /// An activation of a sum alone.
    #[inline(always)]
    fn apply(self, sum: i32) -> u8 {
        requantise(sum.wrapping_add(self.bias), self.shift, self.multiplier, 0)
    }
}

/// [`Kernel::round`].
#[inline(always)]
fn round(
    sums: &[[i32; MAX_COLUMNS]; CHANNELS],
    scales: &[Scale],
    added: Option<Added<'_>>,
    columns: usize,
    pitch: usize,
    out: &mut [u8],
) {
    for (channel, (&scale, sums)) in scales.iter().zip(sums).enumerate() {
        let sums = sums.iter().take(columns);
        let mut at = channel;
        if let Some(Added { activations, zero_point, multiplier }) = added {
            let Scale { bias, shift, multiplier: of_sum } = scale;
            for &sum in sums {
                let (Some(place), Some(&value)) = (out.get_mut(at), activations.get(at)) else { break };
                let addend = addend(i16::from(value) - i16::from(zero_point), multiplier);
                *place = requantise(sum.wrapping_add(bias), shift, of_sum, addend);
                at = at.wrapping_add(pitch);
            }
        } else {
            for &sum in sums {
                let Some(place) = out.get_mut(at) else { break };
                *place = scale.apply(sum);
                at = at.wrapping_add(pitch);
            }
        }
    }
}

/// [`Kernel::round_blocks`].
#[inline(always)]
fn round_blocks(sums: &Sums, scales: &[Scale], columns: usize, pitch: usize, [upper, lower]: [&mut [u8]; 2]) {
    let length = upper.len().min(lower.len());
    let (Some(upper), Some(lower)) = (upper.get_mut(..length), lower.get_mut(..length)) else { return };
    for (channel, &scale) in (0..CHANNELS).zip(scales) {
        let mut at = channel;
        for x in 0..columns.min(MAX_COLUMNS) {
            let s = |product: usize| sums[product][channel][x];
            let next = at.wrapping_add(pitch);
            // Two comparisons serve all four.
            if at >= length || next >= length {
                break;
            }
            for (row, a) in [(&mut *upper, 0), (&mut *lower, 6)] {
                let shared = s(4).wrapping_add(s(a + 1));
                let y = |b: usize| scale.apply(shared.wrapping_add(s(3 + b)).wrapping_add(s(a + b)));
                (row[at], row[next]) = (y(0), y(2));
            }
            at = next.wrapping_add(pitch);
        }
    }
}
