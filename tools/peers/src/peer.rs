//! The Python process that does the peers' side of the work, and the conversation with it: JSON, one line each way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::timing::Timing;

/// The program that answers.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peer.py");

#[derive(Debug)]
pub(crate) struct Peer {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it on `threads` threads.
    pub(crate) fn start(python: &Path, threads: usize) -> Result<Self> {
        let mut process = Command::new(python)
            .arg(PROGRAM)
            .arg(threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", python.display()))?;
        let (Some(requests), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(anyhow!("{} has no pipes", python.display()));
        };
        Ok(Self { process, requests, answers: BufReader::new(answers) })
    }

    /// Makes work ready; what was ready before is dropped.
    pub(crate) fn prepare(&mut self, work: &Value) -> Result<()> {
        self.ask(&json!({ "prepare": work })).map(drop)
    }

    /// Does the work `repetitions` times.
    pub(crate) fn run(&mut self, repetitions: u32) -> Result<Timing> {
        let answer = self.ask(&json!({ "run": repetitions }))?;
        serde_json::from_value(answer).context("what the peer answered")
    }

    /// What the work computes.
    pub(crate) fn answer(&mut self) -> Result<Value> {
        Ok(self.ask(&json!({ "answer": true }))?["answer"].take())
    }

    /// The versions of everything that answers, by name.
    pub(crate) fn versions(&mut self) -> Result<Value> {
        Ok(self.ask(&json!({ "versions": true }))?["versions"].take())
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        let mut line = String::new();
        // The process has said why it ended, if it did.
        let gone = || format!("the peer ended at {request}");
        writeln!(self.requests, "{request}").with_context(gone)?;
        self.answers.read_line(&mut line).with_context(gone)?;
        ensure!(!line.is_empty(), gone());
        serde_json::from_str(&line).with_context(|| format!("the peer answered {line}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
