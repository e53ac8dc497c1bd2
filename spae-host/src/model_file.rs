//! A model file in memory, found from what a user names: the file itself or a model folder.
//!
//! Knows files and spae-core; knows no tensors.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use spae_core::error::FormatError;
use spae_core::format::Sections;
use spae_core::model::Model;

/// The model file's name in a model folder.
pub const FILE_NAME: &str = "model.spae";

/// A model file and where it comes from.
#[derive(Clone, Debug)]
pub struct ModelFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl ModelFile {
    /// Reads the file that `path` is, or the one in the model folder that it is, and checks it completely.
    ///
    /// # Errors
    /// If there is none, or it is damaged; the file is named.
    pub fn open(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        if !file.exists() {
            bail!(
                "{}: there is no such file; `--model` takes a .spae file or a folder with a {FILE_NAME}",
                file.display()
            );
        }
        let bytes = read(&file)?;
        Self::new(file, bytes)
    }

    /// A model file from memory; `path` is what messages call it.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn new(path: PathBuf, bytes: Vec<u8>) -> Result<Self> {
        let file = Self { path, bytes };
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<Model<'_>> {
        Model::read(&self.bytes).map_err(|error| anyhow!("{}: {error}", self.path.display()))
    }

    /// The model.
    ///
    /// # Errors
    /// None any more: the file was checked when it was opened.
    pub fn model(&self) -> Result<Model<'_>> {
        self.check()
    }

    /// What messages call the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The bytes of a file that starts like a model file; others are refused before they are read, however large.
fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    ensure!(path.is_file(), "{name} is no file");
    let mut file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let mut start = Vec::new();
    file.by_ref().take(20).read_to_end(&mut start).with_context(|| format!("cannot read {name}"))?;
    match Sections::read(&start) {
        Err(FormatError::TotalLength { expected, .. }) => {
            let length = fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
            if length != u64::from(expected) {
                let got = usize::try_from(length).unwrap_or(usize::MAX);
                bail!("{name}: {}", FormatError::TotalLength { expected, got });
            }
        }
        Err(error) => bail!("{name}: {error}"),
        Ok(_) => {}
    }
    file.read_to_end(&mut start).with_context(|| format!("cannot read {name}"))?;
    Ok(start)
}
