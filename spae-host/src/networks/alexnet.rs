//! AlexNet's convolutions, by torchvision's names.

use anyhow::Result;
use candle_core::Tensor;

use super::conv_relu::ConvRelu;
use super::imagenet::normalised;
use super::{Features, Frozen};
use crate::ops;

/// The least side whose last pooling has a window.
const LEAST: usize = 31;

/// Five convolutions; each one's output is a feature.
#[derive(Debug)]
pub struct AlexNet {
    convolutions: Vec<ConvRelu>,
}

impl AlexNet {
    /// The network from `features.N.{weight, bias}`; a classifier beside them is left alone.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape; it is named.
    pub fn new(mut weights: Frozen) -> Result<Self> {
        let plan = [
            (0, [3, 64], 11, (4, 2)),
            (3, [64, 192], 5, (1, 2)),
            (6, [192, 384], 3, (1, 1)),
            (8, [384, 256], 3, (1, 1)),
            (10, [256, 256], 3, (1, 1)),
        ];
        let convolutions = plan.into_iter().map(|(number, channels, kernel, places)| {
            ConvRelu::take(&mut weights, &format!("features.{number}"), channels, kernel, places)
        });
        Ok(Self { convolutions: convolutions.collect::<Result<_>>()? })
    }
}

impl Features for AlexNet {
    fn features(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        let mut features = Vec::with_capacity(self.convolutions.len());
        let mut x = normalised(images, "AlexNet", LEAST)?;
        for (index, convolution) in self.convolutions.iter().enumerate() {
            if matches!(index, 1 | 2) {
                x = ops::max_pool2d(&x, 3, 2, 0)?;
            }
            x = convolution.forward(&x)?;
            features.push(x.clone());
        }
        Ok(features)
    }
}
