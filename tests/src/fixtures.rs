//! Tiny models with seeded weights, one for each thing that a decoder can get wrong, and canonical texts for them.
//!
//! Weights and rows are rounded to what a file can hold as they are made, so that every runtime computes with the
//! same numbers.

use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spae_core::codebook::Rows;
use spae_core::decoder::{IntegerStage, Operation, StageSpec, Weights};
use spae_core::kernel::{Activation, transform_taps};
use spae_core::model::{Parts, emit};
use spae_core::pyramid::{Pyramid, Shape};

/// Codebook rows, stored either way.
#[derive(Clone, Debug)]
pub enum StoredRows {
    /// One scale a column, values [V × d].
    Int8 {
        /// `[d]`.
        scales: Vec<f32>,
        /// Row-major.
        values: Vec<i8>,
    },
    /// One scale a column, values [V × d] from −7 to 7.
    Int4 {
        /// `[d]`.
        scales: Vec<f32>,
        /// Row-major.
        values: Vec<i8>,
    },
    /// Values [V × d] that binary16 holds exactly.
    F16(Vec<f32>),
}

/// A model in parts.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// What it is there for.
    pub name: &'static str,
    /// The token pyramid.
    pub pyramid: Pyramid,
    /// Byte-sorted.
    pub words: Vec<String>,
    /// The length d of a row.
    pub width: usize,
    /// The codebook.
    pub rows: StoredRows,
    /// The input first.
    pub stages: Vec<StageSpec>,
    /// The stages' weights.
    pub weights: StoredWeights,
}

/// A decoder's weights, stored either way.
#[derive(Clone, Debug)]
pub enum StoredWeights {
    /// In the file's order; binary16 holds each exactly.
    F16(Vec<f32>),
    /// One a stage.
    Int8(Vec<StoredStage>),
}

/// An integer stage; the fields are those of [`IntegerStage`].
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct StoredStage {
    pub zero_point: u8,
    pub shift: u8,
    pub residual: i32,
    pub multipliers: Vec<i32>,
    pub biases: Vec<i32>,
    pub weights: Vec<i8>,
}

impl StoredStage {
    fn borrowed(&self) -> IntegerStage<'_> {
        IntegerStage {
            zero_point: self.zero_point,
            shift: self.shift,
            residual: self.residual,
            multipliers: &self.multipliers,
            biases: &self.biases,
            weights: &self.weights,
        }
    }
}

impl Fixture {
    /// What [`emit`] takes, with the words as slices in `words`.
    pub fn with_parts<T>(&self, take: impl FnOnce(&Parts<'_>) -> T) -> T {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let integers: Vec<IntegerStage<'_>> = match &self.weights {
            StoredWeights::Int8(stages) => stages.iter().map(StoredStage::borrowed).collect(),
            StoredWeights::F16(_) => Vec::new(),
        };
        take(&Parts {
            pyramid: self.pyramid,
            words: &words,
            rows: match &self.rows {
                StoredRows::Int8 { scales, values } => Rows::Int8 { scales, values },
                StoredRows::Int4 { scales, values } => Rows::Int4 { scales, values },
                StoredRows::F16(values) => Rows::F16 { width: self.width as u16, values },
            },
            stages: &self.stages,
            weights: match &self.weights {
                StoredWeights::F16(weights) => Weights::F16(weights),
                StoredWeights::Int8(_) => Weights::Int8(&integers),
            },
            provenance: "fixture = \"seeded\"\n",
        })
    }

    /// The model's file.
    ///
    /// # Panics
    /// If the fixture is no model.
    pub fn file(&self) -> Vec<u8> {
        self.with_parts(|parts| {
            let mut file = vec![0; 1 << 20];
            let length = emit(parts, &mut file).unwrap_or_else(|error| panic!("fixture {}: {error}", self.name));
            file.truncate(length);
            file
        })
    }

    /// e(k) of word `id`, `[d]`.
    pub fn row(&self, id: usize) -> Vec<f32> {
        let range = id * self.width..(id + 1) * self.width;
        match &self.rows {
            StoredRows::Int8 { scales, values } | StoredRows::Int4 { scales, values } => {
                values[range].iter().zip(scales).map(|(&value, scale)| f32::from(value) * scale).collect()
            }
            StoredRows::F16(values) => values[range].to_vec(),
        }
    }

    /// Ids for every place of the pyramid, in reading order.
    pub fn ids(&self, seed: u64) -> Vec<usize> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..self.pyramid.token_count()).map(|_| random.random_range(0..self.words.len())).collect()
    }

    /// The canonical text of the first `ids.len()` places; a `None` becomes a word that no fixture has.
    pub fn text(&self, ids: &[Option<usize>]) -> String {
        let mut text = String::new();
        let mut rest = ids;
        for layer in self.pyramid.layers() {
            let (line, after) = rest.split_at(layer.area().min(rest.len()));
            rest = after;
            let words: Vec<&str> = line.iter().map(|id| id.map_or(STRANGER, |id| &self.words[id])).collect();
            if !words.is_empty() {
                text += &words.join(" ");
                text.push('\n');
            }
        }
        text
    }
}

