//! Finds the model that `spae demo` carries: `models/digits` of this repository, or the folder that `SPAE_MODEL` names.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(shipped_model)");
    println!("cargo::rerun-if-env-changed=SPAE_MODEL");
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/digits");
    let folder = env::var_os("SPAE_MODEL").map_or(repository, PathBuf::from);
    let mut files = vec![folder.join("model.spae")];
    files.extend((0..10).map(|digit| folder.join(format!("samples/{digit}.txt"))));
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    if files.iter().all(|file| file.is_file()) {
        println!("cargo::rustc-cfg=shipped_model");
        println!("cargo::rustc-env=SPAE_SHIPPED={}", folder.display());
    }
}
