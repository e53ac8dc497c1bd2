//! Armv7E-M: two products an instruction.
//!
//! A tile is two columns. Bytes 0 and 2 of a quad become the lanes of one word and bytes 1 and 3 of another (UXTB16,
//! without and with rotation), for activations as they are spread out and for weights in the loop; the order of a sum
//! does not matter. So `work` holds for each quad four words: lanes 0, 2 and 1, 3 of column 0, then of column 1.

use spae_core::kernel::integer::{CHANNELS, Kernel, Quad, SEGMENTS, Sums};

use crate::shape::Shape;

const COLUMNS: usize = 2;

/// Words of a quad of both columns.
const WORDS: usize = 2 * COLUMNS;

/// Loops for Armv7E-M.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dsp;

impl Kernel for Dsp {
    fn columns(&self) -> usize {
        COLUMNS
    }

    fn widen(&self, rows: &[&[Quad]], span: usize, step: usize, columns: usize, work: &mut [u32]) {
        let groups = work.as_chunks_mut::<WORDS>().0;
        for (groups, row) in groups.chunks_exact_mut(span.max(1)).zip(rows) {
            for x in 0..columns.min(COLUMNS) {
                let quads = row.get(x * step..).unwrap_or(&[]);
                for (group, quad) in groups.iter_mut().zip(quads) {
                    [group[2 * x], group[2 * x + 1]] = lanes(*quad);
                }
            }
        }
    }

    fn differences(&self, rows: [&[Quad]; 3], quads: usize, columns: usize, work: &mut [u32]) {
        let mut groups = work.as_chunks_mut::<WORDS>().0.chunks_exact_mut(quads.max(1));
        let mut products: [&mut [[u32; WORDS]]; SEGMENTS] = core::array::from_fn(|_| groups.next().unwrap_or_default());
        for x in 0..columns.min(COLUMNS) {
            for quad in 0..quads {
                let [above, at, below] = rows.map(|row| {
                    [0, 1, 2].map(|shift| lanes(row.get((x + shift) * quads + quad).copied().unwrap_or_default()))
                });
                for half in 0..2 {
                    let [left, c, right] = at.map(|lanes| lanes[half]);
                    let k = [subtract(left, c), subtract(right, c)];
                    let outer = |[left, r, right]: [[u32; 2]; 3]| {
                        let (left, r, right) = (left[half], r[half], right[half]);
                        let corner = |d: u32, k: u32| subtract(subtract(d, r), k);
                        [corner(left, k[0]), subtract(r, c), corner(right, k[1])]
                    };
                    let [t0, t1, t2] = outer(above);
                    let [t6, t7, t8] = outer(below);
                    for (product, value) in products.iter_mut().zip([t0, t1, t2, k[0], c, k[1], t6, t7, t8]) {
                        if let Some(group) = product.get_mut(quad) {
                            group[2 * x + half] = value;
                        }
                    }
                }
            }
        }
    }

    fn multiply(&self, weights: &[Quad], channels: usize, segments: usize, work: &[u32], sums: &mut Sums) {
        let Some(Shape { segments, quads }) = Shape::new(weights, channels, segments, work, WORDS) else { return };
        if channels == CHANNELS {
            for (segment, sums) in sums.iter_mut().enumerate().take(segments) {
                let [first, second] = two_channels(weights, segments, segment, quads, work);
                [sums[0][0], sums[0][1]] = first;
                [sums[1][0], sums[1][1]] = second;
            }
        } else {
            for (segment, sums) in sums.iter_mut().enumerate().take(segments) {
                [sums[0][0], sums[0][1]] = one_channel(weights, segment, quads, work);
            }
        }
    }
}

/// Bytes 0 and 2, and bytes 1 and 3.
#[inline(always)]
fn lanes(quad: Quad) -> [u32; 2] {
    const LOW: u32 = 0x00FF_00FF;
    let word = u32::from_le_bytes(quad);
    [word & LOW, word >> 8 & LOW]
}

/// Differences of both 16-bit lanes.
#[inline(always)]
fn subtract(a: u32, b: u32) -> u32 {
    #[cfg(processor = "armv7em")]
    {
        let difference;
        // SAFETY: the instruction reads two registers and writes one (and flags that Rust does not use).
        unsafe {
            core::arch::asm!("ssub16 {}, {}, {}", lateout(reg) difference, in(reg) a, in(reg) b,
                options(pure, nomem, nostack, preserves_flags));
        }
        difference
    }
    #[cfg(not(processor = "armv7em"))]
    {
        let low = a.wrapping_sub(b) & 0xFFFF;
        (a >> 16).wrapping_sub(b >> 16) << 16 | low
    }
}

