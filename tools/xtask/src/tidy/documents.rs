//! Documents that must agree with code.

use super::File;

const FORMAT: &str = "spae-core/FORMAT.md";
const FORMAT_CODE: &str = "spae-core/src/format/mod.rs";

pub(super) fn check(files: &[File]) -> Vec<String> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    match (text(FORMAT), text(FORMAT_CODE).and_then(version)) {
        (Some(document), Some(version)) if !states(document, version) => {
            vec![format!("{FORMAT}: does not state version {version}, which {FORMAT_CODE} writes")]
        }
        (None, _) => vec![format!("{FORMAT}: is missing")],
        (_, None) => vec![format!("{FORMAT_CODE}: has no line \"pub const VERSION: u16 = …;\"")],
        _ => Vec::new(),
    }
}

fn version(code: &str) -> Option<u16> {
    code.lines().find_map(|line| line.strip_prefix("pub const VERSION: u16 = ")?.strip_suffix(';')?.parse().ok())
}

/// Whether the document speaks of "version N" near its start.
fn states(document: &str, version: u16) -> bool {
    let start = document.lines().take(20).collect::<Vec<_>>().join(" ").to_lowercase();
    let words: Vec<_> = start.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| pair[0] == "version" && pair[1] == version.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_and_compared() {
        let code = "/// The newest.\npub const VERSION: u16 = 12;\n";
        assert_eq!(version(code), Some(12));
        assert!(states("# Format\n\nThis is version 12.\n", 12));
        assert!(!states("# Format\n\nThis is version 1.\n", 12));
        assert!(!states("# Format\n\nThis is version 120.\n", 12));
    }
}
