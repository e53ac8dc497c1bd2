//! VGG-16's convolutions, by torchvision's names.

use anyhow::Result;
use candle_core::Tensor;

use super::conv_relu::ConvRelu;
use super::imagenet::normalised;
use super::{Features, Frozen};
use crate::ops;

/// Four poolings halve the sides.
const LEAST: usize = 16;

/// Five blocks of convolutions; each one's last output is a feature.
#[derive(Debug)]
pub struct Vgg16 {
    blocks: Vec<Vec<ConvRelu>>,
}

impl Vgg16 {
    /// The network from `features.N.{weight, bias}`; a classifier beside them is left alone.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape; it is named.
    pub fn new(mut weights: Frozen) -> Result<Self> {
        let (mut number, mut inputs) = (0, 3);
        let mut blocks = Vec::new();
        for (count, outputs) in [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)] {
            let mut block = Vec::with_capacity(count);
            for _ in 0..count {
                let name = format!("features.{number}");
                block.push(ConvRelu::take(&mut weights, &name, [inputs, outputs], 3, (1, 1))?);
                // A convolution and its ReLU.
                number += 2;
                inputs = outputs;
            }
            // The pooling.
            number += 1;
            blocks.push(block);
        }
        Ok(Self { blocks })
    }
}

impl Features for Vgg16 {
    fn features(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        let mut features = Vec::with_capacity(self.blocks.len());
        let mut x = normalised(images, "VGG-16", LEAST)?;
        for block in &self.blocks {
            if !features.is_empty() {
                x = ops::max_pool2d(&x, 2, 2, 0)?;
            }
            for convolution in block {
                x = convolution.forward(&x)?;
            }
            features.push(x.clone());
        }
        Ok(features)
    }
}
