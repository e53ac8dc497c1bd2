//! What a step is: the next batch, its loss, the gradients, one update.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::perception::perceptual;
use super::{Objective, Terms};
use crate::codebook::Codebook;
use crate::config::Config;
use crate::data::{Loader, Sampler};
use crate::model::{Initialiser, Model};
use crate::optimizer::{Optimizer, State, learning_rate};
use crate::semantic::scorer;
use crate::tensor_file::Tensors;

/// A model in training: its losses, its optimiser and the batches that it sees.
#[derive(Debug)]
pub struct Trainer<'t> {
    config: &'t Config,
    objective: Objective<'t>,
    optimizer: Optimizer,
    loader: Loader,
    steps: u64,
}

impl<'t> Trainer<'t> {
    /// A fresh model, or one that goes on from the state `before`, on the pictures of `sampler`.
    ///
    /// # Errors
    /// If the configuration asks for what cannot be, or the state is another model's.
    pub fn new(config: &'t Config, codebook: &Codebook, sampler: &Sampler, before: Option<State>) -> Result<Self> {
        let mut weights = Initialiser::new(config.seed);
        let model = Model::new(config, codebook.embedding.dim(1)?, &mut weights)?;
        let mut optimizer = Optimizer::new(weights.into_variables(), &config.train)?;
        let mut steps = 0;
        if let Some(state) = before {
            optimizer.restore(&state).context("the checkpoint is of another model than the configuration")?;
            steps = state.steps;
        }
        let objective = Objective::new(config, codebook, model, scorer(config, codebook, sampler.dataset())?)?
            .with_perceptual(perceptual(config)?);
        let loader = Loader::new(sampler, config.train.batch, steps, config.train.workers)?;
        Ok(Self { config, objective, optimizer, loader, steps })
    }

    /// One update; the terms of the loss before it.
    ///
    /// # Errors
    /// If a picture does not read, or a term or a gradient is no number; nothing is changed then.
    pub fn step(&mut self) -> Result<Terms> {
        let asked = Instant::now();
        let batch = self.loader.batch()?;
        let waited = asked.elapsed().as_secs_f64();
        let (loss, mut terms) = self.objective.loss(&batch, self.steps)?;
        terms.check()?;
        let gradients = loss.backward()?;
        let rate = learning_rate(&self.config.train, self.steps);
        let length = self.optimizer.step(&gradients, rate)?;
        self.steps += 1;
        terms.push("gradient_length", length);
        terms.push("learning_rate", rate);
        terms.push("seconds_waited_for_pictures", waited);
        Ok(terms)
    }

    /// The weights' running average by name, for evaluation and for shipping.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn average(&self) -> Result<Tensors> {
        self.optimizer.average()
    }

    /// All that a run needs to go on.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn state(&self) -> Result<State> {
        self.optimizer.state()
    }
}
