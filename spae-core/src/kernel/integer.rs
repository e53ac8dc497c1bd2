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
        for (x, column) in columns_mut(work, UPSAMPLE_PRODUCTS * quads).take(columns).enumerate() {
            let at = |row: usize, shift: usize| {
                rows[row]
                    .get((x + shift) * quads..)
                    .and_then(|pixels| pixels.get(..quads))
                    .unwrap_or(&[])
                    .as_flattened()
            };
            let centre = at(1, 1);
            for (product, lanes) in column.chunks_exact_mut((4 * quads).max(1)).enumerate() {
                let (p, q) = (product / 3, product % 3);
                match (p, q) {
                    (1, 1) => lanes.iter_mut().zip(centre).for_each(|(lane, &c)| *lane = i16::from(c)),
                    (1, _) | (_, 1) => {
                        let neighbours = at(p, q).iter().zip(centre);
                        lanes
                            .iter_mut()
                            .zip(neighbours)
                            .for_each(|(lane, (&a, &c))| *lane = i16::from(a) - i16::from(c));
                    }
                    _ => {
                        let corners = at(p, q).iter().zip(at(p, 1)).zip(at(1, q)).zip(centre);
                        lanes.iter_mut().zip(corners).for_each(|(lane, (((&d, &r), &k), &c))| {
                            *lane = (i16::from(d) - i16::from(r)) - (i16::from(k) - i16::from(c));
                        });
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
