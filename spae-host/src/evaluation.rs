//! How near decoded pictures come to their originals: every picture goes through the encoder, its canonical text and
//! spae-core, as on a device, and is compared byte for byte with what the encoder saw.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;
use serde::Serialize;
use spae_core::model::Model;

use crate::config::Image;
use crate::data::{self, Dataset, Sample, Split};
use crate::drawing;
use crate::metrics::{Mean, WINDOW, psnr, ssim};
use crate::picture::Picture;
use crate::tokenizer::{Tokenizer, Tokens, to_pictures};

/// Pictures that are encoded together.
const BATCH: usize = 64;

/// The figures of a model on a set.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Pictures measured.
    pub images: usize,
    /// Of the whole pyramid: mean over pictures, in dB.
    pub psnr: f64,
    /// Of the whole pyramid: mean over pictures. None for pictures smaller than SSIM's window.
    pub ssim: Option<f64>,
    /// Of each prefix of whole layers.
    pub layers: Vec<Layer>,
}

/// The figures of the pictures drawn from the first layers up to this one.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// Words up to here.
    pub words: usize,
    /// Mean over pictures, in dB.
    pub psnr: f64,
    /// Mean over pictures.
    pub ssim: Option<f64>,
    /// Different words that this layer's tokens took over the whole set.
    pub words_in_use: usize,
}

/// What the way to the device costs: the model file's pictures beside those of the trained weights, whole pyramid.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ExportLoss {
    /// Pictures measured.
    pub images: usize,
    /// Of the trained weights' pictures, mean in dB.
    pub psnr_trained: f64,
    /// Of the model file's pictures, mean in dB.
    pub psnr_exported: f64,
    /// Between the two pictures, mean over pixels, in 255ths.
    pub mean_absolute_error: f64,
    /// Between the two pictures, the largest, in 255ths.
    pub largest_error: u8,
}

/// Whether ids of `tokenizer` mean something to `model`.
///
/// # Errors
/// If words, layers or pictures differ; `name` is what the error calls the model.
pub fn check_pair(tokenizer: &Tokenizer, model: &Model<'_>, name: &str) -> Result<()> {
    let image = tokenizer.config.image;
    let picture = model.decoder().picture_shape();
    let words = tokenizer.codebook.words();
    let same = *model.pyramid() == tokenizer.config.geometry()?
        && [picture.height, picture.width].map(usize::from) == [image.height, image.width]
        && model.decoder().picture_channels() == image.channels
        && model.lexicon().len() as usize == words.len()
        && model.lexicon().words().zip(words).all(|(a, b)| a.as_str() == b);
    let origin = tokenizer.origin.display();
    ensure!(same, "{name} and {origin} differ in words, layers or pictures; export the run again with --folder");
    Ok(())
}

