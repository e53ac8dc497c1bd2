//! What tells real pictures from drawn ones: StyleGAN's residual discriminator, as MAGVIT's 2-D one is built, without
//! normalisation.

use anyhow::Result;
use candle_core::Tensor;

use super::layers::{Conv, Linear, Scope};
use super::weights::Weights;
use crate::config::{self, Image};
use crate::ops;

/// The slope of the leaky ReLU below 0.
const SLOPE: f32 = 0.2;

/// A 3×3 convolution; residual blocks that halve the sides; a 3×3 convolution; two linear layers. Leaky ReLU throughout.
#[derive(Debug)]
pub struct Discriminator {
    stem: Conv,
    blocks: Vec<Block>,
    last: Conv,
    hidden: Linear,
    verdict: Linear,
}

/// (pool(act(conv(act(conv(x))))) + conv(pool(x))) / √2, 3×3, 3×3 and 1×1.
#[derive(Debug)]
struct Block {
    first: Conv,
    second: Conv,
    skip: Conv,
}

impl Discriminator {
    /// The discriminator that `config` describes for pictures of `image`'s size, with tensors from `weights`.
    ///
    /// # Errors
    /// If a weight is missing or of another shape.
    pub fn new(config: &config::Discriminator, image: &Image, weights: &mut dyn Weights) -> Result<Self> {
        let mut scope = Scope::new(weights);
        let mut scope = scope.at("discriminator");
        let mut channels = config.filters;
        let stem = Conv::new(image.channels, channels, 3, &mut scope.at("stem"))?;
        let mut blocks = Vec::with_capacity(config.multipliers.len());
        for (index, multiplier) in config.multipliers.iter().enumerate() {
            let outputs = config.filters * multiplier;
            let mut scope = scope.at(format!("blocks.{index}"));
            blocks.push(Block {
                first: Conv::new(channels, channels, 3, &mut scope.at("first"))?,
                second: Conv::new(channels, outputs, 3, &mut scope.at("second"))?,
                skip: Conv::new(channels, outputs, 1, &mut scope.at("skip"))?,
            });
            channels = outputs;
        }
        let area = (image.height >> config.multipliers.len()) * (image.width >> config.multipliers.len());
        Ok(Self {
            stem,
            blocks,
            last: Conv::new(channels, channels, 3, &mut scope.at("last"))?,
            hidden: Linear::new(channels * area, channels, &mut scope.at("hidden"))?,
            verdict: Linear::new(channels, 1, &mut scope.at("verdict"))?,
        })
    }

    /// D(x) of pictures [B, channels, height, width]: logits `[B]`, above 0 for what seems real.
    ///
    /// # Errors
    /// If the pictures have another shape than configured.
    pub fn forward(&self, pictures: &Tensor) -> Result<Tensor> {
        let mut x = leaky_relu(&self.stem.forward(pictures)?)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let x = leaky_relu(&self.last.forward(&x)?)?.flatten_from(1)?;
        Ok(self.verdict.forward(&leaky_relu(&self.hidden.forward(&x)?)?)?.squeeze(1)?)
    }
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = leaky_relu(&self.first.forward(x)?)?;
        let inner = ops::average_pool2d(&leaky_relu(&self.second.forward(&inner)?)?)?;
        let skip = self.skip.forward(&ops::average_pool2d(x)?)?;
        Ok(((inner + skip)? * std::f64::consts::FRAC_1_SQRT_2)?)
    }
}

fn leaky_relu(x: &Tensor) -> Result<Tensor> {
    Ok(ops::leaky_relu(x, SLOPE)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Fit;
    use crate::model::{Frozen, Initialiser};
    use candle_core::Device;

    const IMAGE: Image = Image { channels: 3, height: 16, width: 8, fit: Fit::Crop, border: 0 };

    #[test]
    fn every_picture_gets_one_logit_and_every_weight_a_gradient() {
        let config = config::Discriminator { filters: 2, multipliers: vec![2, 3] };
        let mut weights = Initialiser::new(1);
        let discriminator = Discriminator::new(&config, &IMAGE, &mut weights).unwrap();
        let pictures = Tensor::rand(-1f32, 1.0, (5, 3, 16, 8), &Device::Cpu).unwrap();
        let logits = discriminator.forward(&pictures).unwrap();
        assert_eq!(logits.dims(), [5]);
        let gradients = logits.sum_all().unwrap().backward().unwrap();
        for (name, variable) in weights.variables() {
            let gradient = gradients.get(variable).unwrap_or_else(|| panic!("`{name}`"));
            let largest = gradient.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            assert!(largest.to_scalar::<f32>().unwrap() > 0.0, "`{name}`");
        }
    }

    #[test]
    fn a_frozen_one_follows_the_variables_and_passes_them_no_gradient() {
        let config = config::Discriminator { filters: 2, multipliers: vec![1] };
        let mut weights = Initialiser::new(1);
        let learning = Discriminator::new(&config, &IMAGE, &mut weights).unwrap();
        let frozen = Discriminator::new(&config, &IMAGE, &mut Frozen::new(weights.variables())).unwrap();
        let pictures = candle_core::Var::rand(-1f32, 1.0, (2, 3, 16, 8), &Device::Cpu).unwrap();
        let bias = &weights.variables()["discriminator.verdict.bias"];
        bias.set(&(bias.as_tensor() + 3.0).unwrap()).unwrap();
        let logits = frozen.forward(&pictures).unwrap();
        assert_eq!(logits.to_vec1::<f32>().unwrap(), learning.forward(&pictures).unwrap().to_vec1::<f32>().unwrap());
        let gradients = logits.sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&pictures).is_some());
        assert!(weights.variables().values().all(|variable| gradients.get(variable).is_none()));
    }
}
