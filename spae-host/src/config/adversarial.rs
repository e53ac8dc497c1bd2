//! The discriminator and its losses (λ·L_GAN and φ·L_LeCAM of Eq. 8).

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::Image;

/// The adversarial loss: without this table there is none.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Adversarial {
    /// λ: what the generator's loss counts. It stays outside of w's ratio.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// The step from which on the discriminator learns and its verdict counts.
    #[serde(default)]
    pub start: u64,
    /// Steps over which λ rises from 0 behind the start.
    #[serde(default)]
    pub warm_up: u64,
    /// The peak of the discriminator's learning rate, which follows `train.schedule`.
    pub learning_rate: f64,
    /// What keeps the discriminator from growing steep around real pictures.
    #[serde(default)]
    pub penalty: Penalty,
    /// What keeps its outputs for real and for drawn pictures near each other.
    #[serde(default)]
    pub lecam: Lecam,
    /// Its size.
    #[serde(default)]
    pub discriminator: Discriminator,
}

/// What keeps the discriminator from growing steep around real pictures.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Penalty {
    /// Nothing.
    #[default]
    None,
    /// This much times ‖∇D(x)‖² (R1), estimated from finite differences.
    R1(f64),
}

/// LeCAM's regularisation.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Lecam {
    /// φ. 0 for none.
    pub weight: f64,
    /// What the running means of the discriminator's outputs keep at a step.
    #[serde(default = "default_decay")]
    pub decay: f64,
}

/// The discriminator's size: a 3×3 convolution to `filters` channels, a block that halves the sides for each multiplier,
/// then a 3×3 convolution and two linear layers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Discriminator {
    /// Channels after the first convolution.
    pub filters: usize,
    /// Channels of each block, as multiples of `filters`.
    pub multipliers: Vec<usize>,
}

fn default_weight() -> f64 {
    0.1
}

fn default_decay() -> f64 {
    0.999
}

impl Default for Lecam {
    fn default() -> Self {
        Self { weight: 1e-4, decay: default_decay() }
    }
}

impl Default for Discriminator {
    fn default() -> Self {
        Self { filters: 64, multipliers: vec![2, 4, 4, 4] }
    }
}

impl Adversarial {
    pub(super) fn check(&self, image: &Image) -> Result<()> {
        let Self { weight, learning_rate, lecam, discriminator, .. } = self;
        for (name, value) in [
            ("weight", *weight),
            ("learning_rate", *learning_rate),
            ("lecam.weight", lecam.weight),
            ("penalty.r1", if let Penalty::R1(weight) = self.penalty { weight } else { 0.0 }),
        ] {
            let fits = value.is_finite() && value >= 0.0;
            ensure!(fits, "adversarial.{name} is {value}; it must be a number of at least 0");
        }
        ensure!((0.0..1.0).contains(&lecam.decay), "adversarial.lecam.decay is {}; it must lie in 0..1", lecam.decay);
        ensure!(discriminator.filters > 0, "adversarial.discriminator.filters is 0");
        ensure!(
            discriminator.multipliers.iter().all(|&multiplier| multiplier > 0),
            "adversarial.discriminator.multipliers holds a 0"
        );
        let factor = 1usize << discriminator.multipliers.len().min(16);
        for (name, side) in [("height", image.height), ("width", image.width)] {
            ensure!(
                side.is_multiple_of(factor),
                "adversarial.discriminator.multipliers: {} blocks halve image.{name} = {side} to a {factor}th, which leaves \
                 a remainder",
                discriminator.multipliers.len()
            );
        }
        Ok(())
    }

    /// λ at step `step`: 0 before the start.
    pub fn weight_at(&self, step: u64) -> f64 {
        if step < self.start {
            return 0.0;
        }
        let risen = (step - self.start + 1) as f64 / self.warm_up.max(1) as f64;
        self.weight * risen.min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_is_0_before_the_start_and_rises_behind_it() {
        let text = "learning_rate = 1e-4\nstart = 10\nwarm_up = 4\nweight = 0.2\npenalty = { r1 = 10 }";
        let config: Adversarial = toml::from_str(text).unwrap();
        assert_eq!([9, 10, 13, 99].map(|step| config.weight_at(step)), [0.0, 0.05, 0.2, 0.2]);
        assert_eq!(config.penalty, Penalty::R1(10.0));
        let none: Adversarial = toml::from_str("learning_rate = 1e-4\npenalty = \"none\"").unwrap();
        assert_eq!((none.penalty, none.weight_at(0)), (Penalty::None, 0.1));
    }
}