/// Measures the first `limit` pictures of `dataset`. `progress` hears how many are done.
///
/// # Errors
/// If a picture does not read, or tokenizer and model do not belong together.
pub fn evaluate(
    tokenizer: &Tokenizer,
    model: &Model<'_>,
    dataset: &Dataset,
    limit: usize,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation> {
    let pyramid = model.pyramid();
    let mut figures = vec![Figures::default(); pyramid.layers().len()];
    let count = dataset.len().min(limit);
    for start in (0..count).step_by(BATCH) {
        let (samples, tokens) = encode(tokenizer, dataset, start..(start + BATCH).min(count))?;
        let measured =
            samples.par_iter().zip(&tokens).map(|(sample, tokens)| measure(tokenizer, model, sample, tokens));
        // Taken in the order of the set, so that the sums do not depend on the threads.
        for (values, tokens) in measured.collect::<Result<Vec<_>>>()?.into_iter().zip(&tokens) {
            for ((figures, (psnr, ssim)), ids) in figures.iter_mut().zip(values).zip(tokens) {
                figures.psnr.add(psnr);
                if let Some(ssim) = ssim {
                    figures.ssim.add(ssim);
                }
                figures.used.extend(ids);
            }
        }
        progress(start + samples.len());
    }
    let layers = figures.iter().enumerate().map(|(index, figures)| {
        let psnr = figures.psnr.value().context("no picture was measured")?;
        let words = pyramid.tokens_before(index + 1);
        Ok(Layer { words, psnr, ssim: figures.ssim.value(), words_in_use: figures.used.len() })
    });
    let layers = layers.collect::<Result<Vec<_>>>()?;
    let full = layers.last().context("a pyramid without layers")?;
    Ok(Evaluation { images: count, psnr: full.psnr, ssim: full.ssim, layers })
}

/// Compares `model`'s pictures with those of the weights that it was exported from, on the first `limit` pictures.
///
/// # Errors
/// As for [`evaluate`].
pub fn export_loss(tokenizer: &Tokenizer, model: &Model<'_>, dataset: &Dataset, limit: usize) -> Result<ExportLoss> {
    let layers = model.pyramid().layers().len();
    let (mut before, mut after, mut error, mut largest) = (Mean::default(), Mean::default(), Mean::default(), 0);
    let count = dataset.len().min(limit);
    for start in (0..count).step_by(BATCH) {
        let (samples, tokens) = encode(tokenizer, dataset, start..(start + BATCH).min(count))?;
        let trained = to_pictures(&tokenizer.decode(&tokens, layers)?)?;
        let exported = drawing::draw_all(model, &tokens)?;
        for ((sample, exported), trained) in samples.iter().zip(&exported).zip(&trained) {
            let original = original(tokenizer, sample)?;
            before.add(psnr(&original, trained)?);
            after.add(psnr(&original, exported)?);
            for difference in trained.pixels().iter().zip(exported.pixels()).map(|(a, b)| a.abs_diff(*b)) {
                error.add(difference.into());
                largest = largest.max(difference);
            }
        }
    }
    let value = |mean: Mean| mean.value().context("no picture was measured");
    Ok(ExportLoss {
        images: count,
        psnr_trained: value(before)?,
        psnr_exported: value(after)?,
        mean_absolute_error: value(error)?,
        largest_error: largest,
    })
}

/// The pictures at `data` that a model may be fitted to: those for training, where they are kept apart.
///
/// # Errors
/// If they do not read.
pub fn calibration_set(data: &Path, image: Image) -> Result<Dataset> {
    let split = if Split::Train.is_at(data) || !Split::Test.is_at(data) { Split::Train } else { Split::Test };
    Dataset::open(data, split, image)
}

/// The words of the first `limit` pictures of `dataset`.
///
/// # Errors
/// If a picture does not read.
pub fn encodings(tokenizer: &Tokenizer, dataset: &Dataset, limit: usize) -> Result<Vec<Tokens>> {
    let count = dataset.len().min(limit);
    let batches = (0..count).step_by(BATCH);
    let encoded = batches.map(|start| Ok(encode(tokenizer, dataset, start..(start + BATCH).min(count))?.1));
    Ok(encoded.collect::<Result<Vec<_>>>()?.concat())
}

/// The words and the class of every picture of `dataset`. `progress` hears how many are done.
///
/// # Errors
/// If a picture does not read, or has no class.
pub fn labelled_encodings(
    tokenizer: &Tokenizer,
    dataset: &Dataset,
    mut progress: impl FnMut(usize),
) -> Result<(Vec<Tokens>, Vec<u32>)> {
    let (mut all, mut labels) = (Vec::with_capacity(dataset.len()), Vec::with_capacity(dataset.len()));
    for start in (0..dataset.len()).step_by(BATCH) {
        let (samples, tokens) = encode(tokenizer, dataset, start..(start + BATCH).min(dataset.len()))?;
        let of_batch: Option<Vec<u32>> = samples.iter().map(|sample| sample.label).collect();
        labels.extend(of_batch.context("a picture has no class: put each class into a folder of its own")?);
        all.extend(tokens);
        progress(all.len());
    }
    Ok((all, labels))
}

#[derive(Clone, Default)]
struct Figures {
    psnr: Mean,
    ssim: Mean,
    used: BTreeSet<u32>,
}

fn encode(
    tokenizer: &Tokenizer,
    dataset: &Dataset,
    indices: std::ops::Range<usize>,
) -> Result<(Vec<Sample>, Vec<Tokens>)> {
    let samples = indices.into_par_iter().map(|index| dataset.sample(index)).collect::<Result<Vec<_>>>()?;
    let images = data::to_tensor(samples.iter().map(|sample| &sample.pixels[..]), &dataset.image())?;
    let tokens = tokenizer.encode(&images)?;
    Ok((samples, tokens))
}

/// PSNR and SSIM of each prefix.
fn measure(
    tokenizer: &Tokenizer,
    model: &Model<'_>,
    sample: &Sample,
    tokens: &Tokens,
) -> Result<Vec<(f64, Option<f64>)>> {
    let original = original(tokenizer, sample)?;
    let large_enough = original.height().min(original.width()) >= WINDOW;
    let values = drawing::draw_tokens(model, tokens)?.layers.into_iter().map(|picture| {
        let similarity = if large_enough { Some(ssim(&original, &picture)?) } else { None };
        Ok((psnr(&original, &picture)?, similarity))
    });
    values.collect()
}

/// The picture as the encoder sees it.
fn original(tokenizer: &Tokenizer, sample: &Sample) -> Result<Picture> {
    let image = tokenizer.config.image;
    Picture::from_planes(image.height, image.width, image.channels, &sample.pixels)
}