/// Sums of segment `segment` of two channels at both columns, `[channel][column]`. The shape has been checked: `weights`
/// is [2 × segments × quads], `work` at least [segments × quads × 4].
#[inline(always)]
fn two_channels(weights: &[Quad], segments: usize, segment: usize, quads: usize, work: &[u32]) -> [[i32; 2]; 2] {
    #[cfg(processor = "armv7em")]
    {
        let (mut a, mut b, mut c, mut d) = (0, 0, 0, 0);
        // SAFETY: `Shape::new` has found segments · quads · 2 ≤ weights.len(), segments · quads · 4 ≤ work.len() and
        // quads ≥ 1, and segment < segments. So the row pointers start at elements of `weights`, and the loop reads
        // `quads` words from each, the last ones being quads (segment + 1)·quads − 1 and (segments + segment + 1)·quads − 1
        // of `weights`; and from `at` 4 · quads words, up to word 4·(segment + 1)·quads − 1 of `work`. LDR allows any
        // alignment on Armv7E-M; LDRD, which does not, reads from `work`, whose elements are aligned to 4 bytes. Nothing
        // is written to memory but the two words pushed, which are popped. r6 and r7, which the compiler may keep for
        // itself, are as before at the end.
        unsafe {
            let row = weights.as_ptr().add(segment * quads);
            core::arch::asm!(
                "push {{r6, r7}}",
                // An odd number of quads starts in the middle.
                "lsrs {n}, {n}, #1",
                "bcc 2f",
                "adds {n}, #1",
                "b 3f",
                "2:",
                "ldr {v}, [{row}], #4",
                "ldr {w}, [{other}], #4",
                "ldrd r6, r7, [{at}], #8",
                "sxtb16 {x}, {v}",
                "sxtb16 {v}, {v}, ror #8",
                "sxtb16 {y}, {w}",
                "sxtb16 {w}, {w}, ror #8",
                "smlad {a}, {x}, r6, {a}",
                "smlad {c}, {y}, r6, {c}",
                "smlad {a}, {v}, r7, {a}",
                "smlad {c}, {w}, r7, {c}",
                "ldrd r6, r7, [{at}], #8",
                "smlad {b}, {x}, r6, {b}",
                "smlad {d}, {y}, r6, {d}",
                "smlad {b}, {v}, r7, {b}",
                "smlad {d}, {w}, r7, {d}",
                "3:",
                "ldr {v}, [{row}], #4",
                "ldr {w}, [{other}], #4",
                "ldrd r6, r7, [{at}], #8",
                "sxtb16 {x}, {v}",
                "sxtb16 {v}, {v}, ror #8",
                "sxtb16 {y}, {w}",
                "sxtb16 {w}, {w}, ror #8",
                "smlad {a}, {x}, r6, {a}",
                "smlad {c}, {y}, r6, {c}",
                "smlad {a}, {v}, r7, {a}",
                "smlad {c}, {w}, r7, {c}",
                "ldrd r6, r7, [{at}], #8",
                "smlad {b}, {x}, r6, {b}",
                "smlad {d}, {y}, r6, {d}",
                "smlad {b}, {v}, r7, {b}",
                "smlad {d}, {w}, r7, {d}",
                "subs {n}, #1",
                "bne 2b",
                "pop {{r6, r7}}",
                row = inout(reg) row => _,
                other = inout(reg) row.add(segments * quads) => _,
                at = inout(reg) work.as_ptr().add(segment * quads * WORDS) => _,
                n = inout(reg) quads => _,
                a = inout(reg) a,
                b = inout(reg) b,
                c = inout(reg) c,
                d = inout(reg) d,
                v = out(reg) _,
                w = out(reg) _,
                x = out(reg) _,
                y = out(reg) _,
            );
        }
        [[a, b], [c, d]]
    }
    #[cfg(not(processor = "armv7em"))]
    {
        let row = |channel: usize| emulated(&weights[(channel * segments + segment) * quads..][..quads], segment, work);
        [row(0), row(1)]
    }
}

/// As [`two_channels`], for a single channel: `weights` is [segments × quads].
#[inline(always)]
fn one_channel(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [i32; 2] {
    #[cfg(processor = "armv7em")]
    {
        let (mut a, mut b) = (0, 0);
        // SAFETY: as in `two_channels`, with one row of `weights`.
        unsafe {
            core::arch::asm!(
                "push {{r6, r7}}",
                "2:",
                "ldr {v}, [{row}], #4",
                "ldrd r6, r7, [{at}], #8",
                "sxtb16 {x}, {v}",
                "sxtb16 {v}, {v}, ror #8",
                "smlad {a}, {x}, r6, {a}",
                "smlad {a}, {v}, r7, {a}",
                "ldrd r6, r7, [{at}], #8",
                "smlad {b}, {x}, r6, {b}",
                "smlad {b}, {v}, r7, {b}",
                "subs {n}, #1",
                "bne 2b",
                "pop {{r6, r7}}",
                row = inout(reg) weights.as_ptr().add(segment * quads) => _,
                at = inout(reg) work.as_ptr().add(segment * quads * WORDS) => _,
                n = inout(reg) quads => _,
                a = inout(reg) a,
                b = inout(reg) b,
                v = out(reg) _,
                x = out(reg) _,
            );
        }
        [a, b]
    }
    #[cfg(not(processor = "armv7em"))]
    {
        emulated(&weights[segment * quads..][..quads], segment, work)
    }
}

/// What the loops in assembly do, for one channel.
#[cfg(not(processor = "armv7em"))]
fn emulated(weights: &[Quad], segment: usize, work: &[u32]) -> [i32; 2] {
    let mut sums = [0i32; COLUMNS];
    let groups = work.as_chunks::<WORDS>().0[segment * weights.len()..].iter();
    for (quad, group) in weights.iter().zip(groups) {
        for (x, sum) in sums.iter_mut().enumerate() {
            for (half, word) in group[2 * x..2 * x + 2].iter().enumerate() {
                for (lane, weight) in [quad[half], quad[half + 2]].into_iter().enumerate() {
                    let activation = (word >> (16 * lane)) as u16 as i16;
                    *sum = sum.wrapping_add(i32::from(weight as i8) * i32::from(activation));
                }
            }
        }
    }
    sums
}
