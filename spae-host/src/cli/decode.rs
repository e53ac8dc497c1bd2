//! `spae decode`: words to a picture.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use clap::ValueEnum;
use serde::Serialize;
use spae_core::stream::UnknownPolicy;
use spae_host::drawing::{self, Drawing, Fault};
use spae_host::picture::Picture;
use spae_host::picture::terminal::{self, Colours};

use super::{layer_count, open_model, output};

/// Draw the picture that a text's words make.
///
/// Commas, quotes, numbering, capitals, code fences and labels are forgiven; unknown, missing and surplus words are
/// reported.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: spae decode seven.txt --model models/digits -o seven.png")]
pub(super) struct Arguments {
    /// A file with words; `-` or nothing reads standard input.
    text: Option<PathBuf>,
    /// A .spae file, a model folder or a run folder.
    #[arg(long, value_name = "M")]
    model: PathBuf,
    /// The picture to write, as PNG; without it the picture is shown as text.
    #[arg(short, long, value_name = "OUT.png")]
    output: Option<PathBuf>,
    /// Use only the first L layers.
    #[arg(long, value_name = "L")]
    layers: Option<usize>,
    /// One picture for each layer as well: OUT-layer1.png and so on.
    #[arg(long)]
    preview: bool,
    /// What to do with a word that the model does not have.
    #[arg(long, value_enum, default_value_t = Unknown::Error)]
    unknown: Unknown,
    /// Report what was met in the text as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Unknown {
    /// Stop there.
    Error,
    /// Leave it out; the next word takes its place.
    Skip,
    /// Keep its place and leave it empty.
    Hole,
}

#[derive(Serialize)]
struct Report<'d> {
    layers_complete: usize,
    words: usize,
    missing: usize,
    surplus: usize,
    first_surplus: &'d Option<Fault>,
    unknown: &'d [Fault],
    files: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let file = open_model(&arguments.model)?;
    let model = file.model()?;
    let layers = layer_count(arguments.layers, model.pyramid().layers().len())?;
    let (name, text) = read(arguments.text.as_deref())?;
    let policy = match arguments.unknown {
        Unknown::Error => UnknownPolicy::Error,
        Unknown::Skip => UnknownPolicy::Skip,
        Unknown::Hole => UnknownPolicy::Hole,
    };
    let drawing = drawing::draw(&model, &text, policy, layers).map_err(|Fault { place, word }| {
        anyhow!(
            "{name}:{place}: `{word}` is no word of {}; `--unknown skip` leaves such words out, `--unknown hole` \
             keeps their places empty",
            file.path().display()
        )
    })?;
    notes(&name, &drawing, arguments.unknown);
    let mut files = Vec::new();
    if arguments.preview {
        for (index, picture) in drawing.layers.iter().enumerate() {
            let path = arguments.output.as_deref().map(|path| layer_path(path, index + 1));
            put(picture, path, arguments.json, &mut files)?;
        }
    }
    if !arguments.preview || arguments.output.is_some() {
        put(&drawing.picture, arguments.output.clone(), arguments.json, &mut files)?;
    }
    if arguments.json {
        output::json(&Report {
            layers_complete: drawing.layers.len(),
            words: drawing.words.iter().flatten().flatten().count(),
            missing: drawing.missing,
            surplus: drawing.surplus,
            first_surplus: &drawing.first_surplus,
            unknown: &drawing.unknown,
            files: files.iter().map(|path| path.display().to_string()).collect(),
        })?;
    }
    Ok(())
}

/// What messages call the text, and its bytes.
pub(super) fn read(path: Option<&Path>) -> Result<(String, Vec<u8>)> {
    match path.filter(|path| *path != Path::new("-")) {
        Some(path) => {
            let name = path.display().to_string();
            let text = fs::read(path).with_context(|| format!("cannot read the text {name}"))?;
            Ok((name, text))
        }
        None => {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).context("cannot read the text from standard input")?;
            Ok(("standard input".to_owned(), text))
        }
    }
}

fn notes(name: &str, drawing: &Drawing, unknown: Unknown) {
    const SHOWN: usize = 10;
    let done = if matches!(unknown, Unknown::Hole) { "its place stays empty" } else { "left out" };
    for Fault { place, word } in drawing.unknown.iter().take(SHOWN) {
        output::note(format_args!("{name}:{place}: `{word}` is unknown; {done}"));
    }
    if drawing.unknown.len() > SHOWN {
        output::note(format_args!("{name}: {} more unknown words", drawing.unknown.len() - SHOWN));
    }
    if let Some(Fault { place, word }) = &drawing.first_surplus {
        output::note(format_args!("{name}:{place}: surplus from `{word}` on, {} in all; not used", drawing.surplus));
    }
    if drawing.missing > 0 {
        let places = drawing.words.iter().flatten().count();
        output::note(format_args!("{name}: {} of {places} places have no word", drawing.missing));
    }
}

/// `seven.png` as `seven-layer2.png`.
fn layer_path(path: &Path, layer: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-layer{layer}.png"))
}

/// Writes a picture, or shows it where there is nothing to write to.
fn put(picture: &Picture, path: Option<PathBuf>, quiet: bool, files: &mut Vec<PathBuf>) -> Result<()> {
    match path {
        Some(path) => {
            picture.write_png(&path)?;
            files.push(path);
        }
        None if quiet => {}
        None => output::line(terminal::lines(picture, Colours::of(&std::io::stdout())).join("\n"))?,
    }
    Ok(())
}
