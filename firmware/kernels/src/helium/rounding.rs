//! Sums of four columns to activations at once: VRMULH is the rounding, and a scattered store puts the columns where they
//! belong.

use spae_core::kernel::integer::{Scale, Sums};

use super::COLUMNS;

/// Rounds a convolution's sums of one channel: column x becomes byte `x · pitch` of `out`, which has [`reach`](crate::tile::reach) for three
/// steps and a byte.
#[inline(always)]
pub(super) fn round_four(sums: &[i32; COLUMNS], scale: Scale, pitch: usize, out: &mut [u8]) {
    #[cfg(processor = "armv8.1m")]
    {
        // SAFETY: four words of `sums` are read, and bytes 0, pitch, 2·pitch and 3·pitch of `out`, which the caller has
        // found to be there, are written. All registers that are written are operands (q0 to q2 are d0 to d5).
        unsafe {
            core::arch::asm!(
                "vldrw.u32 q0, [{sums}]",
                "vidup.u32 q1, r12, #1",
                "vadd.i32 q0, q0, {bias}",
                "vdup.32 q2, {multiplier}",
                "vshl.s32 q0, {shift}",
                "vmul.i32 q1, q1, {pitch}",
                "vrmulh.s32 q0, q0, q2",
                // Clamped to 0 … 255 as it is moved to the top.
                "vqshlu.s32 q0, q0, #24",
                "vshr.u32 q0, q0, #24",
                "vstrb.32 q0, [{out}, q1]",
                sums = in(reg) sums.as_ptr(),
                bias = in(reg) scale.bias,
                shift = in(reg) u32::from(scale.shift),
                multiplier = in(reg) scale.multiplier,
                pitch = in(reg) pitch,
                out = in(reg) out.as_mut_ptr(),
                inout("r12") 0 => _,
                out("d0") _,
                out("d1") _,
                out("d2") _,
                out("d3") _,
                out("d4") _,
                out("d5") _,
                options(nostack),
            );
        }
    }
    #[cfg(not(processor = "armv8.1m"))]
    for (x, sum) in sums.iter().enumerate() {
        out[x * pitch] = emulated(*sum, scale);
    }
}

/// Rounds an upsampling's sums of channel `channel` (0 or 1): column x of block column b becomes byte `(2x + b) · pitch` of
/// both rows, which have [`reach`](crate::tile::reach) for seven steps and a byte.
#[inline(always)]
pub(super) fn round_four_blocks(sums: &Sums, channel: usize, scale: Scale, pitch: usize, rows: [&mut [u8]; 2]) {
    let [upper, lower] = rows;
    #[cfg(processor = "armv8.1m")]
    {
        // SAFETY: of each of the nine segments of `sums`, 32 bytes apart, the four words of a channel that is there are
        // read; bytes 2·x·pitch and (2·x + 1)·pitch for x from 0 to 3 of both rows, which the caller has found to be there,
        // are written. All registers that are written are operands (q0 to q5 are d0 to d11).
        unsafe {
            core::arch::asm!(
                "vldrw.u32 q0, [{sums}, #4 * 32]",
                "vidup.u32 q4, r12, #2",
                "vadd.i32 q0, q0, {bias}",
                "vmul.i32 q4, q4, {pitch}",
                "vdup.32 q5, {multiplier}",
                ".irp a, 0, 6",
                "vldrw.u32 q1, [{sums}, #(\\a + 1) * 32]",
                "vadd.i32 q1, q1, q0",
                ".irp b, 0, 2",
                "vldrw.u32 q2, [{sums}, #(3 + \\b) * 32]",
                "vldrw.u32 q3, [{sums}, #(\\a + \\b) * 32]",
                "vadd.i32 q2, q2, q1",
                "vadd.i32 q2, q2, q3",
                "vshl.s32 q2, {shift}",
                "vrmulh.s32 q2, q2, q5",
                // Clamped to 0 … 255 as it is moved to the top.
                "vqshlu.s32 q2, q2, #24",
                "vshr.u32 q2, q2, #24",
                "vstrb.32 q2, [{out}, q4]",
                ".if \\b == 0",
                "add {out}, {out}, {pitch}",
                ".endif",
                ".endr",
                "mov {out}, {lower}",
                ".endr",
                sums = in(reg) sums.as_ptr().cast::<[i32; COLUMNS]>().add(channel),
                bias = in(reg) scale.bias,
                shift = in(reg) u32::from(scale.shift),
                multiplier = in(reg) scale.multiplier,
                pitch = in(reg) pitch,
                out = inout(reg) upper.as_mut_ptr() => _,
                lower = in(reg) lower.as_mut_ptr(),
                inout("r12") 0 => _,
                out("d0") _,
                out("d1") _,
                out("d2") _,
                out("d3") _,
                out("d4") _,
                out("d5") _,
                out("d6") _,
                out("d7") _,
                out("d8") _,
                out("d9") _,
                out("d10") _,
                out("d11") _,
                options(nostack),
            );
        }
    }
    #[cfg(not(processor = "armv8.1m"))]
    for (row, a) in [(upper, 0), (lower, 6)] {
        for x in 0..COLUMNS {
            for b in [0, 2] {
                let terms = [4, a + 1, 3 + b, a + b].map(|product: usize| sums[product][channel][x]);
                row[(2 * x + b / 2) * pitch] = emulated(terms.into_iter().fold(0, i32::wrapping_add), scale);
            }
        }
    }
}

/// An activation, as the vectors make it: rounded to 32 bits, then clamped.
#[cfg(not(processor = "armv8.1m"))]
fn emulated(sum: i32, Scale { bias, shift, multiplier }: Scale) -> u8 {
    let product = i64::from(sum.wrapping_add(bias) << shift) * i64::from(multiplier);
    ((product + (1 << 31)) >> 32).clamp(0, 255) as u8
}
