//! LPIPS v0.1 (Zhang et al., 2018): the distance of two pictures in the features of a classifier. Each feature vector is
//! brought to unit length; squared differences are weighted by channel, averaged over places and summed over layers.

use anyhow::{Result, bail, ensure};
use candle_core::Tensor;

use crate::networks::{AlexNet, Features, Frozen, SqueezeNet, Vgg16};

/// Added to a vector's length, as the original does.
const EPSILON: f64 = 1e-10;

/// Whose features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backbone {
    /// AlexNet, the one that most papers report.
    Alex,
    /// VGG-16.
    Vgg,
    /// SqueezeNet 1.1.
    Squeeze,
}

impl Backbone {
    /// The network's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alex => "AlexNet",
            Self::Vgg => "VGG-16",
            Self::Squeeze => "SqueezeNet 1.1",
        }
    }

    /// Channels of each feature.
    const fn channels(self) -> &'static [usize] {
        match self {
            Self::Alex => &[64, 192, 384, 256, 256],
            Self::Vgg => &[64, 128, 256, 512, 512],
            Self::Squeeze => &[64, 128, 256, 384, 384, 512, 512],
        }
    }
}

/// The measure.
#[derive(Debug)]
pub struct Lpips {
    network: Box<dyn Features>,
    /// Each [1, channels, 1, 1].
    heads: Vec<Tensor>,
}

/// What the measure keeps of a batch.
#[derive(Clone, Debug)]
pub struct Seen(Vec<Tensor>);

impl Lpips {
    /// From the classifier's weights by torchvision's names and the heads `linN.model.1.weight` [1, channels, 1, 1].
    ///
    /// # Errors
    /// If a tensor is missing or of another shape; it is named.
    pub fn new(backbone: Backbone, weights: Frozen, mut heads: Frozen) -> Result<Self> {
        let take = |(layer, &channels): (usize, &usize)| {
            heads.take_shaped(&format!("lin{layer}.model.1.weight"), &[1, channels, 1, 1])
        };
        let taken = backbone.channels().iter().enumerate().map(take).collect::<Result<_>>()?;
        heads.finish()?;
        let network: Box<dyn Features> = match backbone {
            Backbone::Alex => Box::new(AlexNet::new(weights)?),
            Backbone::Vgg => Box::new(Vgg16::new(weights)?),
            Backbone::Squeeze => Box::new(SqueezeNet::new(weights)?),
        };
        Ok(Self { network, heads: taken })
    }

    /// What is compared of pictures [B, 3, height, width] in [0, 1].
    ///
    /// # Errors
    /// If they are too small for the network.
    pub fn see(&self, images: &Tensor) -> Result<Seen> {
        let unit = |features: &Tensor| {
            let lengths = (features.sqr()?.sum_keepdim(1)?.sqrt()? + EPSILON)?;
            Ok(features.broadcast_div(&lengths)?)
        };
        Ok(Seen(self.network.features(images)?.iter().map(unit).collect::<Result<_>>()?))
    }

