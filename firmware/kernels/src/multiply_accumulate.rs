//! Armv7-M: one product an instruction, eight sums in registers.

use spae_core::kernel::integer::Quad;

use crate::interleaved::Loops;
#[cfg(processor = "armv7m")]
use crate::interleaved::WORDS;
#[cfg(not(processor = "armv7m"))]
use crate::interleaved::emulated;

/// Loops for Armv7-M.
#[derive(Clone, Copy, Debug, Default)]
pub struct MultiplyAccumulate;

impl Loops for MultiplyAccumulate {
    #[inline(always)]
    fn two_channels<const N: usize>(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [[i32; 4]; 2] {
        #[cfg(processor = "armv7m")]
        {
            let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = [0; 8];
            // SAFETY: `Shape::new` has found 2·N·quads ≤ weights.len(), 8·N·quads ≤ work.len() and quads ≥ 1; and segment
            // < N. So the row pointers start at elements of `weights`, and the loop reads 4·quads bytes from each, the
            // last ones being those of elements (segment + 1)·quads − 1 and (N + segment + 1)·quads − 1. From `work` it
            // reads 16 half-words every 8·N words, starting with word 8·segment: the last is in word 8·N·(quads − 1) +
            // 8·segment + 7. (What the pointer is moved to behind that is not read.) Nothing is written to memory but the
            // three words pushed, which are popped. All registers that are written are named as operands, but r6 and r7,
            // which the compiler keeps for itself and which are as before at the end.
            unsafe {
                let row = weights.as_ptr().add(segment * quads);
                core::arch::asm!(
                    "push {{r6, r7}}",
                    "push {{r3}}",
                    "2:",
                    ".rept 4",
                    "ldrsb r6, [r0], #1",
                    "ldrsb r7, [r1], #1",
                    "ldrsh r3, [r2], #2",
                    "mla r4, r6, r3, r4",
                    "mla r10, r7, r3, r10",
                    "ldrsh r3, [r2], #2",
                    "mla r5, r6, r3, r5",
                    "mla r11, r7, r3, r11",
                    "ldrsh r3, [r2], #2",
                    "mla r8, r6, r3, r8",
                    "mla r12, r7, r3, r12",
                    "ldrsh r3, [r2], #2",
                    "mla r9, r6, r3, r9",
                    "mla lr, r7, r3, lr",
                    ".endr",
                    "add r2, #{step}",
                    "ldr r3, [sp]",
                    "subs r3, #1",
                    "str r3, [sp]",
                    "bne 2b",
                    "pop {{r3}}",
                    "pop {{r6, r7}}",
                    step = const { 4 * WORDS * (N - 1) },
                    inout("r0") row => _,
                    inout("r1") row.add(N * quads) => _,
                    inout("r2") work.as_ptr().add(segment * WORDS) => _,
                    inout("r3") quads => _,
                    inout("r4") a,
                    inout("r5") b,
                    inout("r8") c,
                    inout("r9") d,
                    inout("r10") e,
                    inout("r11") f,
                    inout("r12") g,
                    inout("lr") h,
                );
            }
            [[a, b, c, d], [e, f, g, h]]
        }
        #[cfg(not(processor = "armv7m"))]
        {
            let row =
                |channel: usize| emulated::<N>(&weights[(channel * N + segment) * quads..][..quads], segment, work);
            [row(0), row(1)]
        }
    }

    #[inline(always)]
    fn one_channel<const N: usize>(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [i32; 4] {
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
                    "add {at}, #{step}",
                    "subs {n}, #1",
                    "bne 2b",
                    step = const { 4 * WORDS * (N - 1) },
                    row = inout(reg) weights.as_ptr().add(segment * quads) => _,
                    at = inout(reg) work.as_ptr().add(segment * WORDS) => _,
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
            emulated::<N>(&weights[segment * quads..][..quads], segment, work)
        }
    }
}
