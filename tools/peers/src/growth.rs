//! Cost grows linearly: twice and four times the pictures, and four times the pixels, against so many times the time.

use anyhow::Result;
use candle_core::{Device, Tensor};
use spae_host::config::Config;
use spae_host::model::{self, Initialiser};
use spae_host::tokenizer::Tokenizer;

use crate::case::{Case, Other, Ours};
use crate::materials::Materials;
use crate::timing::Work;

/// More than so much above the line is no line.
const LIMIT: f64 = 1.1;

/// Pictures of the smallest case.
const PICTURES: usize = 16;

pub(crate) fn cases(materials: &Materials) -> Vec<Case<'_>> {
    let case = |name: &str, pictures: usize, side: usize| Case {
        name: format!("encoding colour, {name} to 1×"),
        limit: Some(LIMIT),
        ours: Box::new(move || encode(materials, pictures, side).map(Ours::from)),
        other: Other::Ours {
            times: (pictures * side * side) as f64 / (PICTURES * 64 * 64) as f64,
            work: Box::new(move || encode(materials, PICTURES, 64)),
        },
    };
    vec![
        case("2× pictures", 2 * PICTURES, 64),
        case("4× pictures", 4 * PICTURES, 64),
        case("128² pixels", PICTURES, 128),
    ]
}

/// The coloured network on `pictures` of `side` × `side`; each layer has a quarter of the next side's words.
fn encode(materials: &Materials, pictures: usize, side: usize) -> Result<Work<'_>> {
    let colour = &materials.colour;
    let grid = side / 4;
    let layers: Vec<String> = [8, 4, 2, 1].iter().map(|part| format!("[{0}, {0}]", grid / part)).collect();
    let overrides =
        [format!("image.height={side}"), format!("image.width={side}"), format!("pyramid=[{}]", layers.join(", "))];
    let config = Config::load(&colour.path, &overrides)?;
    let codebook = colour.tokenizer.codebook.clone();
    let mut weights = Initialiser::new(config.seed);
    model::Model::new(&config, codebook.embedding.dims2()?, &mut weights)?;
    let weights = weights.into_variables().into_iter().map(|(name, weight)| (name, weight.as_detached_tensor()));
    let tokenizer = Tokenizer::new(config, codebook, weights.collect(), colour.path.clone())?;
    let images = Tensor::rand(-1f32, 1.0, (pictures, 3, side, side), &Device::Cpu)?;
    Ok(Box::new(move || tokenizer.encode(&images).map(drop)))
}
