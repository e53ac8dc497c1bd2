//! The checks that cargo's own tools make.

use anyhow::Result;

use crate::command::{cargo, root, run};
use crate::fuzz;
use crate::qemu::{BOARDS, missing_target};

/// A program for hardware, in a workspace of its own, which states its target.
#[derive(Debug)]
pub(crate) struct Example {
    /// From the root.
    pub(crate) folder: &'static str,
    /// The compiler's.
    target: &'static str,
}

/// All of them.
pub(crate) const EXAMPLES: [Example; 1] =
    [Example { folder: "firmware/examples/rp2350", target: "thumbv8m.main-none-eabihf" }];

/// spae-core as a WebAssembly module, in a workspace of its own.
pub(crate) const WASM: &str = "tests/wasm";

/// The compiler's.
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Formatting, in all workspaces.
pub(crate) fn fmt() -> Result<()> {
    run(cargo("", "fmt --all --check"))?;
    run(cargo("firmware", "fmt --all --check"))?;
    run(cargo(fuzz::TARGETS, "fmt --all --check"))?;
    run(cargo(WASM, "fmt --check"))?;
    EXAMPLES.iter().try_for_each(|example| run(cargo(example.folder, "fmt --check")))
}

/// Builds the examples for boards that no emulator knows, linked as they would be flashed, and lints them.
pub(crate) fn examples() -> Result<()> {
    for example in EXAMPLES {
        if let Some(missing) = missing_target(example.target) {
            println!("skipped: {} needs {missing}", example.folder);
            continue;
        }
        // Its lock file is what is promised to build.
        run(cargo(example.folder, "build --release --locked"))?;
        run(cargo(example.folder, "clippy --release --locked -- --deny warnings"))?;
    }
    Ok(())
}

/// Lints, for the host and for every board.
pub(crate) fn clippy() -> Result<()> {
    run(cargo("", "clippy --workspace --all-targets -- --deny warnings"))?;
    run(cargo("firmware", "clippy --all-targets -- --deny warnings"))?;
    // Without the fuzzer itself, which needs a C++ compiler.
    let mut fuzz = cargo(fuzz::TARGETS, "clippy --no-default-features");
    fuzz.arg("--target-dir").arg(root().join("target/fuzz/check")).args(["--", "--deny", "warnings"]);
    run(fuzz)?;
    match missing_target(WASM_TARGET) {
        Some(missing) => println!("skipped: {WASM} needs {missing}"),
        None => {
            let mut module = cargo(WASM, &format!("clippy --locked --target {WASM_TARGET}"));
            module.arg("--target-dir").arg(root().join("target/wasm")).args(["--", "--deny", "warnings"]);
            run(module)?;
        }
    }
    for board in BOARDS {
        if let Some(missing) = board.missing_target() {
            println!("skipped: {} needs {missing}", board.name);
            continue;
        }
        run(cargo("firmware", &format!("clippy -p {} --target {} -- --deny warnings", board.name, board.target)))?;
    }
    Ok(())
}

/// Documentation, in both workspaces.
pub(crate) fn doc() -> Result<()> {
    for (folder, arguments) in [("", "doc --workspace --no-deps"), ("firmware", "doc --no-deps")] {
        let mut command = cargo(folder, arguments);
        command.env("RUSTDOCFLAGS", "--deny warnings");
        run(command)?;
    }
    Ok(())
}

/// Tests: those of the README's command, and the firmware's that need no board.
pub(crate) fn test() -> Result<()> {
    run(cargo("", "test --workspace --release"))?;
    run(cargo("firmware", "test"))
}
