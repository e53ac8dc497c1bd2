//! The perceptual term of Eq. 8: a frozen network, which of its features are compared, and how.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::Design;

/// The perceptual term.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Perceptual {
    /// What sees the pictures. Only training reads its file.
    pub network: PerceptualNetwork,
    /// How its features are compared.
    #[serde(default)]
    pub comparison: PerceptualComparison,
    /// The side in pixels that pictures are resized to for the network; their own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<usize>,
    /// Weight of the term beside the reconstruction.
    pub weight: f64,
}

/// What sees the pictures; files are safetensors, relative to the configuration's folder.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum PerceptualNetwork {
    /// A plain convolutional classifier, such as Tiny Darknet.
    Classifier {
        /// Its weights.
        file: PathBuf,
        /// Convolutions, such as `conv4`, or `logits`.
        features: Vec<String>,
        /// What its file does not say.
        #[serde(default)]
        design: Design,
    },
    /// A ResNet under torchvision's names, such as ResNet-50.
    #[serde(alias = "resnet50")]
    ResNet {
        /// Its weights.
        file: PathBuf,
        /// `layer1` to `layer4`, or `logits` as in MAGVIT.
        #[serde(default = "default_resnet_features")]
        features: Vec<String>,
    },
}

fn default_resnet_features() -> Vec<String> {
    vec!["logits".to_owned()]
}

/// How features are compared; the sum over features.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PerceptualComparison {
    /// The squared distance of directions along the channels, as LPIPS without its learned weights.
    #[default]
    Unit,
    /// The mean squared error.
    Mse,
}

impl Perceptual {
    /// The path that it names.
    pub(super) fn path_mut(&mut self) -> &mut PathBuf {
        match &mut self.network {
            PerceptualNetwork::Classifier { file, .. } | PerceptualNetwork::ResNet { file, .. } => file,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let weight = self.weight;
        ensure!(
            weight.is_finite() && weight >= 0.0,
            "loss.perceptual.weight is {weight}; it must be a number of at least 0"
        );
        ensure!(self.side.is_none_or(|side| (1..=2048).contains(&side)), "loss.perceptual.side can be 1 to 2048");
        let (PerceptualNetwork::Classifier { features, .. } | PerceptualNetwork::ResNet { features, .. }) =
            &self.network;
        ensure!(!features.is_empty(), "loss.perceptual.network.features is empty");
        if let PerceptualNetwork::Classifier { design, .. } = &self.network {
            design.check("loss.perceptual.network.design")?;
        }
        Ok(())
    }
}
