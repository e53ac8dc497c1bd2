//! The figures: every test digit goes through the encoder, its canonical text and spae-core, as on a device; then the
//! classifier reads the pictures, and the words are compared with the digits' names.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::{D, Device, Tensor};
use rayon::prelude::*;
use serde::Serialize;
use spae_host::codebook::{Codebook, LanguageModel, SentenceEncoder, unit_rows};
use spae_host::data::{self, Dataset, Split};
use spae_host::drawing::draw_tokens;
use spae_host::evaluation::check_pair;
use spae_host::export::{RowFormat, export};
use spae_host::metrics::psnr;
use spae_host::model_file::{self, ModelFile};
use spae_host::picture::Picture;
use spae_host::text;
use spae_host::tokenizer::{Tokenizer, Tokens};

use crate::ReportArguments;
use crate::classifier::{CLASSES, Classifier, IMAGE};

/// Pictures that are worked on together.
const BATCH: usize = 64;
/// First words that are listed for each digit.
const TOP: usize = 4;
/// The digits' plain names, against which sentences are held.
const NAMES: [&str; CLASSES] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) model: String,
    pub(crate) data: String,
    /// Pictures measured.
    pub(crate) pictures: usize,
    /// Of these, those whose words were read as sentences; none without a sentence encoder.
    pub(crate) sentences: Option<usize>,
    /// Words of the vocabulary.
    pub(crate) vocabulary: usize,
    /// Share of the originals that the classifier reads right.
    pub(crate) originals_right: f64,
    pub(crate) prefixes: Vec<Prefix>,
    /// For each digit the words that its texts start with most often.
    pub(crate) first_words: Vec<Vec<FirstWord>>,
}

/// The figures of the first layers up to this one. Shares lie between 0 and 1.
#[derive(Debug, Serialize)]
pub(crate) struct Prefix {
    /// Words up to here.
    pub(crate) words: usize,
    /// Mean over pictures, in dB.
    pub(crate) psnr: f64,
    /// Pictures that the classifier reads right.
    pub(crate) pictures_right: f64,
    /// Texts, as one plain sentence, that lie nearest to their digit's plain name.
    pub(crate) sentences_right: Option<f64>,
    /// Texts whose words' mean feature lies nearest to their digit's caption.
    pub(crate) meanings_right: Option<f64>,
    /// Different words in this prefix's last layer, over all pictures.
    pub(crate) words_in_use: usize,
}

/// A word that texts of a digit start with.
#[derive(Debug, Serialize)]
pub(crate) struct FirstWord {
    pub(crate) word: String,
    /// Of that digit's texts.
    pub(crate) share: f64,
}

pub(crate) fn report(arguments: &ReportArguments) -> Result<Report> {
    let (classifier, _) = Classifier::load(&arguments.classifier)?;
    let tokenizer = Tokenizer::load(&arguments.model)?;
    let file = open_model(arguments, &tokenizer)?;
    let model = file.model()?;
    check_pair(&tokenizer, &model, &file.path().display().to_string())?;
    let image = tokenizer.config.image;
    ensure!(
        [image.channels, image.height, image.width] == [IMAGE.channels, IMAGE.height, IMAGE.width],
        "{} draws {} × {} pictures of {} channels; the classifier reads grey ones of 32 × 32",
        arguments.model.display(),
        image.height,
        image.width,
        image.channels
    );
    ensure!(Split::Test.is_at(&arguments.data), "{} has no test split of digits", arguments.data.display());
    let dataset = Dataset::open(&arguments.data, Split::Test, image)?;
    let count = dataset.len().min(arguments.limit.unwrap_or(usize::MAX));
    ensure!(count > 0, "there is no picture to measure");

    let layers = model.pyramid().layers().len();
    let mut labels = Vec::with_capacity(count);
    let mut texts: Vec<Tokens> = Vec::with_capacity(count);
    let mut originals_right = 0;
    let mut sums = vec![(0.0, 0); layers];
    for start in (0..count).step_by(BATCH) {
        let indices = start..count.min(start + BATCH);
        let samples = indices.into_par_iter().map(|index| dataset.sample(index)).collect::<Result<Vec<_>>>()?;
        let images = data::to_tensor(samples.iter().map(|sample| &sample.pixels[..]), &image)?;
        let of_batch = samples.iter().map(|sample| sample.label.filter(|&label| (label as usize) < CLASSES));
        let of_batch: Vec<u32> = of_batch.collect::<Option<_>>().context("a picture is labelled as no digit")?;
        originals_right += right(&classifier.read(&images)?, &of_batch);
        let tokens = tokenizer.encode(&images)?;
        let drawn = tokens.par_iter().map(|tokens| anyhow::Ok(draw_tokens(&model, tokens)?.layers));
        let drawn: Vec<Vec<Picture>> = drawn.collect::<Result<_>>()?;
        for (layer, (decibels, pictures_right)) in sums.iter_mut().enumerate() {
            for (sample, pictures) in samples.iter().zip(&drawn) {
                let original = Picture::from_planes(image.height, image.width, image.channels, &sample.pixels)?;
                *decibels += psnr(&original, &pictures[layer])?;
            }
            let images = data::to_tensor(drawn.iter().map(|pictures| pictures[layer].pixels()), &image)?;
            *pictures_right += right(&classifier.read(&images)?, &of_batch);
        }
        labels.extend(of_batch);
        texts.extend(tokens);
    }

    let words = tokenizer.codebook.words();
    let sentences = match &arguments.language_model {
        Some(folder) => {
            let model = LanguageModel::open(folder)?;
            let encoder = model.sentence_encoder(arguments.attention_heads)?;
            let count = count.min(arguments.sentences.max(1));
            Some(sentences_right(&encoder, words, &texts[..count], &labels[..count], layers)?)
        }
        None => None,
    };
    let share = |right: usize| right as f64 / count as f64;
    let prefixes = sums.into_iter().enumerate().map(|(layer, (decibels, pictures_right))| {
        let used: BTreeSet<u32> = texts.iter().flat_map(|layers| layers[layer].iter().copied()).collect();
        anyhow::Ok(Prefix {
            words: model.pyramid().tokens_before(layer + 1),
            psnr: decibels / count as f64,
            pictures_right: share(pictures_right),
            sentences_right: sentences.as_ref().map(|sentences| sentences[layer]),
            meanings_right: meanings_right(&tokenizer.codebook, &texts, &labels, layer + 1)?,
            words_in_use: used.len(),
        })
    });
    Ok(Report {
        model: file.path().display().to_string(),
        data: arguments.data.display().to_string(),
        pictures: count,
        sentences: arguments.language_model.as_ref().map(|_| count.min(arguments.sentences.max(1))),
        vocabulary: words.len(),
        originals_right: share(originals_right),
        prefixes: prefixes.collect::<Result<_>>()?,
        first_words: first_words(words, &texts, &labels),
    })
}

