//! From a configuration to its scorer, and to what its network makes of a whole set.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;

use super::classes::ClassNetwork;
use super::{Captions, Classes, ImageDocument, ImageFeatures, Scorer, Seen, TextFeatures};
use crate::codebook::Codebook;
use crate::config::{Config, Design as DesignKeys, Scorer as Kind};
use crate::data::{Dataset, to_tensor};
use crate::networks::{Classifier, Design};
use crate::tensor_file::Tensors;

/// Pictures that go through a network together.
const BATCH: usize = 64;

/// What says which words mean what a picture of `data` shows; nothing where no layer is guided.
///
/// # Errors
/// If a file that the scorer needs is missing, damaged, or does not belong to the codebook or the pictures.
pub fn scorer(config: &Config, codebook: &Codebook, data: &Dataset) -> Result<Option<Box<dyn Scorer>>> {
    if !config.semantic.is_on() {
        return Ok(None);
    }
    Ok(Some(match &config.semantic.scorer {
        Kind::Captions {} => Box::new(captions(config, codebook)?),
        Kind::Classifier { network, design, names, vocabulary, side, features } => {
            let names = TextFeatures::load(&config.path(names))?;
            let text = vocabulary_text(config, codebook, vocabulary.as_deref(), Some(&names))?;
            let path = config.path(network);
            let seen = match features {
                None => Seen::Network(class_network(&path, design, *side)?),
                Some(features) => {
                    let known =
                        if path.exists() { Some(class_network(&path, design, *side)?.describe()) } else { None };
                    let stored = ImageFeatures::load(&config.path(features), known.as_deref(), &data.fingerprint()?)?;
                    Seen::stored(&stored, names.document.names.len())?
                }
            };
            Box::new(Classes::new(seen, &names.rows, &text)?)
        }
    }))
}

fn captions(config: &Config, codebook: &Codebook) -> Result<Captions> {
    let features = codebook.features.as_ref().with_context(|| {
        format!(
            "the codebook {} has no text features, which semantic.scorer = \"captions\" needs; make it with captions, \
             or empty semantic.pools",
            codebook_path(config).display()
        )
    })?;
    let [caption, text, caption_plain, text_plain]: [&Tensor; 4] =
        [&features.caption, &features.text, &features.caption_plain, &features.text_plain];
    Captions::new(caption, text, caption_plain, text_plain)
}

fn codebook_path(config: &Config) -> PathBuf {
    config.path(&config.codebook.file)
}

/// f′_T of the vocabulary, [V, F]: of the file, or of the codebook itself. By the encoder of `names`, if there are names.
fn vocabulary_text(
    config: &Config,
    codebook: &Codebook,
    file: Option<&Path>,
    names: Option<&TextFeatures>,
) -> Result<Tensor> {
    let (text, source, origin) = match (file, &codebook.features) {
        (Some(file), _) => {
            let path = config.path(file);
            let features = TextFeatures::load(&path)?;
            ensure!(
                features.document.names == codebook.words(),
                "{} has the features of other words than the codebook {}; make it with `spae features text --codebook`",
                path.display(),
                codebook_path(config).display()
            );
            (features.rows, features.document.source, path)
        }
        (None, Some(features)) => (features.text.clone(), codebook.document.source.clone(), codebook_path(config)),
        (None, None) => anyhow::bail!(
            "the codebook {} has no text features; make them with `spae features text --codebook` and name them in \
             semantic.scorer.vocabulary",
            codebook_path(config).display()
        ),
    };
    if let Some(names) = names {
        ensure!(
            names.document.source == source,
            "the text features in {} and those of the class names come from different encoders",
            origin.display()
        );
    }
    Ok(text)
}

fn class_network(path: &Path, design: &DesignKeys, side: Option<usize>) -> Result<ClassNetwork> {
    let design = Design { pools: design.pools.clone(), slope: design.slope, epsilon: design.epsilon };
    Ok(ClassNetwork { network: Classifier::load(path, &design)?, side })
}

/// What the network of `config`'s scorer makes of every picture of `data`; of classes the `top` most probable ones.
/// `progress` hears how many pictures are done.
///
/// # Errors
/// If the scorer has no network, a file is missing or damaged, or a picture does not read.
pub fn image_features(
    config: &Config,
    data: &Dataset,
    top: usize,
    mut progress: impl FnMut(usize),
) -> Result<ImageFeatures> {
    let network = match &config.semantic.scorer {
        Kind::Captions {} => {
            anyhow::bail!("semantic.scorer = \"captions\" looks at labels alone; there is nothing to compute")
        }
        Kind::Classifier { network, design, side, .. } => class_network(&config.path(network), design, *side)?,
    };
    let document = ImageDocument { network: network.describe(), data: data.fingerprint()?, pictures: data.len() };
    let mut parts: Vec<Tensors> = Vec::new();
    for start in (0..data.len()).step_by(BATCH) {
        let end = data.len().min(start + BATCH);
        let samples = (start..end).into_par_iter().map(|index| data.sample(index)).collect::<Result<Vec<_>>>()?;
        let images = to_tensor(samples.iter().map(|sample| &sample.pixels[..]), &data.image())?;
        parts.push(network.most_probable(&images, top)?);
        progress(end);
    }
    let mut tensors = Tensors::new();
    for name in parts.first().map(|part| part.keys().cloned().collect::<Vec<_>>()).unwrap_or_default() {
        let rows: Vec<&Tensor> = parts.iter().filter_map(|part| part.get(&name)).collect();
        tensors.insert(name, Tensor::cat(&rows, 0)?);
    }
    Ok(ImageFeatures { document, tensors })
}
