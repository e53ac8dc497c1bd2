//! A processor's kernels against the portable one, with their inner loops in Rust: tiles of any shape, and pictures of
//! integer models.
//!
//! An input's first byte says what follows:
//!
//! | modulo 3 | what follows |
//! |---|---|
//! | 0 | a tile: see `Tile` |
//! | 1 | a model in edits, as in [`model_unsealed`]: every kernel draws the portable one's picture |
//! | 2 | slices and numbers that fit nothing: they are survived |

use spae_core::canvas::Canvas;
use spae_core::decoder::Arithmetic;
use spae_core::kernel::integer::{
    Added, CHANNELS, Kernel, MAX_COLUMNS, Portable, Quad, SEGMENTS, Scale, Sums, work_len,
};
use spae_core::model::Model;
use spae_kernels::{Dsp, Helium, Interleaved, MultiplyAccumulate, Riscv32};

use crate::Outcome;
use crate::exercise::{DIRT, draw, is_small, place_words};
use crate::input::Input;
use crate::model_unsealed;

const KERNELS: [&dyn Kernel; 4] = [&Dsp, &Helium, &Interleaved(MultiplyAccumulate), &Interleaved(Riscv32)];

/// Most quads of a pixel.
const MAX_QUADS: usize = 20;

/// Compares the kernels.
///
/// # Panics
/// If one of them differs from [`Portable`].
pub fn run(bytes: &[u8]) -> Outcome {
    let mut input = Input::new(bytes);
    match input.byte() % 3 {
        0 => {
            let tile = Tile::new(&mut input);
            let expected = (tile.sums(&Portable), tile.activations(&Portable));
            for kernel in KERNELS {
                assert_eq!((tile.sums(kernel), tile.activations(kernel)), expected, "{kernel:?}: {tile:?}");
            }
            Outcome::Drawn
        }
        1 => pictures(&model_unsealed::file(input.rest()), bytes),
        _ => {
            let mut input = input.clone();
            KERNELS.iter().chain([&(&Portable as &dyn Kernel)]).for_each(|kernel| misfit(*kernel, &mut input));
            Outcome::Refused
        }
    }
}

/// What a kernel is asked for: the operation (3×3, 1×1 or upsampling), output channels, columns, quads of a pixel, a byte each;
/// then activations and weights, again and again.
#[derive(Debug)]
struct Tile {
    operation: u8,
    channels: usize,
    columns: usize,
    quads: usize,
    /// Above, at and below, each [(columns + 2) × quads].
    rows: [Vec<Quad>; 3],
    /// [channels × 9 × quads], of which a 1×1 convolution needs a part. They stand for sums and their scales as well.
    weights: Vec<Quad>,
}

impl Tile {
    fn new(input: &mut Input<'_>) -> Self {
        let mut choice = |count: usize| usize::from(input.byte()) % count;
        let (operation, channels) = (choice(3) as u8, 1 + choice(CHANNELS));
        let (columns, quads) = (1 + choice(MAX_COLUMNS), 1 + choice(MAX_QUADS));
        let mut bytes = input.rest().iter().copied().chain([0]).cycle();
        let mut taken =
            |count: usize| -> Vec<Quad> { (0..count).map(|_| [(); 4].map(|()| bytes.next().unwrap_or(0))).collect() };
        let rows = [(); 3].map(|()| taken((columns + 2) * quads));
        Self { operation, channels, columns, quads, rows, weights: taken(channels * SEGMENTS * quads) }
    }

    /// `[segment][channel][column]`.
    fn sums(&self, kernel: &dyn Kernel) -> Vec<i32> {
        let (quads, columns) = (self.quads, self.columns.min(kernel.columns()));
        let rows = self.rows.each_ref().map(Vec::as_slice);
        let mut work = vec![DIRT; work_len(SEGMENTS * quads)];
        let (depth, segments) = match self.operation {
            0 => {
                kernel.widen(&rows, 3 * quads, quads, columns, &mut work);
                (SEGMENTS * quads, 1)
            }
            1 => {
                kernel.widen(&[&rows[1][quads..]], quads, quads, columns, &mut work);
                (quads, 1)
            }
            _ => {
                kernel.differences(rows, quads, columns, &mut work);
                (SEGMENTS * quads, SEGMENTS)
            }
        };
        let mut sums: Sums = [[[DIRT as i32; MAX_COLUMNS]; CHANNELS]; SEGMENTS];
        kernel.multiply(&self.weights[..self.channels * depth], self.channels, segments, &work, &mut sums);
        let sums = sums[..segments].iter().flat_map(|sums| &sums[..self.channels]);
        sums.flat_map(|sums| &sums[..columns]).copied().collect()
    }

