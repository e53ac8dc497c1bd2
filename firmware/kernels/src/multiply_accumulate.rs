//! Armv7-M: one product an instruction, eight sums in registers.
//!
//! A tile is four columns. `work` holds for each channel or tap four 16-bit lanes, one a column.

use spae_core::kernel::integer::{CHANNELS, Kernel, MAX_COLUMNS, Quad, SEGMENTS, Sums};

use crate::shape::Shape;

const COLUMNS: usize = MAX_COLUMNS;

/// Words of a quad of all columns.
const WORDS: usize = 4 * COLUMNS / 2;

/// Loops for Armv7-M.
#[derive(Clone, Copy, Debug, Default)]
pub struct MultiplyAccumulate;

impl Kernel for MultiplyAccumulate {
    fn columns(&self) -> usize {
        COLUMNS
    }

    fn widen(&self, rows: &[&[Quad]], span: usize, step: usize, columns: usize, work: &mut [u32]) {
        let groups = work.as_chunks_mut::<WORDS>().0;
        for (groups, row) in groups.chunks_exact_mut(span.max(1)).zip(rows) {
            for pair in 0..columns.min(COLUMNS).div_ceil(2) {
                let column = |x: usize| row.get(x * step..).unwrap_or(&[]);
                // The last tile may have an odd number of columns; what stands beside it is dropped.
                let (left, right) = (column(2 * pair), column(2 * pair + 1));
                let right = if right.len() < groups.len() { left } else { right };
                for ((group, left), right) in groups.iter_mut().zip(left).zip(right) {
                    for k in 0..4 {
                        group[2 * k + pair] = u32::from(left[k]) | u32::from(right[k]) << 16;
                    }
                }
            }
        }
    }

    fn differences(&self, rows: [&[Quad]; 3], quads: usize, columns: usize, work: &mut [u32]) {
        let mut groups = work.as_chunks_mut::<WORDS>().0.chunks_exact_mut(quads.max(1));
        let mut products: [&mut [[u32; WORDS]]; SEGMENTS] = core::array::from_fn(|_| groups.next().unwrap_or_default());
        for pair in 0..columns.min(COLUMNS).div_ceil(2) {
            for quad in 0..quads {
                // Four neighbouring pixels of each row: both columns and what is beside them.
                let pixels = rows.map(|row| {
                    [0, 1, 2, 3].map(|shift| row.get((2 * pair + shift) * quads + quad).copied().unwrap_or_default())
                });
                for k in 0..4 {
                    let [above, at, below] = pixels.map(|row| row.map(|quad| i32::from(quad[k])));
                    let spread = |x: usize| {
                        let c = at[x + 1];
                        let k = [at[x] - c, at[x + 2] - c];
                        let outer = |row: [i32; 4]| {
                            let r = row[x + 1];
                            [row[x] - r - k[0], r - c, row[x + 2] - r - k[1]]
                        };
                        let ([t0, t1, t2], [t6, t7, t8]) = (outer(above), outer(below));
                        [t0, t1, t2, k[0], c, k[1], t6, t7, t8]
                    };
                    let (left, right) = (spread(0), spread(1));
                    for ((product, left), right) in products.iter_mut().zip(left).zip(right) {
                        if let Some(group) = product.get_mut(quad) {
                            group[2 * k + pair] = left as u32 & 0xFFFF | (right as u32) << 16;
                        }
                    }
                }
            }
        }
    }

    fn multiply(&self, weights: &[Quad], channels: usize, segments: usize, work: &[u32], sums: &mut Sums) {
        let Some(Shape { segments, quads }) = Shape::new(weights, channels, segments, work, WORDS) else { return };
        for (segment, sums) in sums.iter_mut().enumerate().take(segments) {
            if channels == CHANNELS {
                *sums = two_channels(weights, segments, segment, quads, work);
            } else {
                sums[0] = one_channel(weights, segment, quads, work);
            }
        }
    }
}

