//! How near decoded pictures come to their originals: every picture goes through the encoder, its canonical text and
//! spae-core, as on a device, and is compared with what the encoder saw, byte for byte and by networks.

mod evaluators;
mod figures;
mod judging;

pub use evaluators::Evaluators;
pub use figures::{Evaluation, Evaluator, Layer, LayerUsage, WeightsFile};

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;
use serde::Serialize;
use spae_core::model::Model;

use crate::config::Image;
use crate::data::{self, Dataset, Sample, Split};
use crate::drawing;
use crate::metrics::{Mean, Usage, WINDOW, psnr, ssim};
use crate::picture::Picture;
use crate::tokenizer::{Tokenizer, Tokens, to_pictures};
use judging::Judging;

/// Pictures that are encoded together.
const BATCH: usize = 64;

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

/// Measures the first `limit` pictures of `dataset`, by `evaluators` too. `progress` hears how many are done.
///
/// # Errors
/// If a picture does not read or is too small for an evaluator, or tokenizer and model do not belong together.
pub fn evaluate(
    tokenizer: &Tokenizer,
    model: &Model<'_>,
    dataset: &Dataset,
    limit: usize,
    evaluators: &Evaluators,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation> {
    let pyramid = model.pyramid();
    let vocabulary = model.lexicon().len() as usize;
    let mut figures = vec![Figures::new(vocabulary); pyramid.layers().len()];
    let count = dataset.len().min(limit);
    let mut judging = Judging::new(evaluators, count, figures.len())?;
    for start in (0..count).step_by(BATCH) {
        let (samples, tokens) = encode(tokenizer, dataset, start..(start + BATCH).min(count))?;
        let drawn = samples.par_iter().zip(&tokens).map(|(sample, tokens)| draw(tokenizer, model, sample, tokens));
        let drawn = drawn.collect::<Result<Vec<_>>>()?;
        // Taken in the order of the set, so that the sums do not depend on the threads.
        for (drawn, tokens) in drawn.iter().zip(&tokens) {
            for ((figures, (psnr, ssim)), ids) in figures.iter_mut().zip(&drawn.figures).zip(tokens) {
                figures.psnr.add(*psnr);
                if let Some(ssim) = ssim {
                    figures.ssim.add(*ssim);
                }
                figures.usage.add(ids);
            }
        }
        if !evaluators.is_empty() {
            let (originals, layers): (Vec<_>, Vec<_>) = drawn.into_iter().map(|d| (d.original, d.layers)).unzip();
            judging.add(&originals, &tokens, &layers)?;
        }
        progress(start + samples.len());
    }
    let (judged, inception_score_of_originals) = judging.finish()?;
    let image = tokenizer.config.image;
    let pixels = (image.height * image.width) as f64;
    let bits_per_word = (vocabulary as f64).log2();
    let mut coded = 0.0;
    let layers = figures.iter().zip(judged).enumerate().map(|(index, (figures, judged))| {
        let psnr = figures.psnr.value().context("no picture was measured")?;
        let words = pyramid.tokens_before(index + 1);
        let usage = LayerUsage::from(&figures.usage);
        coded += pyramid.layers()[index].area() as f64 * usage.bits_per_word;
        Ok(Layer {
            words,
            psnr,
            ssim: figures.ssim.value(),
            lpips: judged.lpips,
            fid: judged.fid,
            inception_score: judged.inception_score,
            fd_darknet: judged.fd_darknet,
            clip_score: judged.clip_score,
            bits_per_pixel: words as f64 * bits_per_word / pixels,
            bits_per_pixel_coded: coded / pixels,
            usage,
        })
    });
    let layers = layers.collect::<Result<Vec<_>>>()?;
    let full = layers.last().context("a pyramid without layers")?;
    Ok(Evaluation {
        images: count,
        vocabulary,
        psnr: full.psnr,
        ssim: full.ssim,
        layers,
        inception_score_of_originals,
        evaluators: evaluators.describe(count, &image),
    })
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

/// Of one number of layers, in the making.
#[derive(Clone)]
struct Figures {
    psnr: Mean,
    ssim: Mean,
    usage: Usage,
}

impl Figures {
    fn new(vocabulary: usize) -> Self {
        Self { psnr: Mean::default(), ssim: Mean::default(), usage: Usage::new(vocabulary) }
    }
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

/// A picture, and what becomes of it.
struct Drawn {
    original: Picture,
    /// From each number of layers.
    layers: Vec<Picture>,
    /// PSNR and SSIM of each of these.
    figures: Vec<(f64, Option<f64>)>,
}

fn draw(tokenizer: &Tokenizer, model: &Model<'_>, sample: &Sample, tokens: &Tokens) -> Result<Drawn> {
    let original = original(tokenizer, sample)?;
    let large_enough = original.height().min(original.width()) >= WINDOW;
    let layers = drawing::draw_tokens(model, tokens)?.layers;
    let figures = layers.iter().map(|picture| {
        let similarity = if large_enough { Some(ssim(&original, picture)?) } else { None };
        Ok((psnr(&original, picture)?, similarity))
    });
    let figures = figures.collect::<Result<_>>()?;
    Ok(Drawn { original, layers, figures })
}

/// The picture as the encoder sees it.
fn original(tokenizer: &Tokenizer, sample: &Sample) -> Result<Picture> {
    let image = tokenizer.config.image;
    Picture::from_planes(image.height, image.width, image.channels, &sample.pixels)
}
