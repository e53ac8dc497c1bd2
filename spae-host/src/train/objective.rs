//! One step's loss: a batch through encoder, quantiser and decoder to the terms of Eq. 9.

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use rand::RngExt as _;

use crate::codebook::Codebook;
use crate::config::{Config, Mode, PrefixScheme};
use crate::data::Batch;
use crate::loss;
use crate::model::Model;
use crate::quantizer::{Guidance, Quantised, Quantizer};
use crate::random::generator;
use crate::semantic::Scorer;

/// The loss of a model.
#[derive(Debug)]
pub struct Objective<'o> {
    config: &'o Config,
    model: Model,
    /// e(k), [V, E]; frozen.
    embedding: Tensor,
    quantizer: Quantizer,
    scorer: Option<Box<dyn Scorer>>,
    perceptual: Option<loss::Perceptual>,
}

/// The loss and its terms, each the mean over the batch, in the order of their making.
#[derive(Clone, Debug, Default)]
pub struct Terms(Vec<(&'static str, f64)>);

impl Terms {
    /// Notes a figure.
    pub fn push(&mut self, name: &'static str, value: f64) {
        self.0.push((name, value));
    }

    /// All figures by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.0.iter().copied()
    }

    /// Fails if a figure is no number.
    ///
    /// # Errors
    /// Names the first such term: those after it are made from it.
    pub fn check(&self) -> Result<()> {
        match self.iter().find(|(_, value)| !value.is_finite()) {
            Some((name, value)) => bail!(
                "the term `{name}` is {value}; go back to the last checkpoint with a lower train.learning_rate or a \
                 smaller train.clip"
            ),
            None => Ok(()),
        }
    }

    fn add(&mut self, name: &'static str, values: &Tensor) -> Result<()> {
        self.push(name, f64::from(values.mean_all()?.to_scalar::<f32>()?));
        Ok(())
    }
}

impl<'o> Objective<'o> {
    /// The loss that `config` describes; without a scorer there is no semantic term.
    ///
    /// # Errors
    /// If the pyramid does not fit.
    pub fn new(config: &'o Config, codebook: &Codebook, model: Model, scorer: Option<Box<dyn Scorer>>) -> Result<Self> {
        let quantizer = Quantizer::new(&config.geometry()?)?;
        Ok(Self { config, model, embedding: codebook.embedding.detach(), quantizer, scorer, perceptual: None })
    }

    /// The same with the perceptual term of Eq. 8.
    pub fn with_perceptual(self, perceptual: Option<loss::Perceptual>) -> Self {
        Self { perceptual, ..self }
    }

    /// The loss of a batch, and its terms. Random choices are those of step number `step`.
    ///
    /// # Errors
    /// If the batch does not fit the model, or lacks the labels that the scorer needs.
    pub fn loss(&self, batch: &Batch, step: u64) -> Result<(Tensor, Terms)> {
        let config = &self.config.loss;
        let mut terms = Terms::default();
        let z = self.model.encode(&batch.images)?;
        let table = self.model.table(&self.embedding)?;
        let guided = if self.scorer.is_some() { self.config.semantic.pools.len() } else { 0 };
        let guidance = Guidance { layers: guided, temperature: self.config.semantic.temperature };
        let quantised = self.quantizer.quantise(&z, &table, guidance)?;
        let averages = self.quantizer.averages(&quantised.ids, &table)?;

        let mut appearance = self.reconstruction(batch, &z, &averages, step, &mut terms)?;
        if config.commitment.weight > 0.0 {
            let commitment = loss::commitment(&self.quantizer, &z, &averages, config.commitment.layers)?;
            terms.add("commitment", &commitment)?;
            appearance = (appearance + (commitment * config.commitment.weight)?)?;
        }
        if let (Mode::Projected, Some(whole), true) = (self.config.codebook.mode, averages.last(), config.pull > 0.0) {
            let pull = loss::pull(&z, whole)?;
            terms.add("pull", &pull)?;
            appearance = (appearance + (pull * config.pull)?)?;
        }
        terms.add("appearance", &appearance)?;
        let total = match &self.scorer {
            Some(scorer) => self.guide(scorer.as_ref(), batch, &quantised, &table, appearance, step, &mut terms)?,
            None => appearance,
        };
        terms.add("loss", &total)?;
        Ok((total.mean_all()?, terms))
    }

    /// The reconstruction of each image, `[B]`: whole, from a random prefix, or both.
    fn reconstruction(
        &self,
        batch: &Batch,
        z: &Tensor,
        averages: &[Tensor],
        step: u64,
        terms: &mut Terms,
    ) -> Result<Tensor> {
        let prefixes = self.config.train.prefixes;
        let (images, all) = (z.dim(1)?, averages.len());
        let mut random = generator(self.config.seed, "prefix", [step, 0]);
        // A pyramid of one layer has no shorter prefix.
        let mut prefix = || random.random_range(1..all.max(2)).min(all);
        let kind = self.config.loss.reconstruction;
        match prefixes.scheme {
            PrefixScheme::Both => {
                let layers: Vec<usize> = vec![all; images].into_iter().chain((0..images).map(|_| prefix())).collect();
                let whole = self.quantizer.straight_through(z, averages, &layers[..images])?;
                let part = self.quantizer.straight_through(z, averages, &layers[images..])?;
                let decoded = self.model.decode(&Tensor::cat(&[whole, part], 1)?)?;
                let whole = loss::reconstruction(&decoded.narrow(0, 0, images)?, &batch.images, kind)?;
                let part = loss::reconstruction(&decoded.narrow(0, images, images)?, &batch.images, kind)?;
                terms.add("reconstruction", &whole)?;
                terms.add("prefix_reconstruction", &part)?;
                let perceptual = self.perceptual(&decoded, batch, terms)?;
                let (whole, part) = match perceptual {
                    Some(seen) => ((whole + seen.narrow(0, 0, images)?)?, (part + seen.narrow(0, images, images)?)?),
                    None => (whole, part),
                };
                Ok((whole + (part * prefixes.weight)?)?)
            }
            PrefixScheme::Either => {
                let mut layers = Vec::with_capacity(images);
                let mut weights = Vec::with_capacity(images);
                let mut coin = generator(self.config.seed, "whole or prefix", [step, 0]);
                for _ in 0..images {
                    let part = coin.random_bool(prefixes.probability);
                    layers.push(if part { prefix() } else { all });
                    weights.push(if part { prefixes.weight as f32 } else { 1.0 });
                }
                let decoded = self.model.decode(&self.quantizer.straight_through(z, averages, &layers)?)?;
                let each = loss::reconstruction(&decoded, &batch.images, kind)?;
                terms.add("reconstruction", &each)?;
                let each = match self.perceptual(&decoded, batch, terms)? {
                    Some(seen) => (each + seen)?,
                    None => each,
                };
                Ok((each * Tensor::from_vec(weights, images, &Device::Cpu)?)?)
            }
        }
    }

    /// The weighted perceptual term of every decoded picture, where there is one.
    fn perceptual(&self, decoded: &Tensor, batch: &Batch, terms: &mut Terms) -> Result<Option<Tensor>> {
        let (Some(perceptual), Some(config)) = (&self.perceptual, &self.config.loss.perceptual) else {
            return Ok(None);
        };
        let seen = perceptual.loss(decoded, &batch.images)?;
        terms.add("perceptual", &seen)?;
        Ok(Some((seen * config.weight)?))
    }

    /// `L_appearance + α·w·L_semantic`, `[B]`.
    #[expect(clippy::too_many_arguments, reason = "the second half of one function, with that function's values")]
    fn guide(
        &self,
        scorer: &dyn Scorer,
        batch: &Batch,
        quantised: &Quantised,
        table: &Tensor,
        appearance: Tensor,
        step: u64,
        terms: &mut Terms,
    ) -> Result<Tensor> {
        let config = &self.config.semantic;
        let scores = scorer.score(batch)?;
        let mut targets = Vec::with_capacity(config.pools.len());
        for (layer, pool) in config.pools.iter().enumerate() {
            let tokens = self.quantizer.tokens(layer)?;
            let mut random = generator(self.config.seed, "target", [step, layer as u64]);
            let drawn = scores.draw(pool, tokens, &mut random)?;
            targets.push(Tensor::from_vec(drawn, (tokens, batch.labels.len()), &Device::Cpu)?);
        }
        let semantic = loss::semantic(&quantised.guided, table, &targets, config.temperature)?;
        terms.add("semantic", &semantic)?;
        let w = loss::balance(&appearance, &semantic, config.epsilon, config.max_ratio)?;
        terms.add("semantic_weight", &w)?;
        Ok((appearance + ((w * semantic)? * config.weight)?)?)
    }
}