/// A word of no fixture.
pub const STRANGER: &str = "qwxyzqwxyz";

/// Every fixture.
pub fn all() -> Vec<Fixture> {
    use Operation::{Convolve1x1, Convolve3x3, UpsampleConvolve3x3};
    let plain = |operation, channels| stage(operation, Activation::Identity, None, channels);
    let relu = |operation, channels| stage(operation, Activation::Relu, None, channels);
    vec![
        build("one word, one pixel", 1, (1, 1), &[(1, 1)], Storage::F16, &[relu(Operation::Input, 1)]),
        build(
            "pointwise",
            2,
            (4, 4),
            &[(1, 1), (2, 2), (4, 4)],
            Storage::Int8,
            &[plain(Operation::Input, 5), relu(Convolve1x1, 7), plain(Convolve1x1, 1)],
        ),
        build(
            "convolution on an oblong grid, in colour",
            3,
            (6, 4),
            &[(1, 1), (2, 2), (3, 4), (6, 4), (6, 4)],
            Storage::F16,
            &[relu(Operation::Input, 4), relu(Convolve3x3, 6), plain(Convolve3x3, 3)],
        ),
        build(
            "upsampling a single row",
            4,
            (1, 5),
            &[(1, 1), (1, 5)],
            Storage::Int8,
            &[relu(Operation::Input, 3), plain(UpsampleConvolve3x3, 1)],
        ),
        build(
            "upsampling a single column in colour",
            5,
            (3, 1),
            &[(1, 1), (3, 1)],
            Storage::F16,
            &[plain(Operation::Input, 2), relu(UpsampleConvolve3x3, 4), plain(UpsampleConvolve3x3, 3)],
        ),
        build(
            "residual pairs, nested",
            6,
            (5, 7),
            &[(1, 1), (5, 7)],
            Storage::F16,
            &[
                relu(Operation::Input, 6),
                relu(Convolve3x3, 4),
                stage(Convolve3x3, Activation::Relu, Some(0), 6),
                relu(Convolve3x3, 6),
                stage(Convolve1x1, Activation::Identity, Some(2), 6),
                stage(Convolve3x3, Activation::Relu, Some(0), 6),
                plain(Convolve3x3, 1),
            ],
        ),
        build(
            "residual behind upsampling",
            7,
            (3, 4),
            &[(1, 2), (3, 4), (3, 4)],
            Storage::Int8,
            &[
                relu(Operation::Input, 4),
                relu(UpsampleConvolve3x3, 5),
                relu(Convolve3x3, 3),
                relu(Convolve3x3, 3),
                stage(Convolve3x3, Activation::Relu, Some(1), 5),
                plain(UpsampleConvolve3x3, 3),
            ],
        ),
        build(
            "digits",
            8,
            (8, 8),
            &[(1, 1), (2, 2), (4, 4), (8, 8), (8, 8)],
            Storage::Int8,
            &[
                relu(Operation::Input, 24),
                relu(Convolve3x3, 40),
                relu(Convolve3x3, 24),
                stage(Convolve3x3, Activation::Identity, Some(1), 40),
                relu(UpsampleConvolve3x3, 24),
                relu(UpsampleConvolve3x3, 12),
                plain(Convolve3x3, 1),
            ],
        ),
        build(
            "wider than any vector register",
            9,
            (2, 37),
            &[(1, 1), (2, 37)],
            Storage::F16,
            &[relu(Operation::Input, 3), relu(Convolve3x3, 3), plain(UpsampleConvolve3x3, 1)],
        ),
        build_integer(
            "integers: every operation, channels that fill no quad",
            11,
            (5, 7),
            &[(1, 1), (5, 7), (5, 7)],
            &[
                relu(Operation::Input, 6),
                relu(Convolve3x3, 5),
                stage(Convolve3x3, Activation::Identity, Some(0), 6),
                relu(UpsampleConvolve3x3, 7),
                plain(Convolve1x1, 3),
                stage(Convolve3x3, Activation::Relu, Some(4), 3),
                plain(UpsampleConvolve3x3, 3),
            ],
        ),
        int4(build_integer(
            "integers: a single column, rows in int4",
            12,
            (3, 1),
            &[(1, 1), (3, 1)],
            &[plain(Operation::Input, 4), plain(UpsampleConvolve3x3, 2), plain(Convolve3x3, 1)],
        )),
        int4(build(
            "rows in int4 of odd length",
            14,
            (2, 3),
            &[(1, 1), (2, 3)],
            Storage::Int8,
            &[relu(Operation::Input, 5), plain(Convolve3x3, 1)],
        )),
        build_integer(
            "integers: the digits' stages",
            13,
            (8, 8),
            &[(1, 1), (2, 2), (4, 4), (8, 8), (8, 8)],
            &[
                relu(Operation::Input, 24),
                relu(Convolve3x3, 40),
                relu(Convolve3x3, 24),
                stage(Convolve3x3, Activation::Identity, Some(1), 40),
                relu(UpsampleConvolve3x3, 24),
                relu(UpsampleConvolve3x3, 12),
                plain(Convolve3x3, 1),
            ],
        ),
        // Its file is committed as fixtures/v1.spae: it never changes.
        build(
            "version 1",
            10,
            (4, 4),
            &[(1, 1), (2, 2), (4, 4)],
            Storage::Int8,
            &[
                relu(Operation::Input, 4),
                relu(Convolve3x3, 6),
                stage(Convolve3x3, Activation::Identity, Some(0), 4),
                relu(UpsampleConvolve3x3, 3),
                plain(Convolve1x1, 1),
            ],
        ),
    ]
}

