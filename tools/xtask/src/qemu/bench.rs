//! `cargo xtask qemu bench`: how many instructions each layer takes on each board, counted by the emulator.
//!
//! With `-icount shift=0` an instruction takes a nanosecond of the board's time, so its clock counts instructions; the
//! firmware says what a tick is. Nothing of it depends on the host's speed, and every run gives the same numbers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use spae_core::decoder::{Operation, Stage};
use spae_core::model::Model;

use super::board::{BOARDS, Board};
use super::emulator::{Emulator, Pace};
use super::{print_table, session, text, work};
use crate::command::{output, root};

/// The emulator's switches that make its time a count of instructions.
const COUNT: [&str; 2] = ["-icount", "shift=0,align=off,sleep=off"];

const MEASURE: &[u8] = &[0x12];

/// What to measure.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Only this board
    #[arg(long)]
    board: Option<String>,
    /// Measure CMSIS-NN too, from this checkout of it, on the same layers
    #[arg(long, value_name = "DIR")]
    cmsis_nn: Option<PathBuf>,
    /// Write all counts as a list of {board, engine, network, layer, macs, instructions}
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
}

/// A count.
#[derive(Debug)]
struct Count {
    layer: String,
    macs: usize,
    instructions: f64,
}

/// Measures and prints the tables.
pub(crate) fn run(options: &Options) -> Result<()> {
    let networks = [("digits", root().join("models/digits/model.spae")), ("S", work::write_reference()?)];
    let chosen = |board: &&Board| options.board.as_ref().is_none_or(|name| name == board.name);
    let mut records = Vec::new();
    let mut summary = vec![
        ["board", "network", "instructions", "a MAC", "flash", "static RAM", "stack", "longest lookup"]
            .map(String::from),
    ];
    for board in BOARDS.iter().filter(chosen) {
        if let Some(missing) = board.missing_target().or_else(|| board.missing_emulator()) {
            println!("skipped: {} needs {missing}", board.name);
            continue;
        }
        for (network, path) in &networks {
            let file = std::fs::read(path).with_context(|| path.display().to_string())?;
            let model = Model::read(&file).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
            let program = match board.build(path) {
                Ok(program) => program,
                // The digits have been built before: it is the size.
                Err(_) if *network == "S" => {
                    println!("skipped: {network} does not fit the flash of {}", board.name);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (counts, lookup, memory) =
                measure(board, &program.path, &model).with_context(|| format!("{} with {network}", board.name))?;
            let mut table = vec![["layer", "MACs", "instructions", "a MAC"].map(String::from)];
            for count in &counts {
                let ratio = (count.macs > 0).then(|| format!("{:.2}", count.instructions / count.macs as f64));
                table.push([
                    count.layer.clone(),
                    count.macs.to_string(),
                    format!("{:.0}", count.instructions),
                    ratio.unwrap_or_else(|| "–".to_owned()),
                ]);
                records.push(json!({
                    "board": board.name, "engine": "spae", "network": network, "layer": count.layer,
                    "macs": count.macs, "instructions": count.instructions.round(),
                }));
            }
            println!("\n{}, {network}", board.name);
            print_table(&table);
            let picture = counts.last().context("no picture was measured")?;
            summary.push([
                board.name.to_owned(),
                (*network).to_owned(),
                format!("{:.0}", picture.instructions),
                format!("{:.2}", picture.instructions / picture.macs as f64),
                program.flash.to_string(),
                memory[0].to_string(),
                memory[1].to_string(),
                format!("{lookup:.0}"),
            ]);
        }
    }
    println!();
    print_table(&summary);
    if let Some(checkout) = &options.cmsis_nn {
        let peer = cmsis_nn(checkout)?;
        println!();
        print_table(&compare(&records, &peer));
        records.extend(peer);
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&records)? + "\n")
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Types a text into `board` and reads what its picture took: the counts, the whole picture last; the longest look-up;
/// bytes of statics and stack.
fn measure(board: &Board, program: &Path, model: &Model<'_>) -> Result<(Vec<Count>, f64, [usize; 2])> {
    let mut emulator = Emulator::start(board, program, &COUNT)?;
    emulator.lines_until("ready")?;
    emulator.type_in(MEASURE, Pace::Line)?;
    emulator.type_in(&text::canonical(&text::draw(model, 1)), Pace::Line)?;
    emulator.type_in(session::END_OF_TEXT, Pace::Line)?;
    let lines = emulator.lines_until("ready")?;
    emulator.type_in(session::STOP, Pace::Line)?;
    emulator.wait()?;
    let number = |start: &str| -> Result<f64> {
        let line = lines.iter().find_map(|line| line.strip_prefix(start)).with_context(|| format!("no \"{start}\""))?;
        Ok(line.trim().split(' ').next_back().unwrap_or_default().parse()?)
    };
    let spin = lines.iter().find_map(|line| line.strip_prefix("work spin ")).context("no \"work spin\"")?;
    let (instructions, ticks) = spin.split_once(' ').context("\"work spin\" without ticks")?;
    let tick = instructions.parse::<f64>()? / ticks.parse::<f64>()?;
    let mut counts = Vec::new();
    for (index, stage) in model.decoder().stages().iter().enumerate() {
        let ticks = number(&format!("work stage {index} "))?;
        counts.push(Count { layer: name(stage), macs: stage.multiply_accumulates(), instructions: ticks * tick });
    }
    let macs = model.decoder().multiply_accumulates();
    counts.push(Count { layer: "picture".to_owned(), macs, instructions: number("work picture ")? * tick });
    let memory = lines.iter().find(|line| line.starts_with("memory")).context("no \"memory\"")?;
    let memory = [session::field(memory, "static")?, session::field(memory, "stack")?];
    Ok((counts, number("work lookup ")? * tick, memory))
}

/// As the peer calls it too.
fn name(stage: &Stage) -> String {
    let (side, channels) = (stage.shape.width, stage.spec.channels);
    match stage.spec.operation {
        Operation::Input => format!("input {channels} @{side}²"),
        Operation::UpsampleConvolve3x3 => format!("up {}→{channels} @{side}²", stage.inputs),
        Operation::Convolve1x1 => format!("1×1 {}→{channels} @{side}²", stage.inputs),
        Operation::Convolve3x3 => format!("conv {}→{channels} @{side}²", stage.inputs),
    }
}

/// Runs the peer's benchmark.
fn cmsis_nn(checkout: &Path) -> Result<Vec<Value>> {
    let counts = tempfile::NamedTempFile::new().context("no file for the peer's counts")?;
    let mut command = Command::new(root().join("firmware/peers/cmsis-nn/run"));
    command.arg(checkout).arg("--json").arg(counts.path());
    print!("{}", String::from_utf8_lossy(&output(command)?));
    let list: Value = serde_json::from_slice(&std::fs::read(counts.path())?).context("the peer's counts")?;
    Ok(list.as_array().cloned().unwrap_or_default())
}

/// Whole pictures side by side. The peer's Cortex-M3 is on a board with more memory, for it keeps whole maps.
fn compare(ours: &[Value], peer: &[Value]) -> Vec<[String; 7]> {
    let pictures = |records: &[Value]| -> Vec<(String, String, f64, f64)> {
        let is_picture = |record: &&Value| record["layer"] == "picture";
        let text = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let number = |record: &Value, key: &str| record[key].as_f64().unwrap_or(f64::NAN);
        let row = |record: &Value| {
            let board = text(record, "board").replace("mps2-an385", "lm3s6965evb");
            (board, text(record, "network"), number(record, "macs"), number(record, "instructions"))
        };
        records.iter().filter(is_picture).map(row).collect()
    };
    let peer = pictures(peer);
    let mut table =
        vec![["board", "network", "ours", "CMSIS-NN", "ratio", "a MAC: ours", "CMSIS-NN"].map(String::from)];
    for (board, network, macs, instructions) in pictures(ours) {
        if let Some((_, _, their_macs, theirs)) = peer.iter().find(|peer| (&peer.0, &peer.1) == (&board, &network)) {
            table.push([
                board,
                network,
                format!("{instructions:.0}"),
                format!("{theirs:.0}"),
                format!("{:.2}", instructions / theirs),
                format!("{:.2}", instructions / macs),
                format!("{:.2}", theirs / their_macs),
            ]);
        }
    }
    table
}
