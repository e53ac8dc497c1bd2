//! The firmware in an emulator, as a process: `cargo xtask qemu` types words into each board's UART and holds every
//! layer's picture to spae-core's, bit for bit.

use std::path::Path;
use std::process::Command;

/// Boards that are not run: none.
const IGNORE: &[&str] = &[];

const BOARDS: [&str; 5] = ["lm3s6965evb", "mps2-an386", "mps2-an500", "mps3-an547", "riscv32-virt"];

#[test]
fn boards_in_qemu_draw_the_hosts_pictures() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    assert!(IGNORE.iter().all(|name| BOARDS.contains(name)), "{IGNORE:?} names no board");
    for board in BOARDS {
        if IGNORE.contains(&board) {
            continue;
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // The firmware is a workspace of its own; what this test was built with is not for it.
        command.args(["run", "--quiet", "--package", "xtask", "--", "qemu", "--board", board]).current_dir(&root);
        let output = command.output().expect("cargo runs");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{board}: {said}");
        // Its target or its emulator is not installed.
        said.lines().filter(|line| line.starts_with("skipped: ")).for_each(|line| eprintln!("{line}"));
    }
}
