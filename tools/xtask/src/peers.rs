//! Ours beside the peers: installs what `tools/peers/requirements.txt` lists into `target/peers`, then runs `peers`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::command::{cargo, root, run as run_command};

/// What to run, and where the figures go.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Fewer shapes, fewer pictures and fewer rounds: five minutes
    #[arg(long)]
    quick: bool,
    /// Only the cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write a list of {name, ours, peer, ratio}, times in seconds
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// A Python that has PyTorch, FAISS and ONNX Runtime; without, they are installed into target/peers
    #[arg(long, value_name = "PYTHON")]
    python: Option<PathBuf>,
}

/// Where the table of a whole run goes.
const RESULTS: &str = "tools/peers/RESULTS.md";

/// Installs the peers if need be, and compares.
pub(crate) fn run(options: &Options) -> Result<()> {
    let python = match &options.python {
        Some(python) => std::path::absolute(python)?,
        None => install(&root().join("target/peers"))?,
    };
    let mut arguments: Vec<OsString> = vec!["--python".into(), python.into()];
    if options.quick {
        arguments.push("--quick".into());
    }
    if let Some(part) = &options.only {
        arguments.extend(["--only".into(), part.into()]);
    }
    if let Some(path) = &options.json {
        arguments.extend(["--json".into(), std::path::absolute(path)?.into()]);
    }
    if !options.quick && options.only.is_none() {
        arguments.extend(["--markdown".into(), root().join(RESULTS).into()]);
    }
    let mut command = cargo("", "run --release --quiet --package peers --");
    command.args(arguments);
    run_command(command)
}

/// A virtual environment in `folder`, made anew when the requirements have changed; its Python.
fn install(folder: &Path) -> Result<PathBuf> {
    let requirements = root().join("tools/peers/requirements.txt");
    let wanted = std::fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let (python, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    if std::fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let version = Command::new("python3").arg("--version").output();
    ensure!(
        version.is_ok_and(|output| output.status.success()),
        "python3 is missing; on Debian: apt-get install python3-venv"
    );
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(folder);
    run_command(make)?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements);
    run_command(install)?;
    std::fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(python)
}
