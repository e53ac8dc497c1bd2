//! The loops that multiply: sums of products of a tile, from weights and work whose shape has been checked.

use spae_core::kernel::integer::{CHANNELS, Sums};

use super::{COLUMNS, LANES};

/// Sums of products of activations for two channels, `[channel][column]`. The shape has been checked: `weights` is
/// [2 × length], `work` at least [4 × length], and `length` is not 0.
#[inline(always)]
pub(super) fn bytes_of_two(weights: &[u8], length: usize, work: &[u8], sums: &mut [[i32; COLUMNS]; CHANNELS]) {
    #[cfg(processor = "armv8.1m")]
    {
        // SAFETY: two loops one after the other, for two columns each, read `length` bytes from r1, r3, r5 and r9 on: from
        // the starts of both rows of weights, and of columns 0 and 1, then 2 and 3. What a pointer has moved by (up to 15
        // more) is the same for all and is taken back. Four pairs of sums are written, 0, 8, 16 and 24 bytes behind the
        // first of eight. r6 and r7, which the compiler keeps for itself, are pushed and popped; all other registers that
        // are written are operands (q0 to q3 are d0 to d7).
        unsafe {
            core::arch::asm!(
                "push {{r6, r7}}",
                "mov r6, r12",
                "mov r7, r1",
                "add r3, r1, r11",
                "add r9, r5, r11",
                "mov r0, #0",
                "mov r2, #0",
                "mov r4, #0",
                "mov r8, #0",
                "mov r10, #0",
                "mov r12, #0",
                "dlstp.8 lr, r11",
                "2:",
                "vldrb.u8 q0, [r1], #16",
                "vldrb.u8 q1, [r3], #16",
                "vldrb.u8 q2, [r5], #16",
                "vmladava.s8 r0, q0, q2",
                "vldrb.u8 q3, [r9], #16",
                "vmladava.s8 r4, q1, q2",
                "vaddva.s8 r10, q0",
                "vmladava.s8 r2, q0, q3",
                "vaddva.s8 r12, q1",
                "vmladava.s8 r8, q1, q3",
                "letp lr, 2b",
                // 128 times the sums of the weights.
                "lsl r10, #7",
                "lsl r12, #7",
                "add r0, r10",
                "add r2, r10",
                "add r4, r12",
                "add r8, r12",
                "strd r0, r2, [r6]",
                "strd r4, r8, [r6, #16]",
                "sub r1, r7",
                "sub r5, r1",
                "add r5, r5, r11, lsl #1",
                "add r9, r5, r11",
                "mov r1, r7",
                "add r3, r1, r11",
                "mov r2, r10",
                "mov r4, r12",
                "dlstp.8 lr, r11",
                "2:",
                "vldrb.u8 q0, [r1], #16",
                "vldrb.u8 q1, [r3], #16",
                "vldrb.u8 q2, [r5], #16",
                "vmladava.s8 r10, q0, q2",
                "vldrb.u8 q3, [r9], #16",
                "vmladava.s8 r12, q1, q2",
                "vmladava.s8 r2, q0, q3",
                "vmladava.s8 r4, q1, q3",
                "letp lr, 2b",
                "strd r10, r2, [r6, #8]",
                "strd r12, r4, [r6, #24]",
                "pop {{r6, r7}}",
                inout("r1") weights.as_ptr() => _,
                inout("r5") work.as_ptr() => _,
                in("r11") length,
                inout("r12") sums.as_mut_ptr() => _,
                out("r0") _,
                out("r2") _,
                out("r3") _,
                out("r4") _,
                out("r8") _,
                out("r9") _,
                out("r10") _,
                out("lr") _,
                out("d0") _,
                out("d1") _,
                out("d2") _,
                out("d3") _,
                out("d4") _,
                out("d5") _,
                out("d6") _,
                out("d7") _,
            );
        }
    }
    #[cfg(not(processor = "armv8.1m"))]
    {
        *sums = [0, 1].map(|channel| emulated_bytes(&weights[channel * length..], length, work));
    }
}

