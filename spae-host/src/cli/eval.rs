//! `spae eval`: how near decoded pictures come to their originals.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde_json::json;
use spae_host::config::Image;
use spae_host::data::{Dataset, Split};
use spae_host::evaluation::{self, Evaluation, check_pair};

use super::output::{self, line};
use super::progress::Progress;
use super::{open_model, open_tokenizer};

/// Measure a model: PSNR, SSIM and words in use, for each number of layers.
///
/// Every picture is encoded, written as text, read back and drawn by the code that runs on devices. Of a set with a
/// test split (t10k-* or test-* IDX files, a test or val folder or tar) that split is measured, else all of it.
#[derive(Debug, Args)]
#[command(after_help = "Example: spae eval models/digits --data ../shared/data/mnist --json")]
pub(super) struct Arguments {
    /// A model folder or a run folder.
    model: PathBuf,
    /// A folder with IDX files, a folder of images, or a tar of images.
    #[arg(long, value_name = "D")]
    data: PathBuf,
    /// Measure only the first N pictures.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let tokenizer = open_tokenizer(&arguments.model)?;
    let file = open_model(&arguments.model)?;
    let model = file.model()?;
    check_pair(&tokenizer, &model, &file.path().display().to_string())?;
    let (dataset, split) = open(&arguments.data, tokenizer.config.image)?;
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let progress = Progress::new("measuring", dataset.len().min(limit), true);
    let evaluation = evaluation::evaluate(&tokenizer, &model, &dataset, limit, |done| progress.done(done))?;
    drop(progress);
    if arguments.json {
        let mut value = serde_json::to_value(&evaluation)?;
        value["model"] = json!(file.path().display().to_string());
        value["data"] = json!(arguments.data.display().to_string());
        value["split"] = json!(split);
        return output::json(&value);
    }
    line(format_args!(
        "{}: {} pictures of {} ({split})",
        file.path().display(),
        evaluation.images,
        arguments.data.display()
    ))?;
    table(&evaluation)
}

/// The test split if there is one, else what there is; and its name.
pub(super) fn open(path: &Path, image: Image) -> Result<(Dataset, &'static str)> {
    if Split::Test.is_at(path) {
        Ok((Dataset::open(path, Split::Test, image)?, "test"))
    } else {
        let split = if Split::Train.is_at(path) { "train" } else { "all" };
        Ok((Dataset::open(path, Split::Train, image)?, split))
    }
}

fn table(evaluation: &Evaluation) -> Result<()> {
    line("  layers  words   PSNR (dB)    SSIM   words in use")?;
    for (index, layer) in evaluation.layers.iter().enumerate() {
        let ssim = layer.ssim.map_or_else(|| "–".to_owned(), |ssim| format!("{ssim:.4}"));
        let (count, words) = (index + 1, layer.words);
        line(format_args!("  {count:>6}  {words:>5}  {:>10.3}  {ssim:>6}  {:>13}", layer.psnr, layer.words_in_use))?;
    }
    Ok(())
}
