//! Work with the columns of a tile side by side, for loops that take one product an instruction: one pointer serves all
//! columns.
//!
//! A tile is four columns. `work` holds for each quad, and in it for each segment, four times four 16-bit lanes: for each
//! of the quad's elements one a column.

use core::fmt::Debug;

use spae_core::kernel::integer::{CHANNELS, Kernel, MAX_COLUMNS, Quad, SEGMENTS, Sums};

use crate::tile::{Shape, neighbourhood};

const COLUMNS: usize = MAX_COLUMNS;

/// Words of a quad of all columns.
pub(crate) const WORDS: usize = 4 * COLUMNS / 2;

/// A kernel of a processor's loops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interleaved<L>(pub L);

/// The loops over quads, one segment at a time.
///
/// Both are called with the shape checked by [`Shape::new`]: with C channels `weights` is [C × N × quads], `work` at least
/// [quads × N × [`WORDS`]], `segment` < N and `quads` ≥ 1.
pub(crate) trait Loops: Debug + Sync {
    /// Sums of segment `segment` of `N` of two channels at all columns, `[channel][column]`.
    fn two_channels<const N: usize>(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [[i32; 4]; 2];

    /// As [`Loops::two_channels`], for a single channel.
    fn one_channel<const N: usize>(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [i32; 4];
}

impl<L: Loops> Kernel for Interleaved<L> {
    fn columns(&self) -> usize {
        COLUMNS
    }

    fn widen(&self, rows: &[&[Quad]], span: usize, step: usize, columns: usize, work: &mut [u32]) {
        for (groups, row) in lanes_mut::<1>(work).chunks_exact_mut(span.max(1)).zip(rows) {
            for x in 0..columns.min(COLUMNS) {
                for (group, quad) in groups.iter_mut().zip(row.get(x * step..).unwrap_or(&[])) {
                    for k in 0..4 {
                        group[0][k][x] = quad[k].into();
                    }
                }
            }
        }
    }

    fn differences(&self, rows: [&[Quad]; 3], quads: usize, columns: usize, work: &mut [u32]) {
        let groups = lanes_mut::<SEGMENTS>(work);
        for x in 0..columns.min(COLUMNS) {
            for (group, [a, b, c, d, e, f, g, h, i]) in groups.iter_mut().zip(neighbourhood(rows, x, quads)) {
                for k in 0..4 {
                    let lane = |quad: &Quad| i16::from(quad[k]);
                    let mut put = |product: usize, value: i16| group[product][k][x] = value;
                    let centre = lane(e);
                    let (left, right) = (lane(d) - centre, lane(f) - centre);
                    put(3, left);
                    put(4, centre);
                    put(5, right);
                    for (first, [corner, r, other]) in [(0, [a, b, c]), (6, [g, h, i])] {
                        let r = lane(r);
                        put(first, lane(corner) - r - left);
                        put(first + 1, r - centre);
                        put(first + 2, lane(other) - r - right);
                    }
                }
            }
        }
    }

    fn multiply(&self, weights: &[Quad], channels: usize, segments: usize, work: &[u32], sums: &mut Sums) {
        match Shape::new(weights, channels, segments, work, WORDS) {
            Some(Shape { segments: 1, quads }) => products::<L, 1>(weights, channels, quads, work, sums),
            Some(Shape { segments: SEGMENTS, quads }) => products::<L, SEGMENTS>(weights, channels, quads, work, sums),
            _ => {}
        }
    }
}

/// The shape has been checked.
fn products<L: Loops, const N: usize>(weights: &[Quad], channels: usize, quads: usize, work: &[u32], sums: &mut Sums) {
    for (segment, sums) in sums.iter_mut().enumerate().take(N) {
        if channels == CHANNELS {
            *sums = L::two_channels::<N>(weights, segment, quads, work);
        } else {
            sums[0] = L::one_channel::<N>(weights, segment, quads, work);
        }
    }
}

/// The lanes of each quad: `[segment][element][column]`.
#[inline(always)]
fn lanes_mut<const N: usize>(work: &mut [u32]) -> &mut [[[[i16; COLUMNS]; 4]; N]] {
    let lanes: &mut [i16] = bytemuck::try_cast_slice_mut(work).unwrap_or(&mut []);
    lanes.as_chunks_mut().0.as_chunks_mut().0.as_chunks_mut().0
}

/// What the loops in assembly do, for one channel: `weights` is [quads].
#[allow(dead_code, reason = "a kernel has it where its own instructions are not available")]
pub(crate) fn emulated<const N: usize>(weights: &[Quad], segment: usize, work: &[u32]) -> [i32; 4] {
    let mut sums = [0i32; COLUMNS];
    let groups = work.as_chunks::<WORDS>().0[segment..].iter().step_by(N);
    for (quad, group) in weights.iter().zip(groups) {
        for (k, &weight) in quad.iter().enumerate() {
            for (x, sum) in sums.iter_mut().enumerate() {
                let activation = (group[2 * k + x / 2] >> (16 * (x % 2))) as u16 as i16;
                *sum = sum.wrapping_add(i32::from(weight as i8) * i32::from(activation));
            }
        }
    }
    sums
}