/// The fixture called `name`.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> Fixture {
    all().into_iter().find(|fixture| fixture.name == name).unwrap_or_else(|| panic!("no fixture is called {name}"))
}

/// A stage.
pub const fn stage(operation: Operation, activation: Activation, residual: Option<u8>, channels: u16) -> StageSpec {
    StageSpec { operation, activation, residual, channels }
}

#[derive(Clone, Copy)]
enum Storage {
    Int8,
    F16,
}

fn build(
    name: &'static str,
    seed: u64,
    grid: (u16, u16),
    layers: &[(u16, u16)],
    storage: Storage,
    stages: &[StageSpec],
) -> Fixture {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let shape = |&(height, width): &(u16, u16)| Shape::new(height, width);
    let layers: Vec<Shape> = layers.iter().map(shape).collect();
    let pyramid = Pyramid::new(shape(&grid), &layers).expect("a fixture's pyramid is one");
    let words = words();
    let width = usize::from(stages[0].channels);
    let rows = match storage {
        Storage::Int8 => StoredRows::Int8 {
            scales: (0..width).map(|_| random.random_range(0.005..0.015)).collect(),
            values: (0..words.len() * width).map(|_| random.random_range(-127..=127)).collect(),
        },
        Storage::F16 => {
            StoredRows::F16((0..words.len() * width).map(|_| half(random.random_range(-1.5..1.5))).collect())
        }
    };
    let mut weights = Vec::new();
    let mut inputs = 0;
    for spec in stages {
        let outputs = usize::from(spec.channels);
        let biases = if spec.operation == Operation::Input { pyramid.grid().area() * outputs } else { outputs };
        weights.extend((0..biases).map(|_| half(random.random_range(-0.3..0.3))));
        // Uniform on ±√(3/fan-in): the variance stays near 1 from stage to stage, so most pixels are not clamped.
        let limit = |fan_in: usize| (3.0 / fan_in as f32).sqrt();
        match spec.operation {
            Operation::Input => {}
            Operation::UpsampleConvolve3x3 => {
                for _ in 0..inputs * outputs {
                    let taps: [f32; 9] = core::array::from_fn(|_| random.random_range(-1.0..1.0) * limit(9 * inputs));
                    weights.extend(transform_taps(taps).map(half));
                }
            }
            Operation::Convolve1x1 | Operation::Convolve3x3 => {
                let taps = if spec.operation == Operation::Convolve1x1 { 1 } else { 9 };
                let limit = limit(taps * inputs);
                weights.extend((0..inputs * outputs * taps).map(|_| half(random.random_range(-1.0..1.0) * limit)));
            }
        }
        inputs = outputs;
    }
    Fixture { name, pyramid, words, width, rows, stages: stages.to_vec(), weights: StoredWeights::F16(weights) }
}