/// The model file of a model folder, or a run as it would be exported.
fn open_model(arguments: &ReportArguments, tokenizer: &Tokenizer) -> Result<ModelFile> {
    if arguments.model.join(model_file::FILE_NAME).is_file() {
        return ModelFile::open(&arguments.model);
    }
    let bytes = export(tokenizer, RowFormat::default(), "")?;
    ModelFile::new(tokenizer.origin.clone(), bytes)
}

fn right(read: &[u32], labels: &[u32]) -> usize {
    read.iter().zip(labels).filter(|(read, label)| read == label).count()
}

/// For each row of `a` [N, W] the row of `b` [M, W] that lies nearest in direction; all rows have unit length.
fn most_similar(a: &Tensor, b: &Tensor) -> Result<Vec<u32>> {
    Ok(a.matmul(&b.t()?)?.argmax(D::Minus1)?.to_vec1()?)
}

/// For each prefix the share of texts that, read as one sentence, lie nearest to the name of their digit.
fn sentences_right(
    encoder: &SentenceEncoder<'_>,
    words: &[String],
    texts: &[Tokens],
    labels: &[u32],
    layers: usize,
) -> Result<Vec<f64>> {
    let names = encoder.encode(&NAMES.map(str::to_owned))?;
    let share = |prefix: usize| {
        let sentence = |layers: &Tokens| text::sentence(&layers[..prefix], |id| &words[id as usize]);
        let sentences: Vec<String> = texts.iter().map(sentence).collect();
        let told = most_similar(&encoder.encode(&sentences)?, &names)?;
        Ok(right(&told, labels) as f64 / labels.len() as f64)
    };
    (1..=layers).map(share).collect()
}

/// The share of texts whose first `prefix` layers' words, as the mean of their features, lie nearest to the caption of
/// their digit; none where the codebook does not know what its words mean.
fn meanings_right(codebook: &Codebook, texts: &[Tokens], labels: &[u32], prefix: usize) -> Result<Option<f64>> {
    let Some(features) = &codebook.features else { return Ok(None) };
    let captions = features.caption.dim(0)?;
    if captions != CLASSES {
        bail!("the codebook has {captions} captions; the digits are {CLASSES}");
    }
    let mut correct = 0;
    for (texts, labels) in texts.chunks(BATCH).zip(labels.chunks(BATCH)) {
        let ids: Vec<u32> = texts.iter().flat_map(|layers| layers[..prefix].iter().flatten().copied()).collect();
        let each = ids.len() / texts.len();
        let ids = Tensor::from_vec(ids, texts.len() * each, &Device::Cpu)?;
        let rows = features.text.index_select(&ids, 0)?;
        let means = rows.reshape((texts.len(), each, rows.dim(1)?))?.mean(1)?;
        correct += right(&most_similar(&unit_rows(&means)?, &features.caption)?, labels);
    }
    Ok(Some(correct as f64 / labels.len() as f64))
}

/// For each digit the words that its texts start with most often, most frequent first, ties in the vocabulary's order.
fn first_words(words: &[String], texts: &[Tokens], labels: &[u32]) -> Vec<Vec<FirstWord>> {
    let mut counts = vec![BTreeMap::<u32, usize>::new(); CLASSES];
    for (layers, &label) in texts.iter().zip(labels) {
        if let Some(&id) = layers.iter().flatten().next() {
            *counts[label as usize].entry(id).or_default() += 1;
        }
    }
    let top = |counts: BTreeMap<u32, usize>| {
        let total: usize = counts.values().sum();
        let mut ranked: Vec<(u32, usize)> = counts.into_iter().collect();
        ranked.sort_by_key(|&(id, count)| (std::cmp::Reverse(count), id));
        let listed = ranked.into_iter().take(TOP);
        listed
            .map(|(id, count)| FirstWord { word: words[id as usize].clone(), share: count as f64 / total as f64 })
            .collect()
    };
    counts.into_iter().map(top).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_are_ranked_by_how_often_they_come() {
        let words = ["one", "three", "two"].map(str::to_owned);
        let texts: Vec<Tokens> = [0, 2, 2, 1, 1].into_iter().map(|id| vec![vec![id], vec![0, 0, 0, 0]]).collect();
        let ranked = first_words(&words, &texts, &[1, 1, 1, 1, 9]);
        let of =
            |digit: usize| ranked[digit].iter().map(|first| (first.word.as_str(), first.share)).collect::<Vec<_>>();
        assert_eq!(of(1), [("two", 0.5), ("one", 0.25), ("three", 0.25)]);
        assert_eq!(of(9), [("three", 1.0)]);
        assert!(of(0).is_empty());
    }
}
