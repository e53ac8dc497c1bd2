//! Help, usage errors, closed pipes.

use std::io::Read as _;
use std::process::Stdio;

use crate::support::{argument, command, model_folder, spae};

const COMMANDS: [&str; 10] =
    ["demo", "encode", "decode", "eval", "export", "inspect", "send", "train", "codebook", "data"];

#[test]
fn every_command_has_help_with_an_example() {
    let overview = spae(&["--help"]).success();
    for name in COMMANDS {
        assert!(overview.contains(name), "{name}");
        let help = spae(&[name, "--help"]).success();
        assert!(help.contains("Example") && help.contains(&format!("spae {name}")), "{help}");
    }
}

#[test]
fn command_lines_without_meaning_exit_with_2() {
    let folder = model_folder();
    let model = argument(folder.path());
    let lines: [&[&str]; 8] = [
        &[],
        &["paint"],
        &["inspect"],
        &["decode", "--model", model, "--unknown", "guess"],
        &["decode", "--model", model, "--layers", "4"],
        &["decode", "--model", model, "--layers", "0"],
        &["demo", "--digit", "10"],
        &["export", "run"],
    ];
    for line in lines {
        let output = spae(line);
        assert_eq!(output.code, Some(2), "{line:?}: {}{}", output.stdout, output.stderr);
        assert!(!output.stderr.is_empty(), "{line:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = model_folder();
    let mut child =
        command(&["inspect", argument(folder.path())]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}
