//! The boards: how their firmware is built, and what it takes of flash and RAM.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use object::{Object, ObjectSection, SectionFlags, SectionKind, elf};

use crate::command::{cargo, root, run};

/// A board that an emulator knows.
#[derive(Debug)]
pub(crate) struct Board {
    /// Of the package and of the emulated machine.
    pub(crate) name: &'static str,
    /// The compiler's.
    pub(crate) target: &'static str,
    /// Bytes of flash.
    pub(crate) flash: usize,
    /// It has a screen that can be photographed.
    pub(crate) screen: bool,
}

/// All boards.
pub(crate) const BOARDS: [Board; 2] = [
    Board { name: "lm3s6965evb", target: "thumbv7m-none-eabi", flash: 256 * 1024, screen: true },
    Board { name: "mps2-an386", target: "thumbv7em-none-eabihf", flash: 256 * 1024, screen: false },
];

/// A program for a board.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// Bytes of flash: code, constants, the model, and what statics start as.
    pub(crate) flash: usize,
    /// Bytes of RAM for statics.
    pub(crate) statics: usize,
}

impl Board {
    /// Builds the firmware with `model` inside.
    pub(crate) fn build(&self, model: &Path) -> Result<Program> {
        let mut command = cargo("firmware", &format!("build --release -p {} --target {}", self.name, self.target));
        command.env("SPAE_MODEL", model).env("CARGO_TARGET_DIR", root().join("firmware/target"));
        run(command)?;
        let path = root().join("firmware/target").join(self.target).join("release").join(self.name);
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let file = object::File::parse(&*bytes).with_context(|| path.display().to_string())?;
        let (mut flash, mut statics) = (0, 0);
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            if sh_flags.0 & elf::SHF_ALLOC.0 == 0 {
                continue;
            }
            let size = section.size() as usize;
            if section.kind() != SectionKind::UninitializedData {
                flash += size;
            }
            if sh_flags.0 & elf::SHF_WRITE.0 != 0 {
                statics += size;
            }
        }
        Ok(Program { path, flash, statics })
    }
}
