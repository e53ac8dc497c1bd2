//! From trained weights to the model file that a device reads.
//!
//! The decoder's first 1×1 layer and the projection fold into the codebook: averaging is linear, so the device needs
//! one row of the decoder's width a word. Sees the trained weights and spae-core; knows nothing of training.

mod activations;
pub mod fit;
mod integer;
mod report;
mod rows;
mod stages;

pub use integer::quantise;
pub use report::{Report, SectionSize, StageSize};

use anyhow::{Context as _, Result, anyhow};
use spae_core::codebook::Rows;
use spae_core::decoder::Weights;
use spae_core::error::EmitError;
use spae_core::model::{self, Parts};
use spae_core::quant::{INT4_LIMIT, INT8_LIMIT};

use crate::checkpoint::Progress;
use crate::config::Mode;
use crate::tokenizer::Tokenizer;

/// Pictures that integer decoders' activations are measured on.
pub const CALIBRATION: usize = 256;

/// How the codebook's rows are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowFormat {
    /// One byte an element, one scale a column.
    #[default]
    Int8,
    /// Two bytes an element.
    F16,
    /// Half a byte an element, one scale a column.
    Int4,
}

/// Whether the words of a model file with this `provenance` carry meaning, as far as it says.
pub fn words_carry_meaning(provenance: &str) -> bool {
    let mode = provenance.lines().find_map(|line| line.strip_prefix("codebook = "));
    ![Mode::Learned, Mode::SimVq].iter().any(|learned| mode == Some(&learned.to_string()))
}

/// The bytes of `tokenizer`'s model file. `provenance` is lines of `key = value` that the file carries.
///
/// # Errors
/// If a tensor is missing or of another shape than the configuration says, or the parts make no model.
pub fn export(tokenizer: &Tokenizer, format: RowFormat, provenance: &str) -> Result<Vec<u8>> {
    let config = &tokenizer.config;
    let pyramid = config.geometry()?;
    let origin = tokenizer.origin.display().to_string();
    let (first, stages) = stages::stages(config, pyramid.grid(), &tokenizer.weights, &origin)?;
    let (width, depth) = (config.decoder.input, config.codebook.width);
    let table: Vec<f32> = tokenizer.table.flatten_all()?.to_vec1()?;
    let folded = fold(&table, &first.weight, depth, width);
    let words: Vec<&str> = tokenizer.codebook.words().iter().map(String::as_str).collect();
    let integers;
    let rows = match format {
        RowFormat::Int8 => {
            integers = rows::integers(&folded, width, INT8_LIMIT);
            Rows::Int8 { scales: &integers.scales, values: &integers.values }
        }
        RowFormat::Int4 => {
            integers = rows::integers(&folded, width, INT4_LIMIT);
            Rows::Int4 { scales: &integers.scales, values: &integers.values }
        }
        RowFormat::F16 => Rows::F16 {
            width: u16::try_from(width).with_context(|| format!("decoder.input = {width} is too wide"))?,
            values: &folded,
        },
    };
    let weights = Weights::F16(&stages.weights);
    let parts = Parts { pyramid, words: &words, rows, stages: &stages.specs, weights, provenance };
    emit(&parts).map_err(|error| anyhow!("{origin}: {error}"))
}

/// Where the model of `tokenizer` comes from, for the model file; `progress` is its training's, where that is known.
///
/// # Errors
/// If the configuration does not fit TOML.
pub fn provenance(tokenizer: &Tokenizer, progress: Option<&Progress>) -> Result<String> {
    let Tokenizer { config, codebook, .. } = tokenizer;
    let digest = crc32c::crc32c(config.to_toml()?.as_bytes());
    let mut lines = vec![
        format!("name = {}", config.name.replace(char::is_control, " ")),
        format!("program = spae {}", env!("CARGO_PKG_VERSION")),
        format!("config_crc32c = {digest:08x}"),
        format!("seed = {}", config.seed),
        format!("codebook = {}", config.codebook.mode),
        format!("embedding = {}", codebook.document.tensor),
        format!("embedding_sha256 = {}", codebook.document.source[1]),
    ];
    if let Some(progress) = progress {
        lines.push(format!("steps = {}", progress.steps));
        lines.extend(progress.best.map(|psnr| format!("validation_psnr = {psnr:.2}")));
    }
    Ok(lines.join("\n") + "\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_learned_codebook_are_said_to_be_names_alone() {
        assert!(words_carry_meaning("name = a\ncodebook = projected\n"));
        assert!(words_carry_meaning("name = learned\n"), "a file of before");
        for mode in ["learned", "simvq"] {
            assert!(!words_carry_meaning(&format!("name = a\ncodebook = {mode}\nseed = 1\n")));
        }
    }
}
