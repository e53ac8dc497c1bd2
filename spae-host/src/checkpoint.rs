//! Training checkpoints: one safetensors file with weights, their running average, the optimiser's moments and how far
//! the run has come.
//!
//! Names are `weight.…`, `average.…`, `first.…` and `second.…` before the weights' own. Random numbers need no state:
//! they are functions of the seed and the step.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::optimizer::State;
use crate::tensor_file::{self, Tensors};

/// The kind that the file's metadata names.
const KIND: &str = "spae-checkpoint";

/// The folder of a run that its checkpoints lie in.
pub const FOLDER: &str = "checkpoints";
/// The newest checkpoint's name.
pub const LAST: &str = "last.safetensors";
/// The name of the one with the best validation figure.
pub const BEST: &str = "best.safetensors";

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Updates so far.
    pub steps: u64,
    /// Seconds of training so far, over all parts of the run.
    pub seconds: f64,
    /// The best validation PSNR so far, in dB.
    pub best: Option<f64>,
}

/// A checkpoint in memory.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Weights and optimiser.
    pub state: State,
    /// How far the run has come.
    pub progress: Progress,
}

impl Checkpoint {
    /// Writes the file; the one that was there stays until this one is whole on the disk.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        let parts = [
            ("weight", &self.state.weights),
            ("average", &self.state.average),
            ("first", &self.state.first),
            ("second", &self.state.second),
        ];
        let mut tensors = Tensors::new();
        for (part, named) in parts {
            tensors.extend(named.iter().map(|(name, tensor)| (format!("{part}.{name}"), tensor.clone())));
        }
        tensor_file::write(path, KIND, &tensors, &self.progress)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it is missing, damaged, or no checkpoint.
    pub fn load(path: &Path) -> Result<Self> {
        let (tensors, progress): (Tensors, Progress) = tensor_file::read(path, KIND)?;
        let mut state = State { steps: progress.steps, ..State::default() };
        for (full, tensor) in tensors {
            let (part, name) = full.split_once('.').unwrap_or((&full, ""));
            let named = match part {
                "weight" => &mut state.weights,
                "average" => &mut state.average,
                "first" => &mut state.first,
                "second" => &mut state.second,
                _ => return Err(anyhow::anyhow!("unknown tensor `{full}`")).context(path.display().to_string()),
            };
            named.insert(name.to_owned(), tensor);
        }
        Ok(Self { state, progress })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};

    #[test]
    fn a_checkpoint_reads_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LAST);
        let named = |value: f32| Tensors::from([("a.b".to_owned(), Tensor::new(&[value], &Device::Cpu).unwrap())]);
        let state = State { steps: 7, weights: named(1.0), average: named(2.0), first: named(3.0), second: named(4.0) };
        let progress = Progress { steps: 7, seconds: 1.5, best: Some(20.0) };
        Checkpoint { state, progress }.save(&path).unwrap();
        let read = Checkpoint::load(&path).unwrap();
        assert_eq!((read.progress, read.state.steps), (progress, 7));
        let values = [read.state.weights, read.state.average, read.state.first, read.state.second]
            .map(|tensors| tensors["a.b"].to_vec1::<f32>().unwrap()[0]);
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn another_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codebook.safetensors");
        crate::codebook::tiny(3).save(&path).unwrap();
        assert!(Checkpoint::load(&path).unwrap_err().to_string().contains("codebook.safetensors"));
    }
}
