//! One board's run: four texts, each report compared with what the host expects.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use spae_core::model::Model;

use super::board::{Board, Program};
use super::emulator::{Emulator, Pace};
use super::expected::{Expected, checksum};
use super::picture::Photograph;
use super::text::{self, Layers};
use crate::command::root;

pub(super) const STOP: &[u8] = &[0x03];
pub(super) const END_OF_TEXT: &[u8] = &[0x04];
const ENQUIRY: &[u8] = &[0x05];

/// What a board was found to do.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Bytes of RAM.
    pub(crate) statics: usize,
    pub(crate) scratch: usize,
    pub(crate) stack: usize,
    /// What differs from the host.
    pub(crate) faults: Vec<String>,
}

/// Runs `program` through all texts.
pub(crate) fn run(board: &Board, program: &Program, model: &Model<'_>, words: &Layers) -> Result<Report> {
    let folder = root().join("target/qemu");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let emulator = Emulator::start(board, &program.path, &[])?;
    let mut run = Run { board, model, emulator, folder, report: Report::default() };
    let outcome = run.all(program, words);
    let transcript = run.folder.join(format!("{}.txt", board.name));
    std::fs::write(&transcript, run.emulator.transcript()).with_context(|| transcript.display().to_string())?;
    outcome?;
    Ok(run.report)
}

struct Run<'r, 'm> {
    board: &'r Board,
    model: &'r Model<'m>,
    emulator: Emulator,
    folder: PathBuf,
    report: Report,
}

impl Run<'_, '_> {
    fn all(&mut self, program: &Program, words: &Layers) -> Result<()> {
        let clean = text::canonical(words);
        let (dirty, damaged) = text::dirty(words);
        self.emulator.lines_until("ready")?;

        let (expected_clean, expected) = (Expected::new(self.model, &clean)?, Expected::new(self.model, &dirty)?);
        let intact = words.len() - 1;
        let pictures = |expected: &Expected, layer: usize| checksum(&expected.layers[layer].picture);
        ensure!(
            (0..intact).all(|layer| pictures(&expected_clean, layer) == pictures(&expected, layer))
                && expected.summary.unknown == damaged,
            "these words do not survive commas, capitals and numbering; choose others"
        );

        println!("{}: {} bytes, slow and dirty", self.board.name, dirty.len());
        self.typed(&dirty, &expected, Pace::Slow)?;

        let long = [&clean[..], &clean, &clean].concat();
        println!("{}: {} bytes at the line's speed", self.board.name, long.len());
        self.typed(&long, &Expected::new(self.model, &long)?, Pace::Line)?;

        let flood = clean.repeat(32 * 1024 / clean.len() + 1);
        println!("{}: a flood of {} bytes", self.board.name, flood.len());
        self.flood(&flood)?;

        println!("{}: {} bytes after the flood", self.board.name, clean.len());
        self.typed(&clean, &expected_clean, Pace::Line)?;

        println!("{}: asked to pause {} times", self.board.name, self.emulator.pauses());
        if self.report.statics != program.statics {
            self.fault(format!("it counts {} bytes of statics, its file {}", self.report.statics, program.statics));
        }
        self.emulator.type_in(STOP, Pace::Slow)?;
        let status = self.emulator.wait()?;
        if !status.success() {
            self.fault(format!("its program ended with {status}"));
        }
        Ok(())
    }

