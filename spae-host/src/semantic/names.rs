//! Lists of names, such as what a network's classes are called, from the forms that they come in.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

/// The names in a file: a JSON array of strings; a `.tsv` with a column `name` (and, if it has one, a column `index` that
/// counts from 0); or one name a line.
///
/// # Errors
/// If the file cannot be read, is none of these, or holds no name.
pub fn read_names(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the names {}", path.display()))?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let names = match extension {
        "json" => {
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON array of names", path.display()))?
        }
        "tsv" => from_table(&text).with_context(|| format!("in {}", path.display()))?,
        _ => text.lines().map(|line| line.trim().to_owned()).collect::<Vec<String>>(),
    };
    ensure!(!names.is_empty(), "{} holds no names", path.display());
    if let Some(at) = names.iter().position(String::is_empty) {
        bail!("{}: name {} is empty", path.display(), at + 1);
    }
    Ok(names)
}

fn from_table(text: &str) -> Result<Vec<String>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |wanted: &str| header.iter().position(|name| *name == wanted);
    let name = column("name").context("its first line names no column `name`")?;
    let index = column("index");
    let mut names = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        if let Some(place) = index {
            let here = fields.get(place).copied().unwrap_or_default();
            ensure!(
                here == names.len().to_string(),
                "line {} has the index `{here}`, not {}",
                names.len() + 2,
                names.len()
            );
        }
        let field = fields.get(name).with_context(|| format!("line {} has no name", names.len() + 2))?;
        names.push(field.trim().to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms_are_read_and_faults_have_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            read_names(&path).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read("a.json", r#"["kit fox", "tench"]"#).unwrap(), ["kit fox", "tench"]);
        assert_eq!(read("a.tsv", "index\tname\n0\tkit fox\n1\ttench\n").unwrap(), ["kit fox", "tench"]);
        assert_eq!(read("a.txt", "kit fox\ntench\n").unwrap(), ["kit fox", "tench"]);
        assert!(read("b.tsv", "index\tname\n1\tkit fox\n").unwrap_err().contains("line 2"));
        assert!(read("b.tsv", "id\tnames\n").unwrap_err().contains("`name`"));
        assert!(read("b.json", "{}").unwrap_err().contains("b.json"));
        assert!(read("b.txt", "").unwrap_err().contains("no names"));
        assert!(read("b.txt", "a\n\nb\n").unwrap_err().contains("name 2"));
    }
}
