//! Model files that are cut, flipped, of another version, too long, or something else.

use std::fs;

use crate::support::{argument, model, spae};

fn inspect(name: &str, bytes: &[u8]) -> crate::support::Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    spae(&["inspect", argument(&path)])
}

#[test]
fn truncated_files_are_refused() {
    let file = model();
    for length in [0, 1, 19, 20, 100, file.len() / 2, file.len() - 1] {
        inspect("cut.spae", &file[..length]).failure(&["cut.spae", if length < 20 { "too few" } else { "cut off" }]);
    }
}

#[test]
fn flipped_bits_are_found_and_the_section_is_named() {
    let file = model();
    let weights = file.len() - 64;
    for at in (0..file.len()).step_by(61).chain([weights]) {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        inspect("flipped.spae", &flipped).failure(&["flipped.spae"]);
    }
    let mut flipped = file.clone();
    flipped[weights] ^= 1;
    inspect("flipped.spae", &flipped).failure(&["flipped.spae: checksum of the weights section is", "damaged"]);
}

#[test]
fn another_version_says_what_to_do() {
    let mut file = model();
    file[4] = 99;
    inspect("new.spae", &file).failure(&["new.spae: format version 99", "newer program"]);
}

#[test]
fn longer_files_are_refused() {
    let mut file = model();
    file.push(0);
    inspect("long.spae", &file).failure(&["long.spae", "something behind it"]);
}

#[test]
fn other_files_and_missing_ones_are_refused_by_name() {
    inspect("text.spae", b"not a model file, but long enough to be one").failure(&["text.spae", "no model file"]);
    let folder = tempfile::tempdir().unwrap();
    spae(&["inspect", argument(folder.path())]).failure(&["model.spae", "no such file"]);
    let missing = folder.path().join("gone.spae");
    spae(&["decode", "--model", argument(&missing)]).failure(&["gone.spae"]);
}
