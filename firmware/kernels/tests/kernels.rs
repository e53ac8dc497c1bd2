//! Every kernel gives the portable one's sums: on a workstation with its inner loop in Rust, everything around it as on
//! the processor.

use spae_core::kernel::integer::{CHANNELS, Kernel, MAX_COLUMNS, Portable, Quad, SEGMENTS, Scale, Sums, work_len};
use spae_kernels::{Dsp, Helium, Interleaved, MultiplyAccumulate, Riscv32};

const KERNELS: [&dyn Kernel; 4] = [&Dsp, &Helium, &Interleaved(MultiplyAccumulate), &Interleaved(Riscv32)];

/// Numbers of a linear congruential generator (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    /// Bytes, of which a quarter are 0 and a quarter 255: the corners are where lanes overflow.
    fn quads(&mut self, count: usize) -> Vec<Quad> {
        let mut corner = || match self.byte() % 4 {
            0 => 0,
            1 => 255,
            _ => self.byte(),
        };
        (0..count).map(|_| [corner(), corner(), corner(), corner()]).collect()
    }
}

/// Sums of `kernel` at `columns` columns of a 3×3 convolution, a 1×1 convolution and an upsampling.
fn sums(kernel: &dyn Kernel, rows: [&[Quad]; 3], quads: usize, columns: usize, weights: &[Quad]) -> Vec<i32> {
    let mut all = Vec::new();
    for channels in 1..=CHANNELS {
        for form in 0..3 {
            // What an earlier tile has left must not matter.
            let mut work = vec![0x5555_AAAA; work_len(9 * quads)];
            let mut sums: Sums = [[[7; MAX_COLUMNS]; CHANNELS]; SEGMENTS];
            let (depth, segments) = match form {
                0 => {
                    kernel.widen(&rows, 3 * quads, quads, columns, &mut work);
                    (9 * quads, 1)
                }
                1 => {
                    kernel.widen(&[&rows[1][quads..]], quads, quads, columns, &mut work);
                    (quads, 1)
                }
                _ => {
                    kernel.differences(rows, quads, columns, &mut work);
                    (9 * quads, SEGMENTS)
                }
            };
            kernel.multiply(&weights[..channels * depth], channels, segments, &work, &mut sums);
            all.extend(sums[..segments].iter().flat_map(|sums| &sums[..channels]).flat_map(|sums| &sums[..columns]));
        }
    }
    all
}

#[test]
fn all_kernels_give_the_same_sums_at_every_depth_and_width() {
    let mut random = Random(1);
    for kernel in KERNELS {
        for quads in 1..=12 {
            for columns in 1..=kernel.columns() {
                let pixels = [(); 3].map(|()| random.quads((columns + 2) * quads));
                let weights = random.quads(CHANNELS * 9 * quads);
                let rows = pixels.each_ref().map(Vec::as_slice);
                let expected = sums(&Portable, rows, quads, columns, &weights);
                assert_eq!(sums(kernel, rows, quads, columns, &weights), expected, "{kernel:?}: {quads}, {columns}");
            }
        }
    }
}

#[test]
fn all_kernels_round_alike_at_every_width_and_shift_and_touch_nothing_else() {
    let mut random = Random(2);
    for kernel in KERNELS {
        for (columns, pitch) in (1..=MAX_COLUMNS).flat_map(|columns| [4, 8, 12, 40].map(|pitch| (columns, pitch))) {
            for shift in 0..16 {
                let mut number = || i32::from_le_bytes(random.quads(1)[0]);
                // Small enough that some activations are neither 0 nor 255.
                let sums = [(); SEGMENTS].map(|()| [(); CHANNELS].map(|()| [(); MAX_COLUMNS].map(|()| number() >> 12)));
                let scales =
                    [(); CHANNELS].map(|()| Scale { bias: number() >> 12, shift, multiplier: number() >> shift });
                let rounded = |kernel: &dyn Kernel, channels: usize| {
                    let mut out = [(); 3].map(|()| vec![7; 2 * columns * pitch]);
                    let [one, upper, lower] = &mut out;
                    kernel.round(&sums[0], &scales[..channels], None, columns, pitch, one);
                    kernel.round_blocks(&sums, &scales[..channels], columns, pitch, [upper, lower]);
                    out
                };
                for channels in 1..=CHANNELS {
                    assert_eq!(
                        rounded(kernel, channels),
                        rounded(&Portable, channels),
                        "{kernel:?}: {columns}, {pitch}"
                    );
                }
            }
        }
    }
}

#[test]
fn slices_that_are_too_short_are_survived() {
    for kernel in KERNELS {
        for length in 0..20 {
            let (quads, mut work) = (vec![[1; 4]; length], vec![0; length]);
            let mut sums: Sums = Default::default();
            for segments in [0, 1, 2, SEGMENTS, SEGMENTS + 1] {
                for channels in 0..=3 {
                    kernel.multiply(&quads, channels, segments, &work, &mut sums);
                }
            }
            kernel.widen(&[&quads, &quads], 3, 2, MAX_COLUMNS + 1, &mut work);
            kernel.differences([&quads, &[], &quads], 2, MAX_COLUMNS + 1, &mut work);
            let (mut upper, mut lower) = (vec![0; length], vec![0; length / 2]);
            kernel.round(&sums[0], &[Scale::default(); CHANNELS + 1], None, MAX_COLUMNS + 1, 4, &mut upper);
            kernel.round_blocks(&sums, &[Scale::default(); CHANNELS + 1], MAX_COLUMNS, 4, [&mut upper, &mut lower]);
        }
    }
}
