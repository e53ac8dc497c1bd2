//! From trained weights to the model file that a device reads.
//!
//! The decoder's first 1×1 layer and the projection fold into the codebook: averaging is linear, so the device needs
//! one row of the decoder's width a word. Sees the trained weights and spae-core; knows nothing of training.

mod report;
mod rows;
mod stages;

pub use report::{Report, SectionSize, StageSize};

use anyhow::{Context as _, Result, anyhow, ensure};
use spae_core::codebook::Rows;
use spae_core::error::EmitError;
use spae_core::model::{self, Parts};

use crate::config::Config;
use crate::tensor_file::Tensors;

/// How the codebook's rows are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowFormat {
    /// One byte an element, one scale a column.
    #[default]
    Int8,
    /// Two bytes an element.
    F16,
}

/// What a model file is made from.
#[derive(Debug)]
pub struct Source<'s> {
    /// The model's configuration.
    pub config: &'s Config,
    /// The words in the order of their ids.
    pub words: &'s [String],
    /// The codebook in the space of Z, [V × d].
    pub table: &'s [f32],
    /// The trained weights.
    pub tensors: &'s Tensors,
    /// What messages call the place that the weights came from.
    pub origin: &'s str,
    /// Lines of `key = value` that the file carries.
    pub provenance: &'s str,
}

/// The bytes of the model file.
///
/// # Errors
/// If a tensor is missing or of another shape than the configuration says, or the parts make no model.
pub fn export(source: &Source<'_>, format: RowFormat) -> Result<Vec<u8>> {
    let config = source.config;
    let pyramid = config.geometry()?;
    let (first, stages) = stages::stages(config, pyramid.grid(), source.tensors, source.origin)?;
    let (width, depth) = (config.decoder.input, config.codebook.width);
    ensure!(
        source.table.len() == source.words.len() * depth,
        "{}: a table of {} numbers for {} words of width {depth}",
        source.origin,
        source.table.len(),
        source.words.len()
    );
    let folded = fold(source.table, &first.weight, depth, width);
    let words: Vec<&str> = source.words.iter().map(String::as_str).collect();
    let int8;
    let rows = match format {
        RowFormat::Int8 => {
            int8 = rows::int8(&folded, width);
            Rows::Int8 { scales: &int8.scales, values: &int8.values }
        }
        RowFormat::F16 => Rows::F16 {
            width: u16::try_from(width).with_context(|| format!("decoder.input = {width} is too wide"))?,
            values: &folded,
        },
    };
    let parts = Parts {
        pyramid,
        words: &words,
        rows,
        stages: &stages.specs,
        weights: &stages.weights,
        provenance: source.provenance,
    };
    emit(&parts).map_err(|error| anyhow!("{}: {error}", source.origin))
}

/// Asks for the length first, then writes.
fn emit(parts: &Parts<'_>) -> Result<Vec<u8>, EmitError> {
    let mut file = Vec::new();
    if let Err(EmitError::OutputTooSmall { needed, .. }) = model::emit(parts, &mut file) {
        file.resize(needed, 0);
    }
    model::emit(parts, &mut file)?;
    Ok(file)
}

/// `table` [V × depth] · `weight`ᵀ [width × depth]: [V × width]. Sums in f64, for the result is rounded once more.
fn fold(table: &[f32], weight: &[f32], depth: usize, width: usize) -> Vec<f32> {
    let dot = |row: &[f32], weight: &[f32]| -> f32 {
        row.iter().zip(weight).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
    };
    let mut folded = Vec::with_capacity(table.len() / depth.max(1) * width);
    for row in table.chunks_exact(depth) {
        folded.extend(weight.chunks_exact(depth).map(|weight| dot(row, weight)));
    }
    folded
}
