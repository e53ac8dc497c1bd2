//! `spae data`: sets of pictures, how to get them and whether they are whole.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use rayon::prelude::*;
use serde_json::json;
use spae_host::config::{Fit, Image};
use spae_host::data::{Dataset, Split};
use spae_host::download::{KnownSet, SETS, known};

use super::output::{self, line, thousands};

/// Get sets of pictures and check them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  spae data list\n  spae data digits --from https://HOST/mnist -o data/mnist\n  spae \
                        data check data/mnist"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The sets that are known by their content.
    List {
        /// As one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Bring the handwritten digits (MNIST) from a place that has them.
    #[command(after_help = "Example: spae data digits --from https://HOST/mnist -o data/mnist")]
    Digits {
        /// The address of a folder (http or https), or a folder on this machine; `spae data list` has the files' names.
        #[arg(long, value_name = "URL-or-FOLDER")]
        from: String,
        /// Where they go.
        #[arg(short, long, value_name = "DIR")]
        output: PathBuf,
    },
    /// Say what a folder or a tar holds, and whether it is whole: every picture is read.
    #[command(after_help = "Example: spae data check data/mnist")]
    Check {
        /// A folder with IDX files, a folder of images, or a tar of images.
        data: PathBuf,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::List { json } => list(*json),
        Command::Digits { from, output } => match known("digits") {
            Some(set) => fetch(set, from, output),
            None => bail!("the set is not known"),
        },
        Command::Check { data, json } => check(data, *json),
    }
}

fn list(as_json: bool) -> Result<()> {
    if as_json {
        let files = |set: &KnownSet| {
            let contents = |contents: &[spae_host::download::Content]| {
                let content = |c: &spae_host::download::Content| json!({ "about": c.about, "bytes": c.bytes, "sha256": c.sha256 });
                contents.iter().map(content).collect::<Vec<_>>()
            };
            set.files.iter().map(|f| json!({ "name": f.name, "contents": contents(f.contents) })).collect::<Vec<_>>()
        };
        let sets = SETS.iter().map(|set| json!({ "name": set.name, "about": set.about, "files": files(set) }));
        return output::json(&sets.collect::<Vec<_>>());
    }
    for set in SETS {
        line(format_args!("{}: {}", set.name, set.about))?;
        for file in set.files {
            let holds: Vec<&str> = file.contents.iter().map(|content| content.about).collect();
            line(format_args!("  {}[.gz]: {}", file.name, holds.join(", or ")))?;
        }
    }
    Ok(())
}

fn fetch(set: &KnownSet, from: &str, to: &Path) -> Result<()> {
    set.fetch(from, to, |name, content, brought| {
        let how = if brought { "brought" } else { "was there already" };
        line(format_args!("{}: {}, {how}, checksum is right", to.join(name).display(), content.about))
    })
}

/// One split as it is found.
struct Found {
    split: &'static str,
    pictures: usize,
    classes: usize,
    damaged: Vec<String>,
}

fn check(path: &Path, as_json: bool) -> Result<()> {
    let mut found = Vec::new();
    for (split, name) in [(Split::Train, "train"), (Split::Test, "test")] {
        if split.is_at(path) {
            found.push(look(path, split, name)?);
        }
    }
    if found.is_empty() {
        found.push(look(path, Split::Train, "all")?);
    }
    let recognised = SETS.iter().find(|set| set.files.iter().all(|file| matches!(file.check(path), Ok(Some(_)))));
    if as_json {
        let split = |found: &Found| json!({ "split": found.split, "pictures": found.pictures, "classes": found.classes, "damaged": found.damaged });
        output::json(&json!({
            "data": path.display().to_string(),
            "splits": found.iter().map(split).collect::<Vec<_>>(),
            "known_as": recognised.map(|set| set.name),
        }))?;
    } else {
        for found in &found {
            let classes = if found.classes > 0 { format!(" in {} classes", found.classes) } else { String::new() };
            line(format_args!("{}: {} pictures{classes}", found.split, thousands(found.pictures)))?;
        }
        if let Some(set) = recognised {
            line(format_args!("this is `{}` ({}), whole", set.name, set.about))?;
        }
    }
    let damaged: Vec<&String> = found.iter().flat_map(|found| &found.damaged).collect();
    if let Some(first) = damaged.first() {
        bail!("{} of the pictures do not read; the first: {first}", thousands(damaged.len()));
    }
    Ok(())
}

fn look(path: &Path, split: Split, name: &'static str) -> Result<Found> {
    // Any size will do: what counts is that each picture reads.
    let image = Image { channels: 1, height: 1, width: 1, fit: Fit::Resize, border: 0 };
    let dataset = Dataset::open(path, split, image)?;
    let results = (0..dataset.len()).into_par_iter().map(|index| dataset.sample(index));
    let results: Vec<_> =
        results.map(|sample| sample.map(|sample| sample.label).map_err(|e| format!("{e:#}"))).collect();
    let labels: std::collections::BTreeSet<u32> = results.iter().flatten().copied().flatten().collect();
    let damaged = results.into_iter().filter_map(Result::err).collect();
    Ok(Found { split: name, pictures: dataset.len(), classes: labels.len(), damaged })
}
