//! Sums to activations: SMMULR is the rounding, USAT the clamp.

use spae_core::kernel::integer::{MAX_COLUMNS, Scale, Sums};

/// Rounds a convolution's sums of one channel: column x of `columns` (1 to [`MAX_COLUMNS`]) becomes byte `x · pitch` of
/// `out`, which has [`reach`](crate::tile::reach) for `columns` − 1 steps and a byte.
#[inline(always)]
pub(super) fn round_row(sums: &[i32; MAX_COLUMNS], scale: Scale, columns: usize, pitch: usize, out: &mut [u8]) {
    #[cfg(processor = "armv7em")]
    {
        // SAFETY: the loop reads `columns` words of `sums`, which has four, and writes bytes 0, pitch … (columns − 1)·pitch
        // of `out`, which the caller has found to be there. (What a pointer is moved to behind that is not used.) All
        // registers that are written are operands.
        unsafe {
            core::arch::asm!(
                "2:",
                "ldr {a}, [{sums}], #4",
                "add {a}, {a}, {bias}",
                "lsl {a}, {a}, {shift}",
                "smmulr {a}, {a}, {multiplier}",
                "usat {a}, #8, {a}",
                "strb {a}, [{out}]",
                "add {out}, {out}, {pitch}",
                "subs {columns}, {columns}, #1",
                "bne 2b",
                a = out(reg) _,
                sums = inout(reg) sums.as_ptr() => _,
                bias = in(reg) scale.bias,
                shift = in(reg) u32::from(scale.shift),
                multiplier = in(reg) scale.multiplier,
                out = inout(reg) out.as_mut_ptr() => _,
                pitch = in(reg) pitch,
                columns = inout(reg) columns => _,
                options(nostack),
            );
        }
    }
    #[cfg(not(processor = "armv7em"))]
    for (x, sum) in sums.iter().enumerate().take(columns) {
        out[x * pitch] = emulated(*sum, scale);
    }
}

/// Rounds an upsampling's sums of channel `channel` (0 or 1) for `columns` (1 to [`MAX_COLUMNS`]): column x of block column
/// b becomes byte `(2x + b) · pitch` of both rows, which have [`reach`](crate::tile::reach) for `2 · columns` − 1 steps
/// and a byte.
#[inline(always)]
pub(super) fn round_blocks(
    sums: &Sums,
    channel: usize,
    scale: Scale,
    columns: usize,
    pitch: usize,
    [upper, lower]: [&mut [u8]; 2],
) {
    #[cfg(processor = "armv7em")]
    {
        // SAFETY: of each of the nine segments of `sums`, 32 bytes apart, the loop reads the first `columns` of the four
        // words of a channel that is there. It writes bytes 2·x·pitch and (2·x + 1)·pitch of both rows for x < columns,
        // which the caller has found to be there. (What a pointer is moved to behind that is not used.) r6, which the
        // compiler keeps for itself, is pushed and popped; all other registers that are written are operands.
        unsafe {
            core::arch::asm!(
                "push {{r6}}",
                "2:",
                // With the bias the centre's product, then what the upper and the lower row share.
                "ldr r6, [r0, #4 * 32]",
                "ldr r8, [r0, #1 * 32]",
                "ldr r9, [r0, #7 * 32]",
                "add r6, r6, r10",
                "add r8, r8, r6",
                "add r9, r9, r6",
                "ldr r11, [r0, #3 * 32]",
                "ldr r12, [r0, #5 * 32]",
                ".irp at, 0, 2, 6, 8",
                "ldr r6, [r0, #\\at * 32]",
                ".if \\at < 4",
                "add r6, r6, r8",
                ".else",
                "add r6, r6, r9",
                ".endif",
                ".if \\at == 0 || \\at == 6",
                "add r6, r6, r11",
                ".else",
                "add r6, r6, r12",
                ".endif",
                "lsl r6, r6, r3",
                "smmulr r6, r6, lr",
                "usat r6, #8, r6",
                ".if \\at == 0",
                "strb r6, [r1]",
                ".elseif \\at == 2",
                "strb r6, [r1, r4]",
                ".elseif \\at == 6",
                "strb r6, [r2]",
                ".else",
                "strb r6, [r2, r4]",
                ".endif",
                ".endr",
                "add r0, r0, #4",
                "add r1, r1, r4, lsl #1",
                "add r2, r2, r4, lsl #1",
                "subs r5, r5, #1",
                "bne 2b",
                "pop {{r6}}",
                inout("r0") sums.as_ptr().cast::<[i32; MAX_COLUMNS]>().add(channel) => _,
                inout("r1") upper.as_mut_ptr() => _,
                inout("r2") lower.as_mut_ptr() => _,
                in("r3") u32::from(scale.shift),
                in("r4") pitch,
                inout("r5") columns => _,
                in("r10") scale.bias,
                in("lr") scale.multiplier,
                out("r8") _,
                out("r9") _,
                out("r11") _,
                out("r12") _,
            );
        }
    }
    #[cfg(not(processor = "armv7em"))]
    for (row, a) in [(upper, 0), (lower, 6)] {
        for x in 0..columns {
            for b in [0, 2] {
                let terms = [4, a + 1, 3 + b, a + b].map(|product: usize| sums[product][channel][x]);
                row[(2 * x + b / 2) * pitch] = emulated(terms.into_iter().fold(0, i32::wrapping_add), scale);
            }
        }
    }
}

/// An activation, as the instructions make it: rounded to 32 bits, then clamped.
#[cfg(not(processor = "armv7em"))]
fn emulated(sum: i32, Scale { bias, shift, multiplier }: Scale) -> u8 {
    let product = i64::from(sum.wrapping_add(bias) << shift) * i64::from(multiplier);
    ((product + (1 << 31)) >> 32).clamp(0, 255) as u8
}
