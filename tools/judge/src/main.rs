//! Judges a digit tokenizer from outside: do its pictures still show the digit, and do its words name it?
//!
//! `judge train` makes a digit classifier from the original digits; `judge report` reads with it what a tokenizer draws
//! from 1, 5, 21, … words. The classifier and the sentence encoder only ever look: neither takes part in training a
//! tokenizer.

mod classifier;
mod measure;
mod table;
mod training;
mod warp;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Ask a digit classifier and a sentence encoder what they make of a tokenizer's pictures and words.
#[derive(Debug, Parser)]
#[command(name = "judge", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(TrainArguments),
    Report(ReportArguments),
}

/// Train the classifier on the original digits; minutes on two cores.
#[derive(Debug, Args)]
#[command(after_help = "Example: judge train --data ../shared/data/mnist")]
struct TrainArguments {
    /// A folder with the digits as IDX files.
    #[arg(long, value_name = "D")]
    data: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = classifier::FILE)]
    classifier: PathBuf,
    /// Times that every digit is seen.
    #[arg(long, value_name = "N", default_value_t = 6)]
    epochs: u64,
    /// Decides the first weights, the order and the variations of the digits.
    #[arg(long, value_name = "N", default_value_t = 20_230_626)]
    seed: u64,
}

/// Measure a tokenizer on the test digits, for each number of layers.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: judge report --model models/digits --data ../shared/data/mnist --language-model minilm"
)]
struct ReportArguments {
    /// A model folder or a run folder.
    #[arg(long, value_name = "M")]
    model: PathBuf,
    /// A folder with the digits as IDX files; its test split is measured.
    #[arg(long, value_name = "D")]
    data: PathBuf,
    /// The file that `judge train` has written.
    #[arg(long, value_name = "FILE", default_value = classifier::FILE)]
    classifier: PathBuf,
    /// A folder with a BERT-like sentence encoder; without it, words are not judged as sentences.
    #[arg(long, value_name = "DIR")]
    language_model: Option<PathBuf>,
    /// Attention heads of the sentence encoder, where its folder does not say.
    #[arg(long, value_name = "N", default_value_t = 12)]
    attention_heads: usize,
    /// Measure only the first N pictures.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Read the words of only the first N pictures as sentences; long sentences take a while.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    sentences: usize,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    // Candle's own threads spin while they wait and take the cores from the operations that do the work.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: the process has a single thread yet, so nobody reads the environment at the same time.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    match Arguments::parse().command {
        Command::Train(arguments) => training::train(&arguments),
        Command::Report(arguments) => {
            let report = measure::report(&arguments)?;
            if arguments.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", table::text(&report));
            }
            Ok(())
        }
    }
}
