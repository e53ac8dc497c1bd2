//! Armv7E-M, and Armv8-M with the DSP extension: two products an instruction.
//!
//! A tile is two pairs of columns. Bytes 0 and 2 of a quad become the lanes of one word and bytes 1 and 3 of another (UXTB16,
//! without and with rotation), for activations as they are spread out and for weights in the loop; the order of a sum
//! does not matter. So `work` holds for each pair of columns, in it for each quad, and in that for each segment four words:
//! lanes 0, 2 and 1, 3 of the left column, then of the right one.

mod rounding;

use spae_core::kernel::integer::{Added, CHANNELS, Kernel, MAX_COLUMNS, Portable, Quad, SEGMENTS, Scale, Sums};

use crate::tile::{Shape, neighbourhood, reach};
use rounding::{round_blocks, round_row};

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
                let left = column(2 * pair);
                // The last tile may have an odd number of columns; what stands there is dropped.
                let right = Some(column(2 * pair + 1)).filter(|right| !right.is_empty()).unwrap_or(left);
                widen_row(groups.as_flattened_mut(), left, right);
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

    fn round(
        &self,
        sums: &[[i32; MAX_COLUMNS]; CHANNELS],
        scales: &[Scale],
        added: Option<Added<'_>>,
        columns: usize,
        pitch: usize,
        out: &mut [u8],
    ) {
        let inside = (1..=MAX_COLUMNS).contains(&columns) && reach(out.len(), columns - 1, pitch, scales.len());
        if added.is_some() || !inside {
            return Portable.round(sums, scales, added, columns, pitch, out);
        }
        for (channel, (scale, sums)) in scales.iter().zip(sums).enumerate() {
            round_row(sums, *scale, columns, pitch, out.get_mut(channel..).unwrap_or(&mut []));
        }
    }

    fn round_blocks(&self, sums: &Sums, scales: &[Scale], columns: usize, pitch: usize, out: [&mut [u8]; 2]) {
        let [upper, lower] = out;
        let length = upper.len().min(lower.len());
        if !(1..=MAX_COLUMNS).contains(&columns) || !reach(length, 2 * columns - 1, pitch, scales.len()) {
            return Portable.round_blocks(sums, scales, columns, pitch, [upper, lower]);
        }
        for (channel, scale) in scales.iter().enumerate().take(CHANNELS) {
            let rows = [&mut *upper, &mut *lower].map(|row| row.get_mut(channel..).unwrap_or(&mut []));
            round_blocks(sums, channel, *scale, columns, pitch, rows);
        }
    }
}