/// Sums of segment `segment` of two channels at all columns, `[channel][column]`. The shape has been checked: `weights`
/// is [2 × segments × quads], `work` at least [segments × quads × 8].
#[inline(always)]
fn two_channels(weights: &[Quad], segments: usize, segment: usize, quads: usize, work: &[u32]) -> [[i32; 4]; 2] {
    #[cfg(processor = "armv7m")]
    {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = [0; 8];
        // SAFETY: `Shape::new` has found segments · quads · 2 ≤ weights.len(), segments · quads · 8 ≤ work.len() and
        // quads ≥ 1, and segment < segments. So the row pointers start at elements of `weights`, and the loop reads
        // 4 · quads bytes from each, up to the end of quad (segment + 1)·quads − 1 and of quad
        // (segments + segment + 1)·quads − 1 of `weights`; and from `at` 16 · quads half-words, up to the end of word
        // 8·(segment + 1)·quads − 1 of `work`, each aligned to 2 bytes. Nothing is written to memory but the three words
        // pushed, which are popped. r6 and r7, which the compiler may keep for itself, are as before at the end.
        unsafe {
            let row = weights.as_ptr().add(segment * quads);
            core::arch::asm!(
                "push {{r6, r7}}",
                "push {{{n}}}",
                "2:",
                ".rept 4",
                "ldrsb r6, [{row}], #1",
                "ldrsb r7, [{other}], #1",
                "ldrsh {n}, [{at}], #2",
                "mla {a}, r6, {n}, {a}",
                "mla {e}, r7, {n}, {e}",
                "ldrsh {n}, [{at}], #2",
                "mla {b}, r6, {n}, {b}",
                "mla {f}, r7, {n}, {f}",
                "ldrsh {n}, [{at}], #2",
                "mla {c}, r6, {n}, {c}",
                "mla {g}, r7, {n}, {g}",
                "ldrsh {n}, [{at}], #2",
                "mla {d}, r6, {n}, {d}",
                "mla {h}, r7, {n}, {h}",
                ".endr",
                "ldr {n}, [sp]",
                "subs {n}, #1",
                "str {n}, [sp]",
                "bne 2b",
                "pop {{{n}}}",
                "pop {{r6, r7}}",
                row = inout(reg) row => _,
                other = inout(reg) row.add(segments * quads) => _,
                at = inout(reg) work.as_ptr().add(segment * quads * WORDS) => _,
                n = inout(reg) quads => _,
                a = inout(reg) a,
                b = inout(reg) b,
                c = inout(reg) c,
                d = inout(reg) d,
                e = inout(reg) e,
                f = inout(reg) f,
                g = inout(reg) g,
                h = inout(reg) h,
            );
        }
        [[a, b, c, d], [e, f, g, h]]
    }
    #[cfg(not(processor = "armv7m"))]
    {
        let row = |channel: usize| emulated(&weights[(channel * segments + segment) * quads..][..quads], segment, work);
        [row(0), row(1)]
    }
}

/// As [`two_channels`], for a single channel: `weights` is [segments × quads].
#[inline(always)]
fn one_channel(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [i32; 4] {
    #[cfg(processor = "armv7m")]
    {
        let [mut a, mut b, mut c, mut d] = [0; 4];
        // SAFETY: as in `two_channels`, with one row of `weights` and nothing pushed.
        unsafe {
            core::arch::asm!(
                "2:",
                ".rept 4",
                "ldrsb {w}, [{row}], #1",
                "ldrsh {x}, [{at}], #2",
                "mla {a}, {w}, {x}, {a}",
                "ldrsh {x}, [{at}], #2",
                "mla {b}, {w}, {x}, {b}",
                "ldrsh {x}, [{at}], #2",
                "mla {c}, {w}, {x}, {c}",
                "ldrsh {x}, [{at}], #2",
                "mla {d}, {w}, {x}, {d}",
                ".endr",
                "subs {n}, #1",
                "bne 2b",
                row = inout(reg) weights.as_ptr().add(segment * quads) => _,
                at = inout(reg) work.as_ptr().add(segment * quads * WORDS) => _,
                n = inout(reg) quads => _,
                a = inout(reg) a,
                b = inout(reg) b,
                c = inout(reg) c,
                d = inout(reg) d,
                w = out(reg) _,
                x = out(reg) _,
                options(readonly, nostack),
            );
        }
        [a, b, c, d]
    }
    #[cfg(not(processor = "armv7m"))]
    {
        emulated(&weights[segment * quads..][..quads], segment, work)
    }
}

/// What the loops in assembly do, for one channel.
#[cfg(not(processor = "armv7m"))]
fn emulated(weights: &[Quad], segment: usize, work: &[u32]) -> [i32; 4] {
    let mut sums = [0i32; COLUMNS];
    let groups = work.as_chunks::<WORDS>().0[segment * weights.len()..].iter();
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
