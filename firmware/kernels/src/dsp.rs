//! Armv7E-M, and Armv8-M with the DSP extension: two products an instruction.
//!
//! A tile is two pairs of columns. Bytes 0 and 2 of a quad become the lanes of one word and bytes 1 and 3 of another (UXTB16,
//! without and with rotation), for activations as they are spread out and for weights in the loop; the order of a sum
//! does not matter. So `work` holds for each pair of columns, in it for each quad, and in that for each segment four words:
//! lanes 0, 2 and 1, 3 of the left column, then of the right one.

use spae_core::kernel::integer::{CHANNELS, Kernel, MAX_COLUMNS, Quad, SEGMENTS, Sums};

use crate::tile::{Shape, neighbourhood};

const PAIRS: usize = MAX_COLUMNS / 2;

/// Words of a quad of a pair of columns.
const WORDS: usize = 4;

/// Loops for Armv7E-M, and for Armv8-M with the DSP extension.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dsp;

impl Kernel for Dsp {
    fn columns(&self) -> usize {
        MAX_COLUMNS
    }

    fn widen(&self, rows: &[&[Quad]], span: usize, step: usize, columns: usize, work: &mut [u32]) {
        let pairs = pairs_mut::<1>(work, rows.len() * span);
        for (pair, groups) in pairs.enumerate().take(columns.div_ceil(2)) {
            for (groups, row) in groups.chunks_exact_mut(span.max(1)).zip(rows) {
                let column = |x: usize| row.get(x * step..).and_then(|row| row.get(..span)).unwrap_or(&[]);
                widen_column::<0>(groups, column(2 * pair));
                // The last tile may have an odd number of columns; what stands there is dropped.
                widen_column::<2>(groups, column(2 * pair + 1));
            }
        }
    }

    fn differences(&self, rows: [&[Quad]; 3], quads: usize, columns: usize, work: &mut [u32]) {
        for (pair, groups) in pairs_mut::<SEGMENTS>(work, quads).enumerate().take(columns.div_ceil(2)) {
            for (group, pixels) in groups.iter_mut().zip(neighbourhood(rows, 2 * pair, quads)) {
                spread(pixels.map(even), |product, value| group[product][0] = value);
                spread(pixels.map(odd), |product, value| group[product][1] = value);
            }
            for (group, pixels) in groups.iter_mut().zip(neighbourhood(rows, 2 * pair + 1, quads)) {
                spread(pixels.map(even), |product, value| group[product][2] = value);
                spread(pixels.map(odd), |product, value| group[product][3] = value);
            }
        }
    }

    fn multiply(&self, weights: &[Quad], channels: usize, segments: usize, work: &[u32], sums: &mut Sums) {
        match Shape::new(weights, channels, segments, work, PAIRS * WORDS) {
            Some(Shape { segments: 1, quads }) => multiply::<1>(weights, channels, quads, work, sums),
            Some(Shape { segments: SEGMENTS, quads }) => multiply::<SEGMENTS>(weights, channels, quads, work, sums),
            _ => {}
        }
    }
}

/// Spreads out the quads of a column; its words start at `AT` of each group.
#[inline(always)]
fn widen_column<const AT: usize>(groups: &mut [[[u32; WORDS]; 1]], quads: &[Quad]) {
    for (group, quad) in groups.iter_mut().zip(quads) {
        (group[0][AT], group[0][AT + 1]) = (even(quad), odd(quad));
    }
}

/// What an upsampling multiplies, of two lanes of the nine pixels around one.
#[inline(always)]
fn spread([a, b, c, d, centre, f, g, h, i]: [u32; 9], mut put: impl FnMut(usize, u32)) {
    let (left, right) = (subtract(d, centre), subtract(f, centre));
    put(3, left);
    put(4, centre);
    put(5, right);
    for (first, [corner, r, other]) in [(0, [a, b, c]), (6, [g, h, i])] {
        put(first, subtract(subtract(corner, r), left));
        put(first + 1, subtract(r, centre));
        put(first + 2, subtract(subtract(other, r), right));
    }
}

/// For each pair of columns `quads` times `N` segments.
#[inline(always)]
fn pairs_mut<const N: usize>(work: &mut [u32], quads: usize) -> impl Iterator<Item = &mut [[[u32; WORDS]; N]]> {
    work.as_chunks_mut().0.as_chunks_mut().0.chunks_exact_mut(quads.max(1))
}

/// The shape has been checked: `weights` is [channels × N × quads], `work` at least [pairs × quads × N × words].
fn multiply<const N: usize>(weights: &[Quad], channels: usize, quads: usize, work: &[u32], sums: &mut Sums) {
    for (pair, work) in work.chunks_exact((quads * N * WORDS).max(1)).enumerate().take(PAIRS) {
        let (left, right) = (2 * pair, 2 * pair + 1);
        for (segment, sums) in sums.iter_mut().enumerate().take(N) {
            if channels == CHANNELS {
                let [first, second] = two_channels::<N>(weights, segment, quads, work);
                [sums[0][left], sums[0][right]] = first;
                [sums[1][left], sums[1][right]] = second;
            } else {
                [sums[0][left], sums[0][right]] = one_channel::<N>(weights, segment, quads, work);
            }
        }
    }
}

const LOW_BYTES: u32 = 0x00FF_00FF;

/// Bytes 0 and 2.
#[inline(always)]
fn even(quad: &Quad) -> u32 {
    u32::from_le_bytes(*quad) & LOW_BYTES
}

