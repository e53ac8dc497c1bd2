//! Rules for one file at a time.

use super::File;

/// A source file has one job.
const MAX_LINES: usize = 500;

/// Marks of unfinished work, and paths on somebody's machine. Split, so that this file keeps its own rule.
const FORBIDDEN: [&str; 9] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("db", "g!("),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
];

/// What is typed by hand.
const WRITTEN: [&str; 8] = [".rs", ".md", ".toml", ".x", ".sh", ".yml", ".json", ".ci/run"];

pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| WRITTEN.iter().any(|end| file.path.ends_with(end))) {
        let path = &file.path;
        for (number, line) in (1..).zip(file.text.split('\n')) {
            if line.contains('\t') {
                faults.push(format!("{path}:{number}: a tab"));
            }
            if line.ends_with([' ', '\r']) {
                faults.push(format!("{path}:{number}: white space at the end of the line"));
            }
            if let Some(word) = FORBIDDEN.iter().find(|word| line.contains(**word)) {
                faults.push(format!("{path}:{number}: {word}"));
            }
        }
        if !file.text.ends_with('\n') || file.text.ends_with("\n\n") {
            faults.push(format!("{path}: does not end with one newline"));
        }
        if path.ends_with(".rs") {
            if !file.text.starts_with("//!") {
                faults.push(format!("{path}:1: does not start by saying what it is for (`//!`)"));
            }
            let lines = file.without_tests().lines().count();
            if lines > MAX_LINES {
                faults.push(format!("{path}: {lines} lines without tests; split it at {MAX_LINES}"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        check(&[File { path: path.into(), text: text.into() }]).len()
    }

    #[test]
    fn each_rule_is_applied() {
        assert_eq!(faults("a.rs", "//! Right.\n"), 0);
        assert_eq!(faults("a.rs", "fn a() {}\n"), 1);
        assert_eq!(faults("a.rs", "//! No newline."), 1);
        assert_eq!(faults("a.rs", "//! Space. \n"), 1);
        assert_eq!(faults("a.md", concat!("TO", "DO: a\tb\n")), 2);
        assert_eq!(faults("a.bin", "\t"), 0);
    }

    #[test]
    fn tests_do_not_count_as_length() {
        let long = "// line\n".repeat(MAX_LINES);
        assert_eq!(faults("a.rs", &format!("//! Long.\n{long}")), 1);
        assert_eq!(faults("a.rs", &format!("//! Short.\n#[cfg(test)]\nmod tests {{\n{long}}}\n")), 0);
    }
}
