//! A small convolutional network that reads a digit from a 32 × 32 grey picture, and its file.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use candle_core::{D, Tensor};
use serde::{Deserialize, Serialize};
use spae_host::config::{Fit, Image};
use spae_host::model::{Initial, Stored, Weights};
use spae_host::ops;
use spae_host::tensor_file::{self, Tensors};

/// Where the classifier is kept unless told otherwise.
pub(crate) const FILE: &str = "target/judge/classifier.safetensors";
/// The kind that the file's metadata names.
const KIND: &str = "digit-classifier";

/// The pictures that it reads: 28 × 28 digits with a border of 2.
pub(crate) const IMAGE: Image = Image { channels: 1, height: 32, width: 32, fit: Fit::Pad, border: 2 };
/// The digits.
pub(crate) const CLASSES: usize = 10;

/// Convolutions: name, inputs, outputs, kernel, stride; each with group norm and SiLU. 32 × 32 becomes 4 × 4.
const CONVOLUTIONS: [(&str, usize, usize, usize, usize); 6] = [
    ("stem", 1, 16, 3, 1),
    ("down1", 16, 32, 4, 2),
    ("middle", 32, 32, 3, 1),
    ("down2", 32, 64, 4, 2),
    ("deep", 64, 64, 3, 1),
    ("down3", 64, 64, 4, 2),
];
/// Values of a picture after the last convolution.
const FEATURES: usize = 64 * 4 * 4;
const GROUPS: usize = 8;

/// How the classifier was made and what it reaches.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Document {
    pub(crate) seed: u64,
    pub(crate) epochs: u64,
    /// Share of the test originals that it reads right.
    pub(crate) accuracy: f64,
}

#[derive(Debug)]
pub(crate) struct Classifier {
    convolutions: Vec<Convolution>,
    /// [CLASSES, FEATURES]
    weight: Tensor,
    /// [CLASSES]
    bias: Tensor,
}

#[derive(Debug)]
struct Convolution {
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    stride: usize,
}

impl Classifier {
    pub(crate) fn new(weights: &mut dyn Weights) -> Result<Self> {
        let convolution = |&(name, inputs, outputs, kernel, stride): &(&str, usize, usize, usize, usize)| {
            let fan_in = Initial::FanIn(inputs * kernel * kernel);
            let mut take =
                |part: &str, shape: &[usize], initial| weights.take(&format!("{name}.{part}"), shape, initial);
            anyhow::Ok(Convolution {
                weight: take("weight", &[outputs, inputs, kernel, kernel], fan_in)?,
                bias: take("bias", &[outputs], Initial::Constant(0.0))?,
                scale: take("norm.weight", &[outputs], Initial::Constant(1.0))?,
                shift: take("norm.bias", &[outputs], Initial::Constant(0.0))?,
                stride,
            })
        };
        Ok(Self {
            convolutions: CONVOLUTIONS.iter().map(convolution).collect::<Result<_>>()?,
            weight: weights.take("head.weight", &[CLASSES, FEATURES], Initial::FanIn(FEATURES))?,
            bias: weights.take("head.bias", &[CLASSES], Initial::Constant(0.0))?,
        })
    }

    /// Pictures [B, 1, 32, 32] in [−1, 1] to logits [B, CLASSES].
    pub(crate) fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = images.clone();
        for Convolution { weight, bias, scale, shift, stride } in &self.convolutions {
            x = ops::conv2d(&x, weight, Some(bias), *stride, 1)?;
            x = ops::group_norm_silu(&x, scale, shift, GROUPS, 1e-5)?;
        }
        Ok(x.flatten_from(1)?.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?)
    }

    /// The digit that each picture shows most likely.
    pub(crate) fn read(&self, images: &Tensor) -> Result<Vec<u32>> {
        Ok(self.logits(images)?.argmax(D::Minus1)?.to_vec1()?)
    }

    /// The classifier in a file, and its description.
    pub(crate) fn load(path: &Path) -> Result<(Self, Document)> {
        ensure!(
            path.is_file(),
            "there is no classifier {}; make it with `cargo run --release -p judge -- train --data D`",
            path.display()
        );
        let (tensors, document) = tensor_file::read(path, KIND)?;
        Ok((Self::new(&mut Stored::new(&tensors, path.display().to_string()))?, document))
    }

    /// Writes the weights of a classifier.
    pub(crate) fn save(path: &Path, weights: &Tensors, document: &Document) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        tensor_file::write(path, KIND, weights, document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use spae_host::model::Initialiser;

    #[test]
    fn a_saved_classifier_reads_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/classifier.safetensors");
        assert!(Classifier::load(&path).unwrap_err().to_string().contains("judge -- train"));
        let mut weights = Initialiser::new(3);
        let made = Classifier::new(&mut weights).unwrap();
        let weights = weights.into_variables().into_iter().map(|(name, weight)| (name, weight.as_detached_tensor()));
        Classifier::save(&path, &weights.collect(), &Document { seed: 3, epochs: 0, accuracy: 0.1 }).unwrap();
        let (read, document) = Classifier::load(&path).unwrap();
        assert_eq!(document.seed, 3);
        let images = Tensor::rand(-1.0f32, 1.0, (5, 1, 32, 32), &Device::Cpu).unwrap();
        let logits = |classifier: &Classifier| classifier.logits(&images).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(logits(&read), logits(&made));
        assert_eq!(logits(&read)[0].len(), CLASSES);
    }
}
