//! The nearest of 99,000 words for 597 positions, against PyTorch's cdist and FAISS's flat index.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use candle_core::{Device, Tensor};
use serde_json::json;
use spae_host::ops;
use spae_host::random::generator;

use rand::RngExt as _;

use crate::case::{Case, Other, Ours};
use crate::materials::Materials;
use crate::timing::Work;

/// Positions of the paper's six layers.
const ROWS: usize = 597;
/// Words of a language model's vocabulary.
const WORDS: usize = 99_000;

pub(crate) fn cases(materials: &Materials) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    for width in [384, 1536] {
        for peer in ["cdist", "faiss"] {
            let path = materials.folder.path().join(format!("vectors-{width}.safetensors"));
            cases.push(Case {
                name: format!("search {ROWS} of {WORDS} × {width}, {peer}"),
                // Of FAISS's time.
                limit: (peer == "faiss").then_some(1.0),
                other: Other::Peer(json!({ "kind": peer, "vectors": path })),
                ours: Box::new(move || {
                    let [z, table] = vectors(&path, width)?;
                    let (z_again, table_again) = (z.clone(), table.clone());
                    let answer = move || Ok(json!(ops::nearest(&z_again, &table_again)?));
                    let work: Work<'_> = Box::new(move || {
                        ops::nearest(&z, &table)?;
                        Ok(())
                    });
                    Ok(Ours { work, answer: Some(Box::new(answer)) })
                }),
            });
        }
    }
    cases
}

/// Random vectors of unit length, as codewords are; also in the file at `path`.
fn vectors(path: &Path, width: usize) -> Result<[Tensor; 2]> {
    let unit = |name, rows: usize| -> Result<Tensor> {
        let mut random = generator(1, name, [width as u64, 0]);
        let values: Vec<f32> = (0..rows * width).map(|_| random.random_range(-1.0..1.0)).collect();
        let rows = Tensor::from_vec(values, (rows, width), &Device::Cpu)?;
        Ok(rows.broadcast_div(&rows.sqr()?.sum_keepdim(1)?.sqrt()?)?)
    };
    let (z, table) = (unit("z", ROWS)?, unit("table", WORDS)?);
    candle_core::safetensors::save(&HashMap::from([("z", z.clone()), ("table", table.clone())]), path)?;
    Ok([z, table])
}
