//! The project's own rules, which no general tool knows: who may import whom, how long a file may be, which documents
//! must agree with the code.

mod documents;
mod files;
mod imports;
mod units;

use anyhow::{Result, bail};

use crate::command::{output, root};

/// A file of the checkout.
#[derive(Debug)]
struct File {
    /// From the root.
    path: String,
    text: String,
}

impl File {
    /// The code without what is only compiled for tests, which stands last in a file.
    fn without_tests(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default()
    }
}

/// Applies all rules and lists what breaks them.
pub(crate) fn run() -> Result<()> {
    let files = files()?;
    let mut faults = files::check(&files);
    faults.extend(imports::check(&files));
    faults.extend(documents::check(&files));
    faults.extend(units::check()?);
    if faults.is_empty() {
        println!("tidy: {} files keep the rules", files.len());
        return Ok(());
    }
    bail!("{} times against the project's rules:\n{}", faults.len(), faults.join("\n"))
}

/// All text files that git knows or would add.
fn files() -> Result<Vec<File>> {
    let mut command = std::process::Command::new("git");
    command.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let names = String::from_utf8(output(command)?)?;
    let mut files = Vec::new();
    for path in names.split_terminator('\0') {
        // A file that git knows may have been deleted; one that is no text has no rules.
        if let Ok(text) = std::fs::read_to_string(root().join(path)) {
            files.push(File { path: path.into(), text });
        }
    }
    Ok(files)
}
