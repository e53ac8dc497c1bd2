//! The perceptual loss that a configuration describes.

use anyhow::Result;

use crate::config::{Config, PerceptualComparison, PerceptualNetwork};
use crate::loss::{Comparison, Perceptual};
use crate::networks::{Classifier, Features, ResNet};

/// The loss with its network, read from its file; none where the configuration has none or gives it no weight.
pub(super) fn perceptual(config: &Config) -> Result<Option<Perceptual>> {
    let Some(described) = config.loss.perceptual.as_ref().filter(|described| described.weight > 0.0) else {
        return Ok(None);
    };
    let network: Box<dyn Features> = match &described.network {
        PerceptualNetwork::Classifier { file, features, design } => {
            Box::new(Classifier::load(&config.path(file), &design.into())?.into_features(features)?)
        }
        PerceptualNetwork::ResNet { file, features } => Box::new(ResNet::load(&config.path(file), features)?),
    };
    let comparison = match described.comparison {
        PerceptualComparison::Unit => Comparison::Unit,
        PerceptualComparison::Mse => Comparison::Mse,
    };
    Ok(Some(Perceptual::new(network, described.side, comparison)))
}