/// The same with rows in int4.
fn int4(mut fixture: Fixture) -> Fixture {
    let StoredRows::Int8 { scales, values } = fixture.rows else { panic!("{} has no int8 rows", fixture.name) };
    let scales = scales.into_iter().map(|scale| scale * 17.0).collect();
    fixture.rows = StoredRows::Int4 { scales, values: values.into_iter().map(|value| value / 17).collect() };
    fixture
}

/// Weights over the whole range of int8, constants that keep most activations between 0 and 255.
fn build_integer(
    name: &'static str,
    seed: u64,
    grid: (u16, u16),
    layers: &[(u16, u16)],
    stages: &[StageSpec],
) -> Fixture {
    let fixture = build(name, seed, grid, layers, Storage::Int8, stages);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut inputs = 0;
    let mut stored = Vec::new();
    for spec in stages {
        let channels = usize::from(spec.channels);
        let taps = match spec.operation {
            Operation::Input => 0,
            Operation::Convolve1x1 => 1,
            Operation::Convolve3x3 | Operation::UpsampleConvolve3x3 => 9,
        };
        let input = spec.operation == Operation::Input;
        let count = if input { fixture.pyramid.grid().area() * channels } else { channels * taps * inputs };
        // A sum of random products grows as their number's root: 70 · 90 · √(taps · inputs), to be some 60 steps.
        let ratio = 60.0 / (6_000.0 * (taps.max(1) as f64 * inputs.max(1) as f64).sqrt());
        let shift = random.random_range(0..=3u8);
        let multiplier = if input { 1.0 / 27_720.0 } else { ratio } * 2f64.powi(32 - i32::from(shift));
        let middle = if spec.activation == Activation::Relu { 0.3 } else { 0.9 };
        stored.push(StoredStage {
            zero_point: if spec.activation == Activation::Relu { 0 } else { random.random_range(100..=150) },
            shift,
            residual: if spec.residual.is_some() { random.random_range(20_000..=50_000) } else { 0 },
            multipliers: (0..channels).map(|_| (multiplier * random.random_range(0.8..1.2)) as i32).collect(),
            biases: (0..channels)
                .map(|_| if input { random.random_range(40_000..=90_000) } else { (middle * 100.0 / ratio) as i32 })
                .collect(),
            weights: (0..count).map(|_| random.random_range(-127..=127)).collect(),
        });
        inputs = channels;
    }
    Fixture { weights: StoredWeights::Int8(stored), ..fixture }
}

/// Two blocks and a half of short words in several scripts, byte-sorted.
fn words() -> Vec<String> {
    let list = "a an and apple arc arch arm art ash at be bell big black blue bold box bring cat cloud cold dark day \
                deep dog door dot drop ear east egg end éclair ñandú ноль снег 一 雪 零";
    let mut words: Vec<String> = list.split_whitespace().map(str::to_owned).collect();
    words.sort();
    words
}

/// The nearest value that binary16 holds.
pub fn half(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}
