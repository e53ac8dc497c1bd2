//! Training the classifier: the 60,000 digits, varied anew in every epoch, AdamW, a learning rate that rises and falls.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor};
use candle_nn::{AdamW, Optimizer as _, ParamsAdamW, loss::cross_entropy};
use rand::seq::SliceRandom as _;
use rayon::prelude::*;
use spae_host::data::{self, Dataset, Split};
use spae_host::model::Initialiser;
use spae_host::ops;
use spae_host::random::generator;

use crate::TrainArguments;
use crate::classifier::{CLASSES, Classifier, Document, IMAGE};
use crate::warp::Warp;

const BATCH: usize = 64;
const PEAK: f64 = 3e-3;
/// The share of all steps in which the learning rate rises.
const RISE: f64 = 0.1;

/// Digits in memory.
pub(crate) struct Digits {
    /// 32 × 32 each.
    pub(crate) pictures: Vec<Vec<u8>>,
    pub(crate) labels: Vec<u32>,
}

impl Digits {
    pub(crate) fn open(data: &std::path::Path, split: Split) -> Result<Self> {
        ensure!(split.is_at(data), "{} has no {split:?} split of digits", data.display());
        let dataset = Dataset::open(data, split, IMAGE)?;
        let samples = (0..dataset.len()).into_par_iter().map(|index| {
            let sample = dataset.sample(index)?;
            let label = sample.label.filter(|&label| (label as usize) < CLASSES);
            Ok((sample.pixels, label.with_context(|| format!("picture {index} is labelled as no digit"))?))
        });
        let (pictures, labels) = samples.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        Ok(Self { pictures, labels })
    }
}

pub(crate) fn train(arguments: &TrainArguments) -> Result<()> {
    ops::keep_freed_memory();
    let digits = Digits::open(&arguments.data, Split::Train)?;
    let test = Digits::open(&arguments.data, Split::Test)?;
    let mut weights = Initialiser::new(arguments.seed);
    let classifier = Classifier::new(&mut weights)?;
    let variables = weights.into_variables();
    let mut optimizer = AdamW::new(variables.values().cloned().collect(), ParamsAdamW::default())?;
    let steps_each = digits.labels.len() / BATCH;
    let steps = arguments.epochs * steps_each as u64;
    let start = Instant::now();
    let mut order: Vec<usize> = (0..digits.labels.len()).collect();
    let mut accuracy = 0.0;
    for epoch in 0..arguments.epochs {
        order.shuffle(&mut generator(arguments.seed, "order", [epoch, 0]));
        let mut total = 0.0;
        for (index, places) in order.chunks_exact(BATCH).enumerate() {
            let done = (epoch * steps_each as u64 + index as u64) as f64 / steps as f64;
            optimizer.set_learning_rate(PEAK * (done / RISE).min((1.0 - done) / (1.0 - RISE)));
            let varied = places.par_iter().map(|&place| {
                let mut random = generator(arguments.seed, "variation", [epoch, place as u64]);
                Warp::random(&mut random).apply(&digits.pictures[place], IMAGE.width)
            });
            let pictures: Vec<Vec<u8>> = varied.collect();
            let images = data::to_tensor(pictures.iter().map(Vec::as_slice), &IMAGE)?;
            let labels: Vec<u32> = places.iter().map(|&place| digits.labels[place]).collect();
            let labels = Tensor::from_vec(labels, BATCH, &Device::Cpu)?;
            let loss = cross_entropy(&classifier.logits(&images)?, &labels)?;
            optimizer.backward_step(&loss)?;
            total += f64::from(loss.to_scalar::<f32>()?);
        }
        accuracy = share_right(&classifier, &test)?;
        eprintln!(
            "epoch {} of {}: loss {:.4}, {:.2} % of {} test digits right, {:.0} s",
            epoch + 1,
            arguments.epochs,
            total / steps_each as f64,
            100.0 * accuracy,
            test.labels.len(),
            start.elapsed().as_secs_f64()
        );
    }
    let weights = variables.into_iter().map(|(name, variable)| (name, variable.as_detached_tensor())).collect();
    let document = Document { seed: arguments.seed, epochs: arguments.epochs, accuracy };
    Classifier::save(&arguments.classifier, &weights, &document)?;
    println!("{}: reads {:.2} % of the test digits right", arguments.classifier.display(), 100.0 * accuracy);
    Ok(())
}

/// The share of `digits` that the classifier reads right.
fn share_right(classifier: &Classifier, digits: &Digits) -> Result<f64> {
    let mut right = 0;
    for (pictures, labels) in digits.pictures.chunks(BATCH).zip(digits.labels.chunks(BATCH)) {
        let read = classifier.read(&data::to_tensor(pictures.iter().map(Vec::as_slice), &IMAGE)?)?;
        right += read.iter().zip(labels).filter(|(read, label)| read == label).count();
    }
    Ok(right as f64 / digits.labels.len() as f64)
}