    /// What the weights' bytes, as sums, are rounded to: as a convolution's, with nothing added and with the first row, and as
    /// an upsampling's. In between lies what must not be touched.
    fn activations(&self, kernel: &dyn Kernel) -> [Vec<u8>; 4] {
        let mut numbers = self.weights.iter().map(|quad| i32::from_le_bytes(*quad)).cycle();
        let mut number = || numbers.next().unwrap_or(0);
        let scales: Vec<_> = (0..self.channels)
            .map(|_| Scale { bias: number(), shift: (number() & 15) as u8, multiplier: number() })
            .collect();
        let (zero_point, multiplier) = (number() as u8, number());
        let sums: Sums = [(); SEGMENTS].map(|()| [(); CHANNELS].map(|()| [(); MAX_COLUMNS].map(|()| number())));
        let (columns, pitch) = (self.columns, size_of::<Quad>() * self.quads);
        let mut out = [(); 4].map(|()| vec![DIRT as u8; 2 * columns * pitch]);
        let [plain, with, upper, lower] = &mut out;
        kernel.round(&sums[0], &scales, None, columns, pitch, plain);
        let added = Added { activations: self.rows[0].as_flattened(), zero_point, multiplier };
        kernel.round(&sums[0], &scales, Some(added), columns, pitch, with);
        kernel.round_blocks(&sums, &scales, columns, pitch, [upper, lower]);
        out
    }
}

/// Draws with every kernel.
fn pictures(file: &[u8], choices: &[u8]) -> Outcome {
    let Ok(model) = Model::read(file) else { return Outcome::Refused };
    if model.decoder().arithmetic() != Arithmetic::Integer {
        return Outcome::Refused;
    }
    if !is_small(&model) {
        return Outcome::TooMuchWork;
    }
    let picture = |kernel: &dyn Kernel| {
        let mut scratch = vec![DIRT; model.scratch_len()];
        let mut canvas = Canvas::with_kernel(&model, &mut scratch, kernel).expect("the scratch memory suffices");
        place_words(&mut canvas, choices);
        draw(&mut canvas)
    };
    let expected = picture(&Portable);
    for kernel in KERNELS {
        assert_eq!(picture(kernel), expected, "{kernel:?}");
    }
    Outcome::Drawn
}

/// Slices of any length and numbers of any size. Nothing is promised but that it ends.
fn misfit(kernel: &dyn Kernel, input: &mut Input<'_>) {
    let mut number = || usize::from(input.byte());
    let lengths = [number(), number(), number()];
    let [span, step, columns, channels, segments] = [(); 5].map(|()| match number() {
        255 => usize::MAX >> 8,
        number => number % 16,
    });
    let rows = lengths.map(|length| vec![[0xA5; 4]; length]);
    let rows = rows.each_ref().map(Vec::as_slice);
    let mut work = vec![DIRT; number()];
    let mut sums: Sums = [[[0; MAX_COLUMNS]; CHANNELS]; SEGMENTS];
    kernel.widen(&rows, span.min(256), step.min(256), columns, &mut work);
    kernel.multiply(rows[0], channels, segments, &work, &mut sums);
    kernel.differences(rows, span.min(256), columns, &mut work);
    kernel.multiply(rows[1], channels, segments, &work, &mut sums);
    let (scales, [first, second, third]) =
        (vec![Scale::default(); channels.min(8)], &mut lengths.map(|length| vec![0; length]));
    let added = Added { activations: first, zero_point: 1, multiplier: 1 };
    kernel.round(&sums[0], &scales, Some(added), columns, step, second);
    kernel.round(&sums[0], &scales, None, columns, span, second);
    kernel.round_blocks(&sums, &scales, columns, step, [second, third]);
}
