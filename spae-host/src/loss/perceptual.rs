//! Picture against picture as a frozen network sees them: the perceptual term of Eq. 8.

use anyhow::{Context as _, Result, ensure};
use candle_core::Tensor;

use crate::networks::{Features, to_network};

/// A network whose features are compared.
#[derive(Debug)]
pub struct Perceptual {
    network: Box<dyn Features>,
    /// The side in pixels that pictures are resized to for the network; their own where absent.
    side: Option<usize>,
    comparison: Comparison,
}

/// How features are compared. Features of several layers are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Brought to unit length along their channels; then as `Distance`. LPIPS without its learned weights.
    Unit,
    /// The squared distance over channels, the mean over places.
    Distance,
    /// The mean squared error over channels and places.
    Mse,
}

impl Perceptual {
    /// The loss by `network`'s features.
    pub fn new(network: Box<dyn Features>, side: Option<usize>, comparison: Comparison) -> Self {
        Self { network, side, comparison }
    }

    /// `decoded` against `images`, both [B, channels, height, width] in [−1, 1]: `[B]`. With n · B decoded pictures every
    /// B of them are compared with the same images. Gradients reach `decoded` alone.
    ///
    /// # Errors
    /// If the numbers of pictures do not fit, or the network does not take such pictures.
    pub fn loss(&self, decoded: &Tensor, images: &Tensor) -> Result<Tensor> {
        let (pictures, each) = (decoded.dim(0)?, images.dim(0)?);
        ensure!(each > 0 && pictures.is_multiple_of(each), "{pictures} pictures cannot be compared with {each}");
        let see = |pictures: &Tensor| self.network.features(&to_network(pictures, self.network.channels(), self.side)?);
        let targets = see(&images.detach())?;
        let mut sum: Option<Tensor> = None;
        for (feature, target) in see(decoded)?.iter().zip(&targets) {
            let target = self.prepared(&target.detach())?;
            let target = Tensor::cat(&vec![target; pictures / each], 0)?;
            let error = (self.prepared(feature)? - target)?.sqr()?;
            let error = match self.comparison {
                Comparison::Mse => error.flatten_from(1)?.mean(1)?,
                // What has no places is one place.
                Comparison::Unit | Comparison::Distance if error.rank() == 2 => error.sum(1)?,
                Comparison::Unit | Comparison::Distance => error.sum(1)?.flatten_from(1)?.mean(1)?,
            };
            sum = Some(match sum {
                Some(sum) => (sum + error)?,
                None => error,
            });
        }
        sum.context("the network has no features")
    }

    fn prepared(&self, feature: &Tensor) -> Result<Tensor> {
        if self.comparison != Comparison::Unit {
            return Ok(feature.clone());
        }
        let lengths = (feature.sqr()?.sum_keepdim(1)? + 1e-10)?.sqrt()?;
        Ok(feature.broadcast_div(&lengths)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::values;
    use candle_core::{Device, Var};

    /// Two channels as they are, and their sum over all places.
    #[derive(Debug)]
    struct Raw;

    impl Features for Raw {
        fn channels(&self) -> usize {
            2
        }

        fn features(&self, images: &Tensor) -> Result<Vec<Tensor>> {
            Ok(vec![images.clone(), images.flatten_from(2)?.sum(2)?])
        }
    }

    /// [2, 2, 1, 2] in [0, 1], brought to [−1, 1].
    fn pictures(values: [[[f32; 2]; 2]; 2]) -> Tensor {
        let pictures = Tensor::new(&values, &Device::Cpu).unwrap().unsqueeze(2).unwrap();
        ((pictures * 2.0).unwrap() - 1.0).unwrap()
    }

    #[test]
    fn three_comparisons_by_hand() {
        let images = pictures([[[0.6, 0.0], [0.8, 1.0]], [[0.0, 0.0], [1.0, 1.0]]]);
        let decoded = pictures([[[0.3, 0.5], [0.4, 0.0]], [[0.0, 0.0], [1.0, 1.0]]]);
        let loss = |comparison| {
            let loss = Perceptual::new(Box::new(Raw), None, comparison).loss(&decoded, &images).unwrap();
            values(&loss)
        };
        // Differences: places (0.3, 0.4) and (−0.5, 1); sums (0.6, 1.8) and (0.8, 0.4).
        let close = |got: Vec<f32>, expected: f32| {
            assert!((got[0] - expected).abs() < 1e-5 && got[1] == 0.0, "{got:?} {expected}");
        };
        close(loss(Comparison::Distance), (0.25 + 1.25) / 2.0 + (0.04 + 1.96));
        close(loss(Comparison::Mse), (0.25 + 1.25) / 4.0 + (0.04 + 1.96) / 2.0);
        // Unit: (0.6, 0.8) twice; (0, 1) and (1, 0), 2 apart. The sums' directions: (0.6, 1.8) and (0.8, 0.4).
        let (a, b) = (3.6f32.sqrt(), 0.8f32.sqrt());
        let sums = (0.6 / a - 0.8 / b).powi(2) + (1.8 / a - 0.4 / b).powi(2);
        close(loss(Comparison::Unit), 2.0 / 2.0 + sums);
    }

    #[test]
    fn the_decoded_pictures_move_and_the_images_stay() {
        let images = Var::from_tensor(&pictures([[[0.6, 0.1], [0.8, 1.0]], [[0.0, 0.2], [1.0, 1.0]]])).unwrap();
        let decoded = Var::from_tensor(&pictures([[[0.3, 0.5], [0.4, 0.0]], [[0.1, 0.0], [1.0, 1.0]]])).unwrap();
        for comparison in [Comparison::Unit, Comparison::Distance, Comparison::Mse] {
            let loss = Perceptual::new(Box::new(Raw), Some(4), comparison).loss(&decoded, &images).unwrap();
            let gradients = loss.sum_all().unwrap().backward().unwrap();
            assert!(gradients.get(&images).is_none(), "{comparison:?}");
            assert!(values(gradients.get(&decoded).unwrap()).iter().any(|&gradient| gradient != 0.0));
        }
    }

    #[test]
    fn several_pictures_of_an_image_are_compared_with_it() {
        let images = pictures([[[0.6, 0.1], [0.8, 1.0]], [[0.0, 0.2], [1.0, 1.0]]]);
        let other = pictures([[[0.3, 0.5], [0.4, 0.0]], [[0.1, 0.0], [1.0, 1.0]]]);
        let loss = Perceptual::new(Box::new(Raw), None, Comparison::Mse);
        let both = values(&loss.loss(&Tensor::cat(&[&images, &other], 0).unwrap(), &images).unwrap());
        assert_eq!(both[..2], [0.0, 0.0]);
        assert_eq!(both[2..], values(&loss.loss(&other, &images).unwrap()));
        assert!(loss.loss(&images.narrow(0, 0, 1).unwrap(), &images).is_err());
    }
}