/// As [`bytes_of_two`], for a single channel: `weights` is [length].
#[inline(always)]
pub(super) fn bytes_of_one(weights: &[u8], length: usize, work: &[u8]) -> [i32; 4] {
    #[cfg(processor = "armv8.1m")]
    {
        let [mut a, mut b, mut c, mut d, mut e] = [0; 5];
        // SAFETY: the loop reads `length` bytes from the row of weights and from each of the columns. All registers that
        // are written are operands (q0 to q3 are d0 to d7).
        unsafe {
            core::arch::asm!(
                "dlstp.8 lr, r10",
                "2:",
                "vldrb.u8 q0, [r1], #16",
                "vldrb.u8 q1, [r3], #16",
                "vmladava.s8 r0, q0, q1",
                "vldrb.u8 q2, [r5], #16",
                "vmladava.s8 r2, q0, q2",
                "vldrb.u8 q3, [r9], #16",
                "vmladava.s8 r4, q0, q3",
                "vldrb.u8 q1, [r11], #16",
                "vmladava.s8 r8, q0, q1",
                "vaddva.s8 r12, q0",
                "letp lr, 2b",
                inout("r0") a,
                inout("r2") b,
                inout("r4") c,
                inout("r8") d,
                inout("r12") e,
                inout("r1") weights.as_ptr() => _,
                inout("r3") work.as_ptr() => _,
                inout("r5") work.as_ptr().add(length) => _,
                inout("r9") work.as_ptr().add(2 * length) => _,
                inout("r11") work.as_ptr().add(3 * length) => _,
                in("r10") length,
                out("lr") _,
                out("d0") _,
                out("d1") _,
                out("d2") _,
                out("d3") _,
                out("d4") _,
                out("d5") _,
                out("d6") _,
                out("d7") _,
                options(readonly, nostack),
            );
        }
        [a, b, c, d].map(|sum: i32| sum.wrapping_add(e << 7))
    }
    #[cfg(not(processor = "armv8.1m"))]
    {
        emulated_bytes(weights, length, work)
    }
}

/// Sums of products of 16-bit lanes for two channels, `[segment][channel][column]`. The shape has been checked: `weights`
/// is [2 × segments × length], `work` at least [segments × columns × length]. `length` is a multiple of [`LANES`], but
/// not 0.
#[inline(always)]
pub(super) fn lanes_of_two(weights: &[u8], length: usize, work: &[i16], sums: &mut Sums) {
    #[cfg(processor = "armv8.1m")]
    {
        // SAFETY: a turn of the inner loop, and what stands before it as its first turn, reads a vector of both rows of
        // weights and one of each column; there are length / 8 of them, at least one, for each segment. The outer loop
        // ends when the pointer to the first row has come to the second one, after 9·length bytes of it; the same have
        // been read of the second row, and 9·4·length lanes of `work`. Eight sums are written for each of the nine
        // segments, which is all there are. r6 and r7, which the compiler keeps for itself, and the count of turns are
        // pushed and popped; all other registers that are written are operands (q0 to q3 are d0 to d7).
        unsafe {
            let second = weights.as_ptr().add(spae_core::kernel::integer::SEGMENTS * length);
            core::arch::asm!(
                "push {{r6, r7}}",
                "push {{r12}}",
                "3:",
                "ldr r7, [sp]",
                "vldrb.s16 q0, [r1], #8",
                "vldrb.s16 q1, [r3], #8",
                "vldrh.u16 q2, [r5], #64",
                "vmladav.s16 r0, q0, q2",
                "vldrh.u16 q3, [r5, #-48]",
                "vmladav.s16 r8, q1, q2",
                "vldrh.u16 q2, [r5, #-32]",
                "vmladav.s16 r2, q0, q3",
                "vmladav.s16 r10, q1, q3",
                "vldrh.u16 q3, [r5, #-16]",
                "vmladav.s16 r4, q0, q2",
                "vmladav.s16 r12, q1, q2",
                "vmladav.s16 r6, q0, q3",
                "vmladav.s16 lr, q1, q3",
                "cbz r7, 4f",
                "2:",
                "vldrb.s16 q0, [r1], #8",
                "vldrb.s16 q1, [r3], #8",
                "vldrh.u16 q2, [r5], #64",
                "vmladava.s16 r0, q0, q2",
                "vldrh.u16 q3, [r5, #-48]",
                "vmladava.s16 r8, q1, q2",
                "vldrh.u16 q2, [r5, #-32]",
                "vmladava.s16 r2, q0, q3",
                "vmladava.s16 r10, q1, q3",
                "vldrh.u16 q3, [r5, #-16]",
                "vmladava.s16 r4, q0, q2",
                "vmladava.s16 r12, q1, q2",
                "vmladava.s16 r6, q0, q3",
                "vmladava.s16 lr, q1, q3",
                "subs r7, #1",
                "bne 2b",
                "4:",
                "strd r0, r2, [r11], #8",
                "strd r4, r6, [r11], #8",
                "strd r8, r10, [r11], #8",
                "strd r12, lr, [r11], #8",
                "cmp r1, r9",
                "bne 3b",
                "pop {{r12}}",
                "pop {{r6, r7}}",
                inout("r1") weights.as_ptr() => _,
                inout("r3") second => _,
                inout("r5") work.as_ptr() => _,
                in("r9") second,
                inout("r11") sums.as_mut_ptr() => _,
                inout("r12") length / LANES - 1 => _,
                out("r0") _,
                out("r2") _,
                out("r4") _,
                out("r8") _,
                out("r10") _,
                out("lr") _,
                out("d0") _,
                out("d1") _,
                out("d2") _,
                out("d3") _,
                out("d4") _,
                out("d5") _,
                out("d6") _,
                out("d7") _,
            );
        }
    }
    #[cfg(not(processor = "armv8.1m"))]
    super::lanes_of_each::<{ super::TOGETHER }>(weights, CHANNELS, length, work, sums);
}

