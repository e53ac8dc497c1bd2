//! The firmware in an emulator, as a process: `cargo xtask qemu` types words into each board's UART and holds every
//! layer's picture to spae-core's, bit for bit.

use std::path::Path;
use std::process::{Command, Stdio};

/// Boards that are not run: none.
const IGNORE: &[&str] = &[];

const BOARDS: [(&str, &str); 2] = [("lm3s6965evb", "thumbv7m-none-eabi"), ("mps2-an386", "thumbv7em-none-eabihf")];

fn installed(target: &str) -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

#[test]
fn boards_in_qemu_draw_the_hosts_pictures() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let version = Command::new("qemu-system-arm").arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no qemu-system-arm");
        return;
    }
    assert!(IGNORE.iter().all(|name| BOARDS.iter().any(|(board, _)| board == name)), "{IGNORE:?} names no board");
    for (board, target) in BOARDS {
        if IGNORE.contains(&board) {
            continue;
        }
        if !installed(target) {
            eprintln!("skipped: {board} needs `rustup target add {target}`");
            continue;
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // The firmware is a workspace of its own; what this test was built with is not for it.
        command.args(["run", "--quiet", "--package", "xtask", "--", "qemu", "--board", board]).current_dir(&root);
        let output = command.output().expect("cargo runs");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{board}: {said}");
    }
}
