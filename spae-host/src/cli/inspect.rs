//! `spae inspect`: what is inside a model.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use spae_core::codebook::RowEncoding;
use spae_core::model::Model;
use spae_host::export::{self, Report};
use spae_host::model_file::ModelFile;

use super::output::{line, thousands};
use super::{open_model, output};

/// Show what is inside a model: layers, words, bytes, stages, memory, where it comes from.
#[derive(Debug, Args)]
#[command(after_help = "Example: spae inspect models/digits")]
pub(super) struct Arguments {
    /// A .spae file, a model folder or a run folder.
    model: PathBuf,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let file = open_model(&arguments.model)?;
    let model = file.model()?;
    let report = Report::of(&file)?;
    if arguments.json {
        return output::json(&as_json(&file, &model, &report)?);
    }
    line(format_args!(
        "{}: {} bytes, format version {}",
        file.path().display(),
        thousands(report.flash_bytes),
        model.version()
    ))?;
    pyramid(&model)?;
    words(&model, &report)?;
    stages(&model, &report)?;
    line("\nflash")?;
    for section in &report.sections {
        line(format_args!("  {:<11}{:>9} bytes", section.name, thousands(section.bytes)))?;
    }
    line(format_args!("  in all     {:>9} bytes", thousands(report.flash_bytes)))?;
    line(format_args!("\nmemory\n  scratch    {:>9} bytes", thousands(report.scratch_bytes)))?;
    line("\nprovenance")?;
    model.provenance().lines().try_for_each(|text| line(format_args!("  {text}")))
}

fn pyramid(model: &Model<'_>) -> Result<()> {
    let pyramid = model.pyramid();
    line(format_args!("\nlayers on a grid of {}\n         shape  words  so far", pyramid.grid()))?;
    for (index, shape) in pyramid.layers().iter().enumerate() {
        let upto = pyramid.tokens_before(index + 1);
        line(format_args!("  {:>2}  {:>8}  {:>5}  {upto:>6}", index + 1, shape.to_string(), shape.area()))?;
    }
    Ok(())
}

fn words(model: &Model<'_>, report: &Report) -> Result<()> {
    let count = model.lexicon().len();
    let lexicon = report.sections.iter().find(|section| section.name == "lexicon").map_or(0, |section| section.bytes);
    line(format_args!(
        "\nwords\n  {} in {} bytes, {:.1} a word: {}",
        thousands(count as usize),
        thousands(lexicon),
        lexicon as f64 / f64::from(count),
        samples(model).join(", ")
    ))?;
    if !export::words_carry_meaning(model.provenance()) {
        line("  names of ids alone: their vectors were learned from pictures, and say nothing of what the words mean")?;
    }
    let encoding = encoding(model);
    line(format_args!("  a row of {} a word, {encoding}", model.codebook().width()))
}

/// Words from all over the lexicon.
fn samples(model: &Model<'_>) -> Vec<String> {
    const SHOWN: u32 = 8;
    let count = model.lexicon().len();
    let ids =
        (0..SHOWN.min(count)).map(|index| (u64::from(index) * u64::from(count) / u64::from(SHOWN.min(count))) as u32);
    ids.filter_map(|id| model.lexicon().word(id)).map(|word| word.to_string()).collect()
}

fn encoding(model: &Model<'_>) -> &'static str {
    match model.codebook().encoding() {
        RowEncoding::Int8 => "int8",
        RowEncoding::F16 => "f16",
        RowEncoding::Int4 => "int4",
    }
}

fn stages(model: &Model<'_>, report: &Report) -> Result<()> {
    let decoder = model.decoder();
    let colour = if decoder.picture_channels() == 1 { "grey" } else { "red-green-blue" };
    line(format_args!("\ndecoder to {} pixels, {colour}", decoder.picture_shape()))?;
    line("      operation  output         weights  multiply-accumulates")?;
    for (index, stage) in report.stages.iter().enumerate() {
        let output = format!("{}×{}×{}", stage.height, stage.width, stage.channels);
        let residual = stage.residual.map(|residual| format!("+ stage {residual} ")).unwrap_or_default();
        line(
            format!(
                "  {index:>2}  {:<9}  {output:<12} {:>9}  {:>20}  {residual}{}",
                stage.operation,
                thousands(stage.weights),
                thousands(stage.multiply_accumulates),
                stage.activation
            )
            .trim_end(),
        )?;
    }
    line(format_args!(
        "      in all                  {:>9}  {:>20}",
        thousands(report.weights),
        thousands(report.multiply_accumulates)
    ))
}

fn as_json(file: &ModelFile, model: &Model<'_>, report: &Report) -> Result<Value> {
    let shape = |shape: spae_core::pyramid::Shape| json!([shape.height, shape.width]);
    let mut value = json!({
        "path": file.path().display().to_string(),
        "format_version": model.version(),
        "grid": shape(model.pyramid().grid()),
        "layers": model.pyramid().layers().iter().copied().map(shape).collect::<Vec<_>>(),
        "tokens": model.pyramid().token_count(),
        "words": model.lexicon().len(),
        "word_samples": samples(model),
        "words_carry_meaning": export::words_carry_meaning(model.provenance()),
        "row_width": model.codebook().width(),
        "row_encoding": encoding(model),
        "picture": shape(model.decoder().picture_shape()),
        "picture_channels": model.decoder().picture_channels(),
        "provenance": model.provenance(),
    });
    if let (Value::Object(value), Value::Object(report)) = (&mut value, serde_json::to_value(report)?) {
        value.extend(report);
    }
    Ok(value)
}
