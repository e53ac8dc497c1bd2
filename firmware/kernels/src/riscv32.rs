//! 32-bit RISC-V with multiplication: one product in two instructions, eight sums in registers.

use spae_core::kernel::integer::Quad;

use crate::interleaved::Loops;
#[cfg(processor = "riscv32im")]
use crate::interleaved::WORDS;
#[cfg(not(processor = "riscv32im"))]
use crate::interleaved::emulated;

/// Loops for RV32IM.
#[derive(Clone, Copy, Debug, Default)]
pub struct Riscv32;

impl Loops for Riscv32 {
    #[inline(always)]
    fn two_channels<const N: usize>(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [[i32; 4]; 2] {
        #[cfg(processor = "riscv32im")]
        {
            let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = [0; 8];
            // SAFETY: `Shape::new` has found 2·N·quads ≤ weights.len(), 8·N·quads ≤ work.len() and quads ≥ 1; and segment
            // < N. So the row pointers start at elements of `weights`, and the loop, of two quads a turn but one in the
            // first if their number is odd, ends when the first pointer has moved by 4·quads bytes. It reads 4·quads
            // bytes from each row, the last ones being those of elements (segment + 1)·quads − 1 and (N + segment +
            // 1)·quads − 1. From `work` it reads 16 half-words every 8·N words, starting with word 8·segment: the last is
            // in word 8·N·(quads − 1) + 8·segment + 7. (What a pointer is moved to behind that, or before the start for a
            // turn of one quad, is not read.) Half-words are aligned as the words they lie in. Nothing is written to
            // memory, and all registers that are written are operands.
            unsafe {
                let row = weights.as_ptr().add(segment * quads);
                core::arch::asm!(
                    // An odd number of quads starts in the middle.
                    "sub {t}, {end}, {row}",
                    "andi {t}, {t}, 4",
                    "beqz {t}, 2f",
                    "addi {row}, {row}, -4",
                    "addi {other}, {other}, -4",
                    "addi {at}, {at}, -{step}",
                    "j 3f",
                    "2:",
                    ".irp j, 0, 1",
                    ".if \\j",
                    "3:",
                    ".endif",
                    ".irp k, 0, 1, 2, 3",
                    "lb {v}, 4 * \\j + \\k({row})",
                    "lb {w}, 4 * \\j + \\k({other})",
                    "lh {o}, {step} * \\j + 8 * \\k({at})",
                    "lh {p}, {step} * \\j + 8 * \\k + 2({at})",
                    "lh {q}, {step} * \\j + 8 * \\k + 4({at})",
                    "lh {r}, {step} * \\j + 8 * \\k + 6({at})",
                    "mul {t}, {v}, {o}",
                    "mul {o}, {w}, {o}",
                    "mul {u}, {v}, {p}",
                    "mul {p}, {w}, {p}",
                    "add {a}, {a}, {t}",
                    "add {e}, {e}, {o}",
                    "add {b}, {b}, {u}",
                    "add {f}, {f}, {p}",
                    "mul {t}, {v}, {q}",
                    "mul {q}, {w}, {q}",
                    "mul {u}, {v}, {r}",
                    "mul {r}, {w}, {r}",
                    "add {c}, {c}, {t}",
                    "add {g}, {g}, {q}",
                    "add {d}, {d}, {u}",
                    "add {h}, {h}, {r}",
                    ".endr",
                    ".endr",
                    "addi {row}, {row}, 8",
                    "addi {other}, {other}, 8",
                    "addi {at}, {at}, 2 * {step}",
                    "bne {row}, {end}, 2b",
                    step = const { 4 * WORDS * N },
                    row = inout(reg) row => _,
                    other = inout(reg) row.add(N * quads) => _,
                    at = inout(reg) work.as_ptr().add(segment * WORDS) => _,
                    end = in(reg) row.add(quads),
                    a = inout(reg) a,
                    b = inout(reg) b,
                    c = inout(reg) c,
                    d = inout(reg) d,
                    e = inout(reg) e,
                    f = inout(reg) f,
                    g = inout(reg) g,
                    h = inout(reg) h,
                    o = out(reg) _,
                    p = out(reg) _,
                    q = out(reg) _,
                    r = out(reg) _,
                    t = out(reg) _,
                    u = out(reg) _,
                    v = out(reg) _,
                    w = out(reg) _,
                    options(readonly, nostack),
                );
            }
            [[a, b, c, d], [e, f, g, h]]
        }
        #[cfg(not(processor = "riscv32im"))]
        {
            let row = |channel: usize| &weights[(channel * N + segment) * quads..][..quads];
            [emulated::<N>(row(0), segment, work), emulated::<N>(row(1), segment, work)]
        }
    }

    #[inline(always)]
    fn one_channel<const N: usize>(weights: &[Quad], segment: usize, quads: usize, work: &[u32]) -> [i32; 4] {
        #[cfg(processor = "riscv32im")]
        {
            let [mut a, mut b, mut c, mut d] = [0; 4];
            // SAFETY: as in `two_channels`, with one row of `weights`.
            unsafe {
                let row = weights.as_ptr().add(segment * quads);
                core::arch::asm!(
                    "2:",
                    ".irp k, 0, 1, 2, 3",
                    "lb {w}, \\k({row})",
                    "lh {o}, 8 * \\k({at})",
                    "lh {p}, 8 * \\k + 2({at})",
                    "lh {q}, 8 * \\k + 4({at})",
                    "lh {r}, 8 * \\k + 6({at})",
                    "mul {o}, {w}, {o}",
                    "mul {p}, {w}, {p}",
                    "mul {q}, {w}, {q}",
                    "mul {r}, {w}, {r}",
                    "add {a}, {a}, {o}",
                    "add {b}, {b}, {p}",
                    "add {c}, {c}, {q}",
                    "add {d}, {d}, {r}",
                    ".endr",
                    "addi {row}, {row}, 4",
                    "addi {at}, {at}, {step}",
                    "bne {row}, {end}, 2b",
                    step = const { 4 * WORDS * N },
                    row = inout(reg) row => _,
                    at = inout(reg) work.as_ptr().add(segment * WORDS) => _,
                    end = in(reg) row.add(quads),
                    a = inout(reg) a,
                    b = inout(reg) b,
                    c = inout(reg) c,
                    d = inout(reg) d,
                    o = out(reg) _,
                    p = out(reg) _,
                    q = out(reg) _,
                    r = out(reg) _,
                    w = out(reg) _,
                    options(readonly, nostack),
                );
            }
            [a, b, c, d]
        }
        #[cfg(not(processor = "riscv32im"))]
        {
            emulated::<N>(&weights[segment * quads..][..quads], segment, work)
        }
    }
}
