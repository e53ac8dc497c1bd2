//! What a run would take, from a few of its steps: nothing is written.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::{Terms, Trainer, find_codebook};
use crate::config::Config;
use crate::data::{Dataset, Sampler, Split};
use crate::ops;

/// Steps that are timed. One more comes first, which finds memory and caches empty.
const TIMED: u32 = 2;

/// What a run would take.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// Pictures to train on.
    pub pictures: usize,
    /// Words of the vocabulary.
    pub words: usize,
    /// Numbers that the optimiser moves, or running averages do.
    pub parameters: usize,
    /// The same of the discriminator.
    pub discriminator_parameters: usize,
    /// Seconds of a step on this machine as it is now, evaluations apart.
    pub seconds_a_step: f64,
    /// The most memory that the program has held so far, in bytes, where the system says.
    pub memory: Option<u64>,
    /// The terms of the last step.
    pub terms: Terms,
}

impl Estimate {
    /// Bytes of a checkpoint: weights, average and two moments, and three of the discriminator's.
    pub fn checkpoint_bytes(&self) -> usize {
        size_of::<f32>() * (4 * self.parameters + 3 * self.discriminator_parameters)
    }
}

/// Takes a few steps of `config` on `data`.
///
/// # Errors
/// If a run would fail there.
pub fn estimate(config: &Config, data: &Path) -> Result<Estimate> {
    ops::keep_freed_memory();
    let dataset = Dataset::open(data, Split::Train, config.image)?;
    let (codebook, _) = find_codebook(config)?;
    let sampler = Sampler::new(dataset.into(), config.seed, config.train.validation, config.train.augment);
    let mut trainer = Trainer::new(config, &codebook, &sampler, None)?;
    let mut terms = trainer.step()?;
    let start = Instant::now();
    for _ in 0..TIMED {
        terms = trainer.step()?;
    }
    let (parameters, discriminator_parameters) = trainer.parameters();
    Ok(Estimate {
        pictures: sampler.trained_on(),
        words: codebook.words().len(),
        parameters,
        discriminator_parameters,
        seconds_a_step: start.elapsed().as_secs_f64() / f64::from(TIMED),
        memory: peak_memory(),
        terms,
    })
}

/// The most memory that this process has held, in bytes, where the system says.
pub(super) fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// Seconds for people: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`.
pub fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        _ if seconds < 90.0 => format!("{seconds:.0} s"),
        0..90 => format!("{minutes} min"),
        90..2880 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let seconds = [45.0, 720.0, 12_000.0, 187_200.0];
        assert_eq!(seconds.map(duration), ["45 s", "12 min", "3 h 20 min", "2 d 4 h"]);
    }
}