/// Spreads out as many quads of a pair of columns as there are groups, and quads of both.
#[inline(always)]
fn widen_row(groups: &mut [[u32; WORDS]], left: &[Quad], right: &[Quad]) {
    let quads = groups.len().min(left.len()).min(right.len());
    if quads == 0 {
        return;
    }
    #[cfg(processor = "armv7em")]
    {
        // SAFETY: `quads` is not 0 and at most the length of each slice. The loop reads that many words of `left` and of
        // `right`, for which LDR allows any alignment, and writes four times as many of `groups`. All registers that are
        // written are operands.
        unsafe {
            core::arch::asm!(
                "2:",
                "ldr r9, [{left}], #4",
                "ldr r11, [{right}], #4",
                "uxtb16 r8, r9",
                "uxtb16 r9, r9, ror #8",
                "uxtb16 r10, r11",
                "uxtb16 r11, r11, ror #8",
                "stmia {to}!, {{r8, r9, r10, r11}}",
                "subs {quads}, {quads}, #1",
                "bne 2b",
                left = inout(reg) left.as_ptr() => _,
                right = inout(reg) right.as_ptr() => _,
                to = inout(reg) groups.as_mut_ptr() => _,
                quads = inout(reg) quads => _,
                out("r8") _,
                out("r9") _,
                out("r10") _,
                out("r11") _,
                options(nostack),
            );
        }
    }
    #[cfg(not(processor = "armv7em"))]
    for (group, (left, right)) in groups.iter_mut().zip(left.iter().zip(right)).take(quads) {
        *group = [even(left), odd(left), even(right), odd(right)];
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
        if channels == CHANNELS {
            two_channels::<N>(weights, quads, work, pair, sums);
        } else {
            for (segment, sums) in sums.iter_mut().enumerate().take(N) {
                [sums[0][2 * pair], sums[0][2 * pair + 1]] = one_channel::<N>(weights, segment, quads, work);
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

/// Sums of all `N` segments of two channels at pair `pair` of columns. The shape has been checked: `weights` is [2 × N ×
/// quads], `work` at least [quads × N × 4], and `pair` < [`PAIRS`].
#[inline(always)]
fn two_channels<const N: usize>(weights: &[Quad], quads: usize, work: &[u32], pair: usize, sums: &mut Sums) {
    #[cfg(processor = "armv7em")]
    {
        // SAFETY: `Shape::new` has found 2·N·quads ≤ weights.len(), 4·N·quads ≤ work.len() and quads ≥ 1. So the row
        // pointers start at elements 0 and N·quads of `weights`, and for each segment the inner loop reads `quads` words
        // from each, one behind the other. The outer loop ends when the first pointer has come to where the second one
        // started: after N segments, and N·quads words of each row. From `work` the inner loop reads, for segment s of
        // them, four words every 4·N, starting with word 4·s: the last is 4·N·(quads − 1) + 4·s + 3. Then the pointer is
        // moved back to word 4·(s + 1). (What it is moved to behind the last segment is not read.) LDR allows any
        // alignment on both; LDRD and STRD, which do not, access `work`, the stack and `sums`, which are aligned to 4
        // bytes. What is written are words 2·pair, 2·pair + 1, 2·pair + 4 and 2·pair + 5 of the eight of each segment, of
        // which `sums` has `SEGMENTS` ≥ N, and the nine words pushed, which are popped. All registers that are written are
        // named as operands, but r6 and r7, which the compiler keeps for itself and which are as before at the end.
        unsafe {
            let second = weights.as_ptr().add(N * quads);
            core::arch::asm!(
                // Turns of four quads each, of which the first starts so far inside that all have been taken in the end.
                "rsb r4, r3, #0",
                "and r4, r4, #3",
                "adr r9, 2f",
                "add r4, r9, r4, lsl #6",
                "add r3, r3, #3",
                "lsr r3, r3, #2",
                "push {{r6, r7}}",
                "push {{r1, r3, r4, r5, r8, r10, r12}}",
                "3:",
                "ldrd r3, r10, [sp, #4]",
                "ldrd r4, r5, [sp, #12]",
                "ldrd r8, r9, [sp, #12]",
                "mov pc, r10",
                ".balign 4",
                "2:",
                // 16 instructions of four bytes each.
                ".rept 4",
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
                ".endr",
                "subs r3, #1",
                "bne 2b",
                "ldr r3, [sp]",
                "ldrd r10, r12, [sp, #20]",
                "strd r8, r9, [r10, #16]",
                "strd r4, r5, [r10], #32",
                "str r10, [sp, #20]",
                "sub r2, r2, r12",
                "cmp r0, r3",
                "bne 3b",
                "add sp, #28",
                "pop {{r6, r7}}",
                step = const { 4 * WORDS * N - 8 },
                inout("r0") weights.as_ptr() => _,
                inout("r1") second => _,
                inout("r2") work.as_ptr() => _,
                inout("r3") quads => _,
                inout("r10") sums.as_mut_ptr().cast::<i32>().add(2 * pair) => _,
                inout("r12") 4 * WORDS * (quads * N - 1) => _,
                // What sums start from.
                inout("r5") 0 => _,
                inout("r8") 0 => _,
                out("r4") _,
                out("r9") _,
                out("r11") _,
                out("lr") _,
            );
        }
    }
    #[cfg(not(processor = "armv7em"))]
    for (segment, sums) in sums.iter_mut().enumerate().take(N) {
        for (channel, sums) in sums.iter_mut().enumerate() {
            let row = &weights[(channel * N + segment) * quads..][..quads];
            [sums[2 * pair], sums[2 * pair + 1]] = emulated::<N>(row, segment, work);
        }
    }
}

/// Sums of segment `segment` of `N` of a single channel at a pair of columns. The shape has been checked: `weights` is [N ×
/// quads], `work` at least [quads × N × 4].
#[inline(always)]
fn one_channel<const N: usize>(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [i32; 2] {
    #[cfg(processor = "armv7em")]
    {
        let (mut a, mut b) = (0, 0);
        // SAFETY: `Shape::new` has found N·quads ≤ weights.len(), 4·N·quads ≤ work.len() and quads ≥ 1; and segment < N.
        // So the row's pointer starts at an element of `weights`, and the loop reads `quads` words from it, the last one
        // being element (segment + 1)·quads − 1. Of `work` it reads what `two_channels` does for that segment. Nothing is
        // written to memory but the two words pushed, which are popped; registers are as there.
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
