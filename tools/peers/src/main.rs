//! Ours beside the peers at the same work, in one run, in turns: PyTorch, FAISS and ONNX Runtime, and ratios.
//!
//! Started by `cargo xtask peers`, which installs the peers. Both sides get the same sizes and, where the result is
//! compared, the same weights and vectors; each side is timed in its own process while the other one waits.

mod case;
mod convolutions;
mod decoding;
mod encoding;
mod growth;
mod materials;
mod peer;
mod report;
mod searches;
mod steps;
mod timing;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use case::Case;
use materials::Materials;
use peer::Peer;

/// Time ours beside PyTorch, FAISS and ONNX Runtime; a ratio below 1 means that ours is faster.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask peers", bin_name = "cargo xtask peers", max_term_width = 100)]
struct Arguments {
    /// A Python that has what requirements.txt lists.
    #[arg(long, value_name = "PYTHON")]
    python: PathBuf,
    /// Fewer shapes, fewer pictures and fewer rounds: five minutes.
    #[arg(long)]
    quick: bool,
    /// Only the cases whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write a list of {name, ours, peer, ratio}, times in seconds.
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Write the table with versions and the machine's description.
    #[arg(long, value_name = "OUT.md")]
    markdown: Option<PathBuf>,
}

fn main() -> Result<()> {
    // Candle's own threads spin while they wait and take the cores from the operations that do the work.
    // SAFETY: the process has a single thread yet, so nobody reads the environment at the same time.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    let arguments = Arguments::parse();
    spae_host::ops::keep_freed_memory();
    let materials = Materials::new(arguments.quick)?;
    let mut peer = Peer::start(&arguments.python, rayon::current_num_threads())?;
    let versions = peer.versions()?;
    let wanted = |case: &Case<'_>| arguments.only.as_ref().is_none_or(|part| case.name.contains(part));
    let mut rows = Vec::new();
    report::heading();
    for case in cases(&materials).into_iter().filter(wanted) {
        let name = case.name.clone();
        let row = case.measure(&mut peer, arguments.quick).with_context(|| name)?;
        report::line(&row);
        rows.push(row);
    }
    ensure!(!rows.is_empty(), "no case is called so");
    if let Some(path) = &arguments.json {
        report::write_json(path, &rows)?;
    }
    if let Some(path) = &arguments.markdown {
        report::write_markdown(path, &rows, &versions, &arguments)?;
    }
    Ok(())
}

fn cases(materials: &Materials) -> Vec<Case<'_>> {
    [
        convolutions::cases(materials),
        steps::cases(materials),
        encoding::cases(materials),
        searches::cases(materials),
        decoding::cases(materials),
        growth::cases(materials),
    ]
    .into_iter()
    .flatten()
    .collect()
}