    /// Types a text and compares all that is reported about it.
    fn typed(&mut self, text: &[u8], expected: &Expected, pace: Pace) -> Result<()> {
        self.emulator.type_in(ENQUIRY, pace)?;
        let mut remarks = Vec::new();
        let mut start = 0;
        for (index, layer) in expected.layers.iter().enumerate() {
            // At full speed words keep coming while a picture is drawn.
            if matches!(pace, Pace::Slow) {
                self.emulator.type_in(&text[start..layer.typed], pace)?;
                start = layer.typed;
            } else if start == 0 {
                self.emulator.type_in(text, pace)?;
                start = text.len();
            }
            let lines = self.emulator.lines_until("checksum")?;
            let rows: Vec<_> = lines.iter().filter(|line| line.starts_with("row ")).cloned().collect();
            let rest = |line: &&String| !line.starts_with("row ") && !line.starts_with("checksum ");
            remarks.extend(lines.iter().filter(rest).cloned());
            let hex = |row: &Vec<u8>| row.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let wanted = layer.picture.rows.iter().enumerate().map(|(y, row)| format!("row {y} {}", hex(row)));
            if !wanted.eq(rows) {
                self.fault(format!("layer {} differs from the host's picture", index + 1));
            }
            if lines.last() != Some(&format!("checksum {:08x}", checksum(&layer.picture))) {
                self.fault(format!("the checksum of layer {} is wrong", index + 1));
            }
            if self.board.screen && matches!(pace, Pace::Slow) {
                self.photograph(index, expected)?;
            }
        }
        self.emulator.type_in(&text[start..], pace)?;
        let lines = self.end()?;
        remarks.extend(lines.iter().take_while(|line| !line.starts_with("summary")).cloned());
        let count = expected.layers.len();
        remarks.retain(|line| !(1..=count).any(|layer| *line == format!("layer {layer} of {count}")));
        if remarks != expected.remarks {
            self.fault(format!("it remarks {remarks:?} instead of {:?}", expected.remarks));
        }
        let summary = expected.summary;
        let wanted = format!(
            "summary bytes {} tokens {} unknown {} surplus {} layers {} lost 0",
            text.len(),
            summary.tokens,
            summary.unknown,
            summary.surplus,
            summary.layers_complete
        );
        if !lines.contains(&wanted) {
            self.fault(format!("no line \"{wanted}\" in {lines:?}"));
        }
        Ok(())
    }

    /// Types faster than the board can read and asks that every byte is either taken in or told to be lost.
    fn flood(&mut self, text: &[u8]) -> Result<()> {
        self.emulator.type_in(text, Pace::Flood)?;
        let lines = self.end()?;
        let summary = lines.iter().find(|line| line.starts_with("summary")).context("no summary")?;
        let (taken, lost): (usize, usize) = (field(summary, "bytes")?, field(summary, "lost")?);
        println!("{}: {lost} bytes lost, and told", self.board.name);
        if taken + lost != text.len() {
            self.fault(format!("of {} bytes it took {taken} and lost {lost}", text.len()));
        }
        Ok(())
    }

    /// Ends a text; the board's lines up to `ready`.
    fn end(&mut self) -> Result<Vec<String>> {
        self.emulator.type_in(END_OF_TEXT, Pace::Line)?;
        let lines = self.emulator.lines_until("ready")?;
        if let Some(memory) = lines.iter().find(|line| line.starts_with("memory")) {
            self.report.statics = field(memory, "static")?;
            self.report.scratch = field(memory, "scratch")?;
            self.report.stack = field(memory, "stack")?;
        }
        Ok(lines)
    }

    fn photograph(&mut self, index: usize, expected: &Expected) -> Result<()> {
        let path = self.folder.join(format!("{}-layer-{}.ppm", self.board.name, index + 1));
        self.emulator.photograph(&path)?;
        let photograph = Photograph::read(&path)?;
        std::fs::remove_file(&path)?;
        photograph.save(&path.with_extension("png"))?;
        if let Some(difference) = photograph.difference(&expected.layers[index].picture) {
            self.fault(format!("layer {}: {difference}", index + 1));
        }
        Ok(())
    }

    fn fault(&mut self, fault: String) {
        println!("{}: {fault}", self.board.name);
        self.report.faults.push(fault);
    }
}

/// The number behind `name` in a line of names and numbers.
pub(super) fn field<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(line: &str, name: &str) -> Result<T> {
    let mut words = line.split(' ').skip_while(|word| *word != name).skip(1);
    let value = words.next().with_context(|| format!("no {name} in \"{line}\""))?;
    value.parse().with_context(|| format!("{name} in \"{line}\""))
}
