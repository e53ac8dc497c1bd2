//! Checks the model file and writes down where it is and how much scratch memory it needs.
//!
//! The file is `models/digits/model.spae`, or what `SPAE_MODEL` names.

use std::error::Error;
use std::path::{Path, PathBuf};

use spae_core::model::Model;

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let path = match std::env::var_os("SPAE_MODEL") {
        Some(path) => PathBuf::from(path),
        None => manifest.join("../../models/digits/model.spae"),
    };
    println!("cargo::rerun-if-env-changed=SPAE_MODEL");
    println!("cargo::rerun-if-changed={}", path.display());
    let path = std::path::absolute(path)?;
    let shown = path.display();
    let file = std::fs::read(&path)
        .map_err(|error| format!("{shown}: {error}; train the model, or name another with SPAE_MODEL"))?;
    let scratch_len = Model::read(&file).map_err(|error| format!("{shown}: {error}"))?.scratch_len();
    let constants = format!(
        "/// Elements (u32) of scratch memory that the model needs.\npub const SCRATCH_LEN: usize = {scratch_len};\n\
         static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!({path:?}));\n"
    );
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("model.rs"), constants)?;
    Ok(())
}
