//! `spae send`: types a text to a board.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use spae_core::model::Model;
use spae_core::stream::UnknownPolicy;
use spae_host::board::{self, Answer, Pixels};
use spae_host::drawing::{self, Drawing};
use spae_host::model_file::ModelFile;
use spae_host::picture::Picture;
use spae_host::serial::Port;
use spae_host::text;

use super::decode::read;
use super::{open_model, output};

/// Type a text to a board and show what it answers.
///
/// With --model the board's pictures are asked for and compared with this machine's, bit for bit.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  spae send seven.txt --port /dev/ttyACM0\n  spae send seven.txt --port \
                        tcp:127.0.0.1:4444 --model models/digits -o board.png")]
pub(super) struct Arguments {
    /// A file with words; `-` or nothing reads standard input.
    text: Option<PathBuf>,
    /// A serial device, or tcp:host:port for an emulator.
    #[arg(long, value_name = "P")]
    port: String,
    /// Bits a second; an emulator is typed to at the same speed.
    #[arg(long, value_name = "N", default_value_t = 115_200, value_parser = clap::value_parser!(u32).range(300..))]
    baud: u32,
    /// The model that the board has: a .spae file, a model folder or a run folder.
    #[arg(long, value_name = "M")]
    model: Option<PathBuf>,
    /// Write the board's last picture, as PNG.
    #[arg(short, long, value_name = "OUT.png", requires = "model")]
    output: Option<PathBuf>,
    /// Give up after so many seconds of silence.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Report as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let (name, text) = read(arguments.text.as_deref())?;
    let file = arguments.model.as_deref().map(open_model).transpose()?;
    let model = file.as_ref().map(ModelFile::model).transpose()?;
    let mut session = Session::new(model.as_ref(), &name, &text, arguments.json)?;
    let patience = Duration::from_secs(arguments.timeout);
    let mut port = Port::open(&arguments.port, arguments.baud)?;
    if let Some(board) = board::greet(&mut port, patience)? {
        session.say(format_args!("board {board}"))?;
    }
    board::send(&mut port, &text, model.is_some(), patience, |answer| session.on(answer))?;
    if let (Some(path), Some(picture)) = (&arguments.output, &session.last) {
        picture.write_png(path)?;
    }
    session.end(arguments.output.as_ref())
}

struct Session<'s> {
    model: Option<&'s Model<'s>>,
    /// What this machine makes of the text.
    expected: Option<Drawing>,
    name: &'s str,
    text: &'s [u8],
    json: bool,
    /// Complete layers so far, and the layer whose picture comes next: `None` for a part of one.
    layers: usize,
    next: Option<usize>,
    /// Pictures that were compared.
    compared: usize,
    last: Option<Picture>,
    report: Map<String, Value>,
}

impl<'s> Session<'s> {
    fn new(model: Option<&'s Model<'s>>, name: &'s str, text: &'s [u8], json: bool) -> Result<Self> {
        // The board's own policy: a noisy line damages words rather than adding some.
        let draw = |model: &Model<'_>| drawing::draw(model, text, UnknownPolicy::Hole, model.pyramid().layers().len());
        let expected = model.map(draw).transpose().map_err(|fault| anyhow!("{name}:{fault}"))?;
        let (layers, next, compared, last, report) = (0, None, 0, None, Map::new());
        Ok(Self { model, expected, name, text, json, layers, next, compared, last, report })
    }

    fn on(&mut self, answer: Answer) -> Result<()> {
        match answer {
            Answer::Layer(layer) => {
                (self.layers, self.next) = (layer, Some(layer));
                self.say(format_args!("layer {layer} is on the screen"))
            }
            Answer::Partial => {
                self.next = None;
                self.say("part of a layer is on the screen")
            }
            Answer::Unknown(offset) => self.fault(offset, "is no word of the board's; its place stays empty"),
            Answer::Label(offset) => self.fault(offset, "starts a label; no part of the picture"),
            Answer::Surplus(offset) => self.fault(offset, "and what follows is surplus; not used"),
            Answer::Summary(pairs) => self.figures("summary", pairs),
            Answer::Memory(pairs) => self.figures("memory", pairs),
            Answer::Failed(why) => bail!("the board failed: {why}"),
            Answer::Pixels(pixels) => self.compare(&pixels),
            Answer::Other(line) => self.say(format_args!("board: {line}")),
        }
    }

    fn say(&self, text: impl std::fmt::Display) -> Result<()> {
        if self.json { Ok(()) } else { output::line(text) }
    }

    fn fault(&self, offset: u32, what: &str) -> Result<()> {
        let (place, word) = text::at(self.text, offset);
        output::note(format_args!("{}:{place}: `{word}` {what}", self.name));
        Ok(())
    }

    fn figures(&mut self, name: &str, pairs: Vec<(String, u64)>) -> Result<()> {
        let text: Vec<String> = pairs.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let figures: Map<String, Value> = pairs.into_iter().map(|(name, value)| (name, json!(value))).collect();
        self.report.insert(name.to_owned(), Value::Object(figures));
        self.say(format_args!("{name}: {}", text.join(", ")))
    }

    fn compare(&mut self, pixels: &Pixels) -> Result<()> {
        let (Some(model), Some(expected)) = (self.model, &self.expected) else { return Ok(()) };
        let got = pixels.picture(model.decoder().picture_channels())?;
        let expected = match self.next {
            Some(layer) => expected.layers.get(layer.saturating_sub(1)),
            None => Some(&expected.picture),
        };
        let expected =
            expected.ok_or_else(|| anyhow!("the board has drawn layer {}; the text has no such", self.layers))?;
        if got != *expected {
            let differ = got.pixels().iter().zip(expected.pixels()).filter(|(a, b)| a != b).count();
            bail!(
                "after layer {} the board's picture differs from this machine's in {differ} of {} bytes; does the board \
                 have the same model?",
                self.layers,
                expected.pixels().len()
            );
        }
        self.compared += 1;
        self.last = Some(got);
        Ok(())
    }

    fn end(mut self, output: Option<&PathBuf>) -> Result<()> {
        if self.json {
            self.report.insert("layers".into(), json!(self.layers));
            self.report.insert("pictures_equal".into(), json!(self.compared));
            return output::json(&self.report);
        }
        if self.compared > 0 {
            self.say(format_args!("{} pictures, each the same as this machine's, bit for bit", self.compared))?;
        }
        if let (Some(path), Some(_)) = (output, &self.last) {
            self.say(format_args!("the board's last picture: {}", path.display()))?;
        }
        Ok(())
    }
}
