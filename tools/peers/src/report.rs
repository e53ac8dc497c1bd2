//! The figures for people and for programs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::Arguments;
use crate::case::Row;

const NAME: usize = 58;

pub(crate) fn heading() {
    println!("{:<NAME$} {:>10} {:>10} {:>6}  promised", "", "ours", "peer", "ratio");
}

pub(crate) fn line(row: &Row) {
    let Row { name, ours, peer, ratio, limit, .. } = row;
    let promised = promised(*limit);
    let mark = if limit.is_some_and(|limit| *ratio > limit) { "  MISSED" } else { "" };
    let width = NAME;
    println!("{name:<width$} {:>10} {:>10} {ratio:>6.2}  {promised}{mark}{}", time(*ours), time(*peer), notes(row));
}

fn promised(limit: Option<f64>) -> String {
    limit.map_or_else(|| "–".to_owned(), |limit| format!("≤ {limit}"))
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1e-3 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.2} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

fn notes(row: &Row) -> String {
    let mut notes = String::new();
    if row.name.starts_with("search") {
        notes += &format!("; {} MiB more memory", row.memory.div_ceil(1 << 20));
    }
    if let Some(agreement) = row.agreement {
        notes += &format!("; {:.2} % of the answers agree", 100.0 * agreement);
    }
    notes
}

pub(crate) fn write_json(path: &Path, rows: &[Row]) -> Result<()> {
    let text = serde_json::to_string_pretty(rows)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn write_markdown(path: &Path, rows: &[Row], versions: &Value, arguments: &Arguments) -> Result<()> {
    let mut text = String::from("# Beside the peers\n\n");
    let flags = if arguments.quick { " --quick" } else { "" };
    // Writing to a string does not fail.
    let mut line = |text_of: String| {
        let _ = writeln!(text, "{text_of}");
    };
    line(format!("What `cargo xtask peers{flags}` printed on this machine:\n"));
    line(format!("- {}, {} threads; {} GiB of memory", processor(), rayon::current_num_threads(), memory()));
    line(format!("- ours: release build, rustc {}, runtime dispatch to AVX2 and FMA", rustc()));
    let versions: Vec<String> = versions
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or_default()))
        .collect();
    line(format!("- peers: {}\n", versions.join(", ")));
    line(
        "Both sides work in turns in one run; times are the best of the rounds, a ratio is ours / peer. Rows that"
            .into(),
    );
    line("name a smaller work behind \"to\" compare with that work of our own, times as often as it fits in.\n".into());
    line("| | ours | peer | ratio | promised |\n|---|---:|---:|---:|---:|".into());
    for row in rows {
        let Row { name, ours, peer, ratio, limit, .. } = row;
        let notes = notes(row);
        line(format!("| {name}{notes} | {} | {} | {ratio:.2} | {} |", time(*ours), time(*peer), promised(*limit)));
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split(':').nth(1)?.trim().to_owned())
    };
    let parts = ["model name", "cpu family", "model\t"].map(|name| field(name).unwrap_or_else(|| "?".to_owned()));
    format!("{} (family {}, model {})", parts[0], parts[1], parts[2])
}

fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes: Option<u64> = total.and_then(|total| total.trim().trim_end_matches("kB").trim().parse().ok());
    kibibytes.unwrap_or(0).div_ceil(1 << 20)
}

fn rustc() -> &'static str {
    option_env!("PEERS_RUSTC").unwrap_or("of this checkout")
}
