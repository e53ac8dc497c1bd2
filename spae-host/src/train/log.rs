//! What a run says while it goes: `metrics.jsonl`, TensorBoard events, curves, and a bar on a terminal or plain lines
//! elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal as _, Write as _, stderr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::{Evaluation, Terms, curves, events::Events};
use crate::checkpoint::Progress;

pub(super) struct Log {
    metrics: File,
    events: Events,
    /// On a terminal alone.
    bar: Option<ProgressBar>,
    steps: u64,
    folder: PathBuf,
}

impl Log {
    pub(super) fn new(folder: &Path, steps: u64, done: u64) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let metrics = OpenOptions::new().create(true).append(true).open(&path);
        let bar = if stderr().is_terminal() {
            let bar = ProgressBar::new(steps).with_position(done);
            bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} eta {eta} {msg}")?);
            bar.enable_steady_tick(Duration::from_secs(1));
            Some(bar)
        } else {
            None
        };
        let metrics = metrics.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { metrics, events: Events::create(folder)?, bar, steps, folder: folder.to_owned() })
    }

    /// One line of figures.
    pub(super) fn step(&mut self, progress: &Progress, terms: &Terms) -> Result<()> {
        let mut line = Map::from_iter([
            ("step".to_owned(), json!(progress.steps)),
            ("seconds".to_owned(), json!(rounded(progress.seconds))),
        ]);
        for (name, value) in terms.iter() {
            line.insert(name.to_owned(), json!(value));
            self.events.scalar(progress.steps, &format!("train/{name}"), value as f32)?;
        }
        self.line(line)?;
        let shown = ["reconstruction", "prefix_reconstruction", "semantic"];
        let shown: Vec<String> = terms
            .iter()
            .filter(|(name, _)| shown.contains(name))
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect();
        match &self.bar {
            Some(bar) => {
                bar.set_position(progress.steps);
                bar.set_message(shown.join("  "));
            }
            None => self.note(&format!(
                "step {}/{}  {:.0} s  {}",
                progress.steps,
                self.steps,
                progress.seconds,
                shown.join("  ")
            )),
        }
        Ok(())
    }

    /// One line of an evaluation.
    pub(super) fn evaluation(&mut self, progress: &Progress, evaluation: &Evaluation, samples: &Path) -> Result<()> {
        for (number, layer) in evaluation.layers.iter().enumerate() {
            let tag = |what: &str| format!("validation/{what}_{}", number + 1);
            self.events.scalar(progress.steps, &tag("psnr"), layer.psnr as f32)?;
            self.events.scalar(progress.steps, &tag("in_use"), layer.in_use as f32)?;
        }
        if let Ok(png) = fs::read(samples) {
            // Width and height stand big-endian at bytes 16 and 20 of every PNG.
            let side =
                |at: usize| png.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize);
            self.events.image(progress.steps, "validation/originals_and_prefixes", [side(20), side(16)], &png)?;
        }
        self.line(Map::from_iter([
            ("step".to_owned(), json!(progress.steps)),
            ("seconds".to_owned(), json!(rounded(progress.seconds))),
            ("validation".to_owned(), serde_json::to_value(evaluation)?),
            ("samples".to_owned(), json!(samples.file_name().map(|name| name.to_string_lossy()))),
        ]))?;
        let figures =
            |figure: &dyn Fn(usize) -> String| (0..evaluation.layers.len()).map(figure).collect::<Vec<_>>().join(" ");
        self.note(&format!(
            "step {}: validation PSNR after each layer {} dB; words in use {}",
            progress.steps,
            figures(&|layer| format!("{:.2}", evaluation.layers[layer].psnr)),
            figures(&|layer| evaluation.layers[layer].in_use.to_string()),
        ));
        curves::write(&self.folder)
    }

    fn line(&mut self, line: Map<String, Value>) -> Result<()> {
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        self.metrics.write_all(text.as_bytes()).context("cannot write metrics.jsonl")
    }

    /// Something to read for whoever watches.
    pub(super) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}
