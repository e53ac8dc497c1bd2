//! What a model file costs on a device: flash by section, scratch memory, multiply–accumulates.

use anyhow::{Result, anyhow};
use serde::Serialize;
use spae_core::decoder::{Operation, Stage};
use spae_core::format::{Kind, Sections};
use spae_core::kernel::Activation;

use crate::model_file::ModelFile;

/// What a model file costs.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The whole file, in bytes.
    pub flash_bytes: usize,
    /// By section, without header, table and padding.
    pub sections: Vec<SectionSize>,
    /// The memory that decoding borrows, in bytes; the stack comes on top.
    pub scratch_bytes: usize,
    /// For one picture.
    pub multiply_accumulates: usize,
    /// Weights, biases included.
    pub weights: usize,
    /// The decoder's stages.
    pub stages: Vec<StageSize>,
}

/// A section and its length.
#[derive(Clone, Debug, Serialize)]
pub struct SectionSize {
    /// Its name.
    pub name: &'static str,
    /// Its content, in bytes.
    pub bytes: usize,
}

/// A stage and what it costs.
#[derive(Clone, Debug, Serialize)]
pub struct StageSize {
    /// What it computes.
    pub operation: &'static str,
    /// What follows its sums.
    pub activation: &'static str,
    /// The stage whose output it adds.
    pub residual: Option<u8>,
    /// Output rows.
    pub height: u16,
    /// Output columns.
    pub width: u16,
    /// Output channels.
    pub channels: u16,
    /// Weights, biases included.
    pub weights: usize,
    /// For one picture.
    pub multiply_accumulates: usize,
}

impl Report {
    /// Measures `file`.
    ///
    /// # Errors
    /// None for a file that has been opened.
    pub fn of(file: &ModelFile) -> Result<Self> {
        let model = file.model()?;
        let sections = Sections::read(file.bytes()).map_err(|error| anyhow!("{}: {error}", file.path().display()))?;
        let size = |kind: Kind| SectionSize { name: kind.name(), bytes: sections.section(kind).len() };
        let stages = model.decoder().stages();
        Ok(Self {
            flash_bytes: file.bytes().len(),
            sections: Kind::ALL.map(size).to_vec(),
            scratch_bytes: model.scratch_len() * size_of::<u32>(),
            multiply_accumulates: model.decoder().multiply_accumulates(),
            weights: stages.iter().map(Stage::weight_count).sum(),
            stages: stages.iter().map(StageSize::of).collect(),
        })
    }
}

impl StageSize {
    fn of(stage: &Stage) -> Self {
        Self {
            operation: match stage.spec.operation {
                Operation::Input => "input",
                Operation::Convolve1x1 => "1×1",
                Operation::Convolve3x3 => "3×3",
                Operation::UpsampleConvolve3x3 => "×2, 3×3",
            },
            activation: match stage.spec.activation {
                Activation::Identity => "",
                Activation::Relu => "relu",
            },
            residual: stage.spec.residual,
            height: stage.shape.height,
            width: stage.shape.width,
            channels: stage.spec.channels,
            weights: stage.weight_count(),
            multiply_accumulates: stage.multiply_accumulates(),
        }
    }
}
