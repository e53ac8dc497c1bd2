//! What a checkpoint is worth, measured on the pictures set aside: every prefix's PSNR and the words in use.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::data::Sampler;
use crate::metrics::{Mean, psnr};
use crate::picture::Picture;
use crate::tokenizer::{Tokenizer, to_pictures};

/// Pictures measured together.
const BATCH: usize = 64;
/// Columns of the sample grid.
const COLUMNS: usize = 16;

/// One checkpoint's figures.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Pictures measured.
    pub pictures: usize,
    /// After each layer.
    pub layers: Vec<LayerFigures>,
}

/// What the first layers together give.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LayerFigures {
    /// Words so far.
    pub words: usize,
    /// Mean PSNR of the pictures from them, in dB.
    pub psnr: f64,
    /// Different words that this layer uses.
    pub in_use: usize,
}

/// Measures `tokenizer` on what `sampler` sets aside, and writes a grid of pictures: originals in the first row, then one
/// row for each prefix.
pub(super) fn evaluate(tokenizer: &Tokenizer, sampler: &Sampler, grid: &Path) -> Result<Evaluation> {
    let count = tokenizer.config.pyramid.len();
    let mut means = vec![Mean::default(); count];
    let mut in_use = vec![BTreeSet::new(); count];
    let mut rows: Vec<Vec<Picture>> = Vec::new();
    for start in (0..sampler.held_out()).step_by(BATCH) {
        let batch = sampler.validation(start, BATCH)?;
        let originals = to_pictures(&batch.images)?;
        let tokens = tokenizer.encode(&batch.images)?;
        for layer in 0..count {
            let decoded = to_pictures(&tokenizer.decode(&tokens, layer + 1)?)?;
            for (original, decoded) in originals.iter().zip(&decoded) {
                means[layer].add(psnr(original, decoded)?);
            }
            in_use[layer].extend(tokens.iter().flat_map(|tokens| &tokens[layer]).copied());
            if start == 0 {
                rows.push(decoded.into_iter().take(COLUMNS).collect());
            }
        }
        if start == 0 {
            rows.insert(0, originals.into_iter().take(COLUMNS).collect());
        }
    }
    if let Some(sheet) = sheet(&rows)? {
        sheet.write_png(grid).with_context(|| format!("cannot write {}", grid.display()))?;
    }
    let mut words = 0;
    let layers = tokenizer.config.pyramid.iter().zip(means.iter().zip(&in_use)).map(|(&[height, width], figures)| {
        words += usize::from(height) * usize::from(width);
        LayerFigures { words, psnr: figures.0.value().unwrap_or(f64::NAN), in_use: figures.1.len() }
    });
    Ok(Evaluation { layers: layers.collect(), pictures: sampler.held_out() })
}

/// Pictures of one size, side by side in rows, a black line between them.
fn sheet(rows: &[Vec<Picture>]) -> Result<Option<Picture>> {
    let Some(first) = rows.first().and_then(|row| row.first()) else { return Ok(None) };
    let (height, width, channels) = (first.height(), first.width(), first.channels());
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let (sheet_height, sheet_width) = (rows.len() * (height + 1) - 1, columns * (width + 1) - 1);
    let mut pixels = vec![0; sheet_height * sheet_width * channels];
    for (row, pictures) in rows.iter().enumerate() {
        for (column, picture) in pictures.iter().enumerate() {
            for (line, values) in picture.pixels().chunks_exact(width * channels).enumerate() {
                let at = ((row * (height + 1) + line) * sheet_width + column * (width + 1)) * channels;
                pixels[at..at + values.len()].copy_from_slice(values);
            }
        }
    }
    Picture::new(sheet_height, sheet_width, channels, pixels).map(Some)
}
