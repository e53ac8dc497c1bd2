//! A network of a fixed size, "S", to measure engines on: 16×16×32 → 32 @16² → up 24 @32² → up 16 @64² → 3 @64², with
//! 4,096 words of 32 elements. Its weights are drawn; nothing but the amount of work is of interest.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use spae_core::codebook::Rows;
use spae_core::decoder::{IntegerStage, Operation, StageSpec, Weights};
use spae_core::kernel::Activation;
use spae_core::model::{Model, Parts, emit};
use spae_core::pyramid::{Pyramid, Shape};

use crate::command::root;

/// Writes the network's model file; its path.
pub(crate) fn write_reference() -> Result<PathBuf> {
    let digits = root().join("models/digits/model.spae");
    let file = std::fs::read(&digits).with_context(|| digits.display().to_string())?;
    let model = Model::read(&file).map_err(|error| anyhow!("{}: {error}", digits.display()))?;
    let words: Vec<String> = model.lexicon().words().map(|word| word.to_string()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let bytes = reference(&words)?;
    let path = root().join("target/qemu/S.spae");
    std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
    std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn reference(words: &[&str]) -> Result<Vec<u8>> {
    let square = |side| Shape::new(side, side);
    let pyramid = Pyramid::new(square(16), &[1, 2, 4, 8, 16, 16].map(square))?;
    let stage = |operation, activation, channels| StageSpec { operation, activation, residual: None, channels };
    let specs = [
        stage(Operation::Input, Activation::Relu, 32),
        stage(Operation::Convolve3x3, Activation::Relu, 32),
        stage(Operation::UpsampleConvolve3x3, Activation::Relu, 24),
        stage(Operation::UpsampleConvolve3x3, Activation::Relu, 16),
        stage(Operation::Convolve3x3, Activation::Identity, 3),
    ];
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut draw = |count: usize| -> Vec<i8> { (0..count).map(|_| random.random_range(-127..=127)).collect() };
    let values = draw(words.len() * 32);
    let weights = [256 * 32, 9 * 32 * 32, 9 * 32 * 24, 9 * 24 * 16, 9 * 16 * 3].map(&mut draw);
    // Multipliers that keep most activations between 0 and 255: 2³² · 1/27,720 for the input, 2³² · 1/8,000 behind it.
    let (multipliers, biases) = ([154_941; 32], [536_871; 32]);
    let stages: Vec<IntegerStage<'_>> = specs
        .iter()
        .zip(&weights)
        .map(|(spec, weights)| {
            let channels = usize::from(spec.channels);
            let is_input = spec.operation == Operation::Input;
            IntegerStage {
                zero_point: 0,
                shift: 0,
                residual: 0,
                multipliers: if is_input { &multipliers[..channels] } else { &biases[..channels] },
                biases: &multipliers[..channels],
                weights,
            }
        })
        .collect();
    let parts = Parts {
        pyramid,
        words,
        rows: Rows::Int8 { scales: &[1.0 / 127.0; 32], values: &values },
        stages: &specs,
        weights: Weights::Int8(&stages),
        provenance: "name = S\n",
    };
    let mut file = vec![0; 1 << 20];
    let length = emit(&parts, &mut file).map_err(|error| anyhow!("{error}"))?;
    file.truncate(length);
    Ok(file)
}