/// Bytes 1 and 3.
#[inline(always)]
fn odd(quad: &Quad) -> u32 {
    u32::from_le_bytes(*quad) >> 8 & LOW_BYTES
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

/// Sums of segment `segment` of `N` of two channels at a pair of columns, `[channel][column]`. The shape has been checked:
/// `weights` is [2 × N × quads], `work` at least [quads × N × 4].
#[inline(always)]
fn two_channels<const N: usize>(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [[i32; 2]; 2] {
    #[cfg(processor = "armv7em")]
    {
        let (mut a, mut b, mut c, mut d) = (0, 0, 0, 0);
        // SAFETY: `Shape::new` has found 2·N·quads ≤ weights.len(), 4·N·quads ≤ work.len() and quads ≥ 1; and segment < N.
        // So the row pointers start at elements of `weights`, and the loop reads `quads` words from each, the last ones
        // being elements (segment + 1)·quads − 1 and (N + segment + 1)·quads − 1. From `work` it reads four words every
        // 4·N, starting with word 4·segment: the last is 4·N·(quads − 1) + 4·segment + 3. (What the pointer is moved to
        // behind that is not read.) LDR allows any alignment on both; LDRD, which does not, reads from `work`, whose
        // elements are aligned to 4 bytes. Nothing is written to memory but the two words pushed, which are popped. All
        // registers that are written are named as operands, but r6 and r7, which the compiler keeps for itself and which
        // are as before at the end.
        unsafe {
            let row = weights.as_ptr().add(segment * quads);
            core::arch::asm!(
                "push {{r6, r7}}",
                // An odd number of quads starts in the middle.
                "lsrs r3, r3, #1",
                "bcc 2f",
                "adds r3, #1",
                "b 3f",
                "2:",
                "ldr r10, [r0], #4",
                "ldr r11, [r1], #4",
                "ldrd r6, r7, [r2], #8",
                "sxtb16 r12, r10",
                "sxtb16 r10, r10, ror #8",
                "sxtb16 lr, r11",
                "sxtb16 r11, r11, ror #8",
                "smlad r4, r12, r6, r4",
                "smlad r8, lr, r6, r8",
                "smlad r4, r10, r7, r4",
                "smlad r8, r11, r7, r8",
                "ldrd r6, r7, [r2], #{step}",
                "smlad r5, r12, r6, r5",
                "smlad r9, lr, r6, r9",
                "smlad r5, r10, r7, r5",
                "smlad r9, r11, r7, r9",
                "3:",
                "ldr r10, [r0], #4",
                "ldr r11, [r1], #4",
                "ldrd r6, r7, [r2], #8",
                "sxtb16 r12, r10",
                "sxtb16 r10, r10, ror #8",
                "sxtb16 lr, r11",
                "sxtb16 r11, r11, ror #8",
                "smlad r4, r12, r6, r4",
                "smlad r8, lr, r6, r8",
                "smlad r4, r10, r7, r4",
                "smlad r8, r11, r7, r8",
                "ldrd r6, r7, [r2], #{step}",
                "smlad r5, r12, r6, r5",
                "smlad r9, lr, r6, r9",
                "smlad r5, r10, r7, r5",
                "smlad r9, r11, r7, r9",
                "subs r3, #1",
                "bne 2b",
                "pop {{r6, r7}}",
                step = const { 4 * WORDS * N - 8 },
                inout("r0") row => _,
                inout("r1") row.add(N * quads) => _,
                inout("r2") work.as_ptr().add(segment * WORDS) => _,
                inout("r3") quads => _,
                inout("r4") a,
                inout("r5") b,
                inout("r8") c,
                inout("r9") d,
                out("r10") _,
                out("r11") _,
                out("r12") _,
                out("lr") _,
            );
        }
        [[a, b], [c, d]]
    }
    #[cfg(not(processor = "armv7em"))]
    {
        let row = |channel: usize| emulated::<N>(&weights[(channel * N + segment) * quads..][..quads], segment, work);
        [row(0), row(1)]
    }
}

/// As [`two_channels`], for a single channel: `weights` is [N × quads].
#[inline(always)]
fn one_channel<const N: usize>(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [i32; 2] {
    #[cfg(processor = "armv7em")]
    {
        let (mut a, mut b) = (0, 0);
        // SAFETY: as in `two_channels`, with one row of `weights`.
        unsafe {
            core::arch::asm!(
                "push {{r6, r7}}",
                "2:",
                "ldr r5, [r0], #4",
                "ldrd r6, r7, [r1], #8",
                "sxtb16 r8, r5",
                "sxtb16 r5, r5, ror #8",
                "smlad r3, r8, r6, r3",
                "smlad r3, r5, r7, r3",
                "ldrd r6, r7, [r1], #{step}",
                "smlad r4, r8, r6, r4",
                "smlad r4, r5, r7, r4",
                "subs r2, #1",
                "bne 2b",
                "pop {{r6, r7}}",
                step = const { 4 * WORDS * N - 8 },
                inout("r0") weights.as_ptr().add(segment * quads) => _,
                inout("r1") work.as_ptr().add(segment * WORDS) => _,
                inout("r2") quads => _,
                inout("r3") a,
                inout("r4") b,
                out("r5") _,
                out("r8") _,
            );
        }
        [a, b]
    }
    #[cfg(not(processor = "armv7em"))]
    {
        emulated::<N>(&weights[segment * quads..][..quads], segment, work)
    }
}

/// What the loops in assembly do, for one channel.
#[cfg(not(processor = "armv7em"))]
fn emulated<const N: usize>(weights: &[Quad], segment: usize, work: &[u32]) -> [i32; 2] {
    let mut sums = [0i32; 2];
    let groups = work.as_chunks::<WORDS>().0[segment..].iter().step_by(N);
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
