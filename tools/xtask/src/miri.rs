//! Miri: spae-core's own tests, and one in five committed inputs of the fuzz targets, interpreted. It finds undefined
//! behaviour, and runs as if on other processors: with 32-bit addresses, like the chips', and with the most significant
//! byte first.

use anyhow::Result;

use crate::command::{nightly, run as run_command};

/// Where the inputs are replayed: 32 bits; 64 bits, most significant byte first.
const PROCESSORS: [&str; 2] = ["i686-unknown-linux-gnu", "s390x-unknown-linux-gnu"];

/// Tests that interpret for hours; both are exhaustive, and run by `cargo test`.
const TOO_SLOW: &str = "--skip every_single_flipped_bit";

/// Interprets them.
pub(crate) fn run() -> Result<()> {
    let miri = |arguments: &str| {
        let mut command = nightly("", &format!("cargo miri test --target-dir target/miri {arguments}"));
        // Inputs lie in files.
        command.env("MIRIFLAGS", "-Zmiri-disable-isolation");
        run_command(command)
    };
    miri(&format!("-p spae-core -- {TOO_SLOW}"))?;
    for processor in PROCESSORS {
        miri(&format!("-p fuzz --test replay --target {processor}"))?;
    }
    Ok(())
}
