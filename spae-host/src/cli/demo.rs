//! `spae demo`: words becoming a picture, with the model that the program carries.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use spae_core::stream::UnknownPolicy;
use spae_host::drawing;
use spae_host::export::Report;
use spae_host::model_file::ModelFile;
use spae_host::picture::sheet::{Panel, sheet};
use spae_host::picture::terminal::{self, Colours};

use super::output::{self, line, thousands};

/// Show words becoming a picture, layer by layer. Needs no network, no data and no other file.
#[derive(Debug, Args)]
#[command(after_help = "Example: spae demo --digit 3 -o three.png")]
pub(super) struct Arguments {
    /// Which digit's words.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(0..=9))]
    digit: u8,
    /// Where all layers' words and pictures go, side by side, as PNG.
    #[arg(short, long, value_name = "OUT.png", default_value = "spae-demo.png")]
    output: PathBuf,
    /// Another model folder than the shipped one; its samples/N.txt is shown.
    #[arg(long, value_name = "M")]
    model: Option<PathBuf>,
}

/// Between layers, for a person to look.
const PAUSE: Duration = Duration::from_millis(700);

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.model {
        Some(folder) => {
            let path = folder.join(format!("samples/{}.txt", arguments.digit));
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            show(&ModelFile::open(folder)?, &text, arguments)
        }
        None => shipped(arguments),
    }
}

fn shipped(arguments: &Arguments) -> Result<()> {
    let file = ModelFile::new("the shipped model".into(), shipped::MODEL.to_vec())?;
    show(&file, shipped::SAMPLES[usize::from(arguments.digit)], arguments)
}

/// The model and its samples, inside the program: canonical texts of digits that were not trained on.
mod shipped {
    macro_rules! sample {
        ($digit:literal) => {
            include_str!(concat!("../../../models/digits/samples/", $digit, ".txt"))
        };
    }
    pub(super) const MODEL: &[u8] = include_bytes!("../../../models/digits/model.spae");
    pub(super) const SAMPLES: [&str; 10] = [
        sample!(0),
        sample!(1),
        sample!(2),
        sample!(3),
        sample!(4),
        sample!(5),
        sample!(6),
        sample!(7),
        sample!(8),
        sample!(9),
    ];
}

fn show(file: &ModelFile, text: &str, arguments: &Arguments) -> Result<()> {
    let model = file.model()?;
    let layers = model.pyramid().layers();
    let drawing = drawing::draw(&model, text.as_bytes(), UnknownPolicy::Error, layers.len())
        .map_err(|fault| anyhow!("the text for {} at {fault}", arguments.digit))?;
    let mut panels = Vec::new();
    for (index, (picture, ids)) in drawing.layers.iter().zip(&drawing.words).enumerate() {
        let words = ids.iter().flatten().filter_map(|&id| model.lexicon().word(id)).map(|word| word.to_string());
        let count = model.pyramid().tokens_before(index + 1);
        panels.push(Panel {
            title: format!("layer {}", index + 1),
            note: if count == 1 { "1 word".to_owned() } else { format!("{count} words") },
            shape: layers[index],
            words: words.collect(),
            picture,
        });
    }
    let colours = Colours::of(&std::io::stdout());
    for (index, panel) in panels.iter().enumerate() {
        if index > 0 && output::is_watched() {
            thread::sleep(PAUSE);
        }
        layer(panel, colours, index > 0)?;
    }
    sheet(&panels)?.write_png(&arguments.output)?;
    let report = Report::of(file)?;
    line(format_args!(
        "\n  {} words in all. The model takes {} bytes, drawing a picture {} bytes of memory.\n  All layers side by \
         side: {}",
        thousands(model.pyramid().token_count()),
        thousands(report.flash_bytes),
        thousands(report.scratch_bytes),
        arguments.output.display()
    ))
}

const INDENT: &str = "  ";
const BETWEEN: &str = "   ";

/// One layer: the picture so far, and beside it the words that this layer adds.
fn layer(panel: &Panel<'_>, colours: Colours, adds: bool) -> Result<()> {
    let plus = if adds { format!("{} more, ", panel.words.len()) } else { String::new() };
    let title = colours.paint([255, 255, 255], &panel.title);
    line(format_args!("\n{INDENT}{title}: {plus}{}\n", panel.note))?;
    let pictures = terminal::lines(panel.picture, colours);
    let room = output::columns().saturating_sub(panel.picture.width() + INDENT.len() + BETWEEN.len());
    let beside =
        grid(panel, pictures.len(), room, colours).unwrap_or_else(|| flow(panel, pictures.len(), room, colours));
    for (picture, words) in pictures.iter().zip(&beside) {
        line(format!("{INDENT}{picture}{BETWEEN}{words}").trim_end())?;
    }
    Ok(())
}

/// Each word where it lies in the picture, if they fit so.
fn grid(panel: &Panel<'_>, lines: usize, room: usize, colours: Colours) -> Option<Vec<String>> {
    let [rows, columns] = [panel.shape.height, panel.shape.width].map(usize::from);
    let longest = panel.words.iter().map(|word| word.chars().count()).max()?;
    let cell = (longest + 1).max(room.min(74) / columns);
    if rows > lines || cell * columns > room {
        return None;
    }
    let mut beside = vec![String::new(); lines];
    for (row, words) in panel.words.chunks(columns).enumerate() {
        let at = (2 * row + 1) * lines / (2 * rows);
        let cells = words.iter().enumerate().map(|(column, word)| {
            let space = cell - word.chars().count();
            format!("{:1$}{2}{3:4$}", "", space / 2, shade(panel, row, column, word, colours), "", space - space / 2)
        });
        *beside.get_mut(at)? = cells.collect();
    }
    Some(beside)
}

/// The words one after the other, in lines of `room` characters.
fn flow(panel: &Panel<'_>, lines: usize, room: usize, colours: Colours) -> Vec<String> {
    let columns = usize::from(panel.shape.width).max(1);
    let mut beside = vec![String::new()];
    let mut used = 0;
    for (index, word) in panel.words.iter().enumerate() {
        let length = word.chars().count() + 1;
        if used + length > room && used > 0 {
            beside.push(String::new());
            used = 0;
        }
        used += length;
        if let Some(last) = beside.last_mut() {
            last.push_str(&shade(panel, index / columns, index % columns, word, colours));
            last.push(' ');
        }
    }
    // In the middle of the picture's height; what does not fit beside it is left to the sheet.
    let above = lines.saturating_sub(beside.len()) / 2;
    let mut centred = vec![String::new(); above];
    centred.extend(beside);
    centred.resize(lines, String::new());
    centred
}

/// A word as bright as its part of the picture.
fn shade(panel: &Panel<'_>, row: usize, column: usize, word: &str, colours: Colours) -> String {
    colours.paint(panel.tint(row, column), word)
}
