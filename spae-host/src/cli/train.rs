//! `spae train`: a configuration and pictures to a trained run.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use spae_host::config::Config;
use spae_host::train;

use super::output::line;

/// Train a model.
///
/// The run folder gets the resolved configuration, metrics.jsonl, TensorBoard events, sample pictures and checkpoints.
/// Ctrl-C saves a checkpoint first; --resume then goes on bit for bit.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spae train models/digits/config.toml --data ../shared/data/mnist --run runs/digits\n  \
                        spae train models/digits/config.toml --data ../shared/data/mnist --set train.steps=100"
)]
pub(super) struct Arguments {
    /// What to train and how.
    config: PathBuf,
    /// A folder with IDX files, a folder of images, or a tar of images; of a set with splits the training split.
    #[arg(long, value_name = "D")]
    data: PathBuf,
    /// The run folder [default: runs/<the configuration's name>].
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Go on with the run that is there.
    #[arg(long)]
    resume: bool,
    /// Change a key of the configuration, such as train.steps=100.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let config = Config::load(&arguments.config, &arguments.set)?;
    let folder = arguments.run.clone().unwrap_or_else(|| PathBuf::from("runs").join(&config.name));
    let summary = train::run(&config, &arguments.data, &folder, arguments.resume)?;
    if summary.interrupted {
        bail!("stopped after step {} of {}; go on with --resume", summary.progress.steps, config.train.steps);
    }
    if let Some(evaluation) = &summary.evaluation {
        line("  layers  words   PSNR (dB)   words in use")?;
        for (index, layer) in evaluation.layers.iter().enumerate() {
            line(format_args!("  {:>6}  {:>5}  {:>10.3}  {:>13}", index + 1, layer.words, layer.psnr, layer.in_use))?;
        }
    }
    line(format_args!("trained: {}; make its model file with `spae export {0} -o model.spae`", folder.display()))
}