    /// The distance of each picture of one batch to the same of another.
    ///
    /// # Errors
    /// If the batches differ in shape.
    pub fn distances(&self, a: &Seen, b: &Seen) -> Result<Vec<f64>> {
        let Some(first) = a.0.first() else { bail!("a network without features") };
        let mut sums = vec![0.0; first.dim(0)?];
        for ((a, b), head) in a.0.iter().zip(&b.0).zip(&self.heads) {
            ensure!(a.dims() == b.dims(), "LPIPS of pictures that differ in shape");
            let places = (a - b)?.sqr()?.broadcast_mul(head)?.sum(1)?.flatten_from(1)?.mean(1)?;
            for (sum, value) in sums.iter_mut().zip(places.to_vec1::<f32>()?) {
                *sum += f64::from(value);
            }
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{golden, pixels, weight};
    use super::*;
    use candle_core::Device;
    use serde_json::Value;

    const NETS: [(Backbone, &str); 3] =
        [(Backbone::Alex, "alex"), (Backbone::Vgg, "vgg"), (Backbone::Squeeze, "squeeze")];

    fn sizes(value: &Value) -> Vec<usize> {
        value.as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect()
    }

    fn backbone(net: &str) -> Frozen {
        let tensors = golden()["lpips"][net]["tensors"].as_object().unwrap().clone();
        Frozen::of(tensors.into_iter().map(|(name, shape)| (name.clone(), weight(&name, &sizes(&shape)))))
    }

    fn heads(backbone: Backbone) -> Frozen {
        Frozen::of(backbone.channels().iter().enumerate().map(|(layer, &channels)| {
            let name = format!("lin{layer}.model.1.weight");
            (name.clone(), weight(&name, &[1, channels, 1, 1]))
        }))
    }

    /// The pictures of the golden values.
    fn pair() -> [Tensor; 2] {
        let shape = sizes(&golden()["lpips"]["shape"]);
        let count = shape.iter().product();
        let (a, noise) = (pixels("picture", count), pixels("noise", count));
        let b = a.iter().zip(noise).map(|(a, noise)| a / 2 + noise / 4).collect();
        [a, b].map(|bytes: Vec<u8>| {
            let values = bytes.into_iter().map(|byte| f32::from(byte) / 255.0).collect();
            Tensor::from_vec(values, shape.clone(), &Device::Cpu).unwrap()
        })
    }

    fn assert_distances(lpips: &Lpips, expected: &Value) {
        let [a, b] = pair().map(|images| lpips.see(&images).unwrap());
        let distances = lpips.distances(&a, &b).unwrap();
        for (got, expected) in distances.iter().zip(expected.as_array().unwrap()) {
            let expected = expected.as_f64().unwrap();
            assert!((got - expected).abs() < 1e-4 * expected, "{got}, {expected}");
        }
        assert_eq!(lpips.distances(&a, &a).unwrap(), [0.0; 2]);
    }

    #[test]
    fn agrees_with_the_original_package() {
        for (net, name) in NETS {
            let lpips = Lpips::new(net, backbone(name), heads(net)).unwrap();
            assert_distances(&lpips, &golden()["lpips"][name]["heads_by_rule"]);
        }
    }

    #[test]
    fn agrees_with_the_original_package_with_the_published_heads() {
        for (net, name) in NETS {
            let Some(path) = crate::networks::golden::shared(&format!("lpips-linear/{name}-v0.1.safetensors")) else {
                eprintln!("skipped: ../shared/data/lpips-linear is not here");
                return;
            };
            let lpips = Lpips::new(net, backbone(name), Frozen::read(&path).unwrap()).unwrap();
            assert_distances(&lpips, &golden()["lpips"][name]["published_heads"]);
        }
    }

    #[test]
    fn wrong_files_and_small_pictures_are_refused_by_name() {
        let fault = |net, weights, heads| Lpips::new(net, weights, heads).unwrap_err().to_string();
        let swapped = fault(Backbone::Alex, backbone("vgg"), heads(Backbone::Alex));
        assert!(swapped.contains("`features.0.weight`"), "{swapped}");
        let other_heads = fault(Backbone::Vgg, backbone("vgg"), heads(Backbone::Alex));
        assert!(other_heads.contains("`lin1.model.1.weight`"), "{other_heads}");
        let more_heads = fault(Backbone::Vgg, backbone("vgg"), heads(Backbone::Squeeze));
        assert!(more_heads.contains("`lin3.model.1.weight`"), "{more_heads}");
        for (net, name, least) in [(NETS[0].0, "alex", 31), (NETS[1].0, "vgg", 16), (NETS[2].0, "squeeze", 17)] {
            let lpips = Lpips::new(net, backbone(name), heads(net)).unwrap();
            let black = |side| Tensor::zeros((1, 3, side, side), candle_core::DType::F32, &Device::Cpu).unwrap();
            assert!(lpips.see(&black(least)).is_ok(), "{name}");
            let error = lpips.see(&black(least - 1)).unwrap_err().to_string();
            assert!(error.contains(&format!("{least} × {least}")), "{error}");
        }
    }
}
