//! A folder of picture files to words against PyTorch, reading and decoding the files included.

use anyhow::Result;
use rayon::prelude::*;
use serde_json::json;
use spae_host::data::{self, Dataset, Split};
use spae_host::tokenizer::{Tokenizer, Tokens};

use crate::case::{Case, Other, Ours};
use crate::materials::{Materials, Model};
use crate::timing::Work;

/// Pictures that are encoded together, on both sides.
const BATCH: usize = 64;
/// Pictures whose ids are compared.
const COMPARED: usize = 128;

pub(crate) fn cases(materials: &Materials) -> Vec<Case<'_>> {
    vec![case(&materials.digits), case(&materials.colour)]
}

fn case(model: &Model) -> Case<'_> {
    let request = json!({
        "kind": "encode", "config": model.path, "codebook": model.codebook(), "weights": model.weights,
        "folder": model.pictures, "compared": COMPARED,
    });
    Case {
        name: format!("encoding a folder, {}", model.name),
        limit: Some(0.8),
        ours: Box::new(move || {
            let dataset = Dataset::open(&model.pictures, Split::Train, model.config.image)?;
            let few = Dataset::open(&model.pictures, Split::Train, model.config.image)?;
            let answer = move || {
                let tokens = encode(&model.tokenizer, &few, COMPARED.min(few.len()))?;
                Ok(json!(tokens.iter().map(|layers| layers.concat()).collect::<Vec<_>>()))
            };
            let work: Work<'_> = Box::new(move || encode(&model.tokenizer, &dataset, dataset.len()).map(drop));
            Ok(Ours { work, answer: Some(Box::new(answer)) })
        }),
        other: Other::Peer(request),
    }
}

/// The tokens of the first `count` pictures.
pub(crate) fn encode(tokenizer: &Tokenizer, dataset: &Dataset, count: usize) -> Result<Vec<Tokens>> {
    let mut all = Vec::with_capacity(count);
    for start in (0..count).step_by(BATCH) {
        let indices = (start..count.min(start + BATCH)).into_par_iter();
        let samples = indices.map(|index| dataset.sample(index)).collect::<Result<Vec<_>>>()?;
        let images = data::to_tensor(samples.iter().map(|sample| &sample.pixels[..]), &dataset.image())?;
        all.extend(tokenizer.encode(&images)?);
    }
    Ok(all)
}
