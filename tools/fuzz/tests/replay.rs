//! Replays every committed input through its target's body, with the compiler that everyone has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fuzz::{Outcome, TARGETS};

/// An interpreter replays one input in so many, since it takes seconds for one.
const EVERY: usize = if cfg!(miri) { 5 } else { 1 };

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Inputs of a target in the order of their names.
fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(corpora().join(target)).unwrap_or_else(|error| panic!("corpus/{target}: {error}"));
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_committed_input_keeps_the_promises() {
    for (target, body) in TARGETS {
        let mut outcomes = BTreeMap::new();
        for path in inputs(target).into_iter().step_by(EVERY) {
            println!("{}", path.strip_prefix(corpora()).unwrap().display());
            *outcomes.entry(body(&std::fs::read(&path).unwrap())).or_insert(0) += 1;
        }
        println!("{target}: {outcomes:?}");
        for outcome in [Outcome::Refused, Outcome::Drawn] {
            assert!(outcomes.get(&outcome) >= Some(&(3 / EVERY)), "{target}: too few are {outcome:?}: {outcomes:?}");
        }
    }
}

#[test]
fn every_corpus_belongs_to_a_target() {
    let mut folders: Vec<String> =
        std::fs::read_dir(corpora()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    folders.sort();
    assert_eq!(folders, TARGETS.map(|(name, _)| name));
}
