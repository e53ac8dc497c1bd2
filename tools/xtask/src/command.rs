//! Other programs, run in the checkout.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// `cargo` with `arguments`, separated by spaces, in `folder` of the checkout.
pub(crate) fn cargo(folder: &str, arguments: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root().join(folder)).args(arguments.split_whitespace());
    command
}

/// A nightly toolchain's program with its arguments, separated by spaces, in `folder` of the checkout.
pub(crate) fn nightly(folder: &str, words: &str) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(root().join(folder)).args(["run", "nightly"]).args(words.split_whitespace());
    // Those of the toolchain that runs this program.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

/// Says what is run, runs it, and fails where it fails.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let shown = show(&command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    ensure!(status.success(), "failed with {status}: {shown}");
    Ok(())
}

/// Runs it and returns what it prints.
pub(crate) fn output(mut command: Command) -> Result<Vec<u8>> {
    let shown = show(&command);
    let output = command.output().with_context(|| format!("cannot start {shown}"))?;
    let status = output.status;
    ensure!(status.success(), "failed with {status}: {shown}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn show(command: &Command) -> String {
    let folder = command.get_current_dir().and_then(|folder| folder.strip_prefix(root()).ok());
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args()).map(|word| word.to_string_lossy());
    let prefix = folder.map(|folder| format!("cd {} && ", folder.display())).unwrap_or_default();
    prefix + &words.collect::<Vec<_>>().join(" ")
}