/// Sums of products of 16-bit lanes, `[column]`. `row` is not empty, and `work` has as many lanes for each column:
/// columns are `pitch` apart, and vectors of a column `STEP` lanes.
#[inline(always)]
pub(super) fn lanes_of_one<const STEP: usize>(row: &[u8], work: &[i16], pitch: usize) -> [i32; COLUMNS] {
    #[cfg(processor = "armv8.1m")]
    {
        let [mut a, mut b, mut c, mut d] = [0; 4];
        // SAFETY: the loop reads as many elements as `row` has from it and from each of the columns, of which `work` has
        // all. All registers that are written are operands (q0 to q3 are d0 to d7).
        unsafe {
            core::arch::asm!(
                "dlstp.16 lr, r10",
                "2:",
                "vldrb.s16 q0, [r1], #8",
                "vldrh.u16 q1, [r3], #{step}",
                "vmladava.s16 r0, q0, q1",
                "vldrh.u16 q2, [r5], #{step}",
                "vmladava.s16 r2, q0, q2",
                "vldrh.u16 q3, [r9], #{step}",
                "vmladava.s16 r4, q0, q3",
                "vldrh.u16 q1, [r11], #{step}",
                "vmladava.s16 r8, q0, q1",
                "letp lr, 2b",
                step = const 2 * STEP,
                inout("r0") a,
                inout("r2") b,
                inout("r4") c,
                inout("r8") d,
                inout("r1") row.as_ptr() => _,
                inout("r3") work.as_ptr() => _,
                inout("r5") work.as_ptr().add(pitch) => _,
                inout("r9") work.as_ptr().add(2 * pitch) => _,
                inout("r11") work.as_ptr().add(3 * pitch) => _,
                in("r10") row.len(),
                out("lr") _,
                out("d0") _,
                out("d1") _,
                out("d2") _,
                out("d3") _,
                out("d4") _,
                out("d5") _,
                out("d6") _,
                out("d7") _,
                options(readonly, nostack),
            );
        }
        [a, b, c, d]
    }
    #[cfg(not(processor = "armv8.1m"))]
    {
        [0, 1, 2, 3].map(|x| {
            let vectors = row.chunks(LANES).zip(work[x * pitch..].chunks(STEP));
            let products = vectors.flat_map(|(row, lanes)| row.iter().zip(lanes));
            let products = products.map(|(&weight, &lane)| i32::from(weight as i8) * i32::from(lane));
            products.fold(0, i32::wrapping_add)
        })
    }
}

/// What the loops over bytes do, for one channel.
#[cfg(not(processor = "armv8.1m"))]
fn emulated_bytes(weights: &[u8], length: usize, work: &[u8]) -> [i32; COLUMNS] {
    let weights = weights[..length].iter().map(|&weight| i32::from(weight as i8));
    let total = weights.clone().fold(0, i32::wrapping_add);
    [0, 1, 2, 3].map(|x| {
        let products = weights.clone().zip(&work[x * length..]).map(|(weight, &value)| weight * i32::from(value as i8));
        products.fold(total << 7, i32::wrapping_add)
    })
}
