//! A path as seen from another folder.

use std::path::{Component, Path, PathBuf, absolute};

use anyhow::{Context as _, Result};

/// The path that leads from the folder `from` to `to`; absolute where there is none, as between two drives.
pub(super) fn path(from: &Path, to: &Path) -> Result<PathBuf> {
    let (from, to) = (plain(from)?, plain(to)?);
    let common = from.components().zip(to.components()).take_while(|(from, to)| from == to).count();
    if common == 0 {
        return Ok(to);
    }
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    Ok(up.chain(to.components().skip(common)).collect())
}

/// Absolute, and without `..` where a folder stands before it.
fn plain(path: &Path) -> Result<PathBuf> {
    let absolute = if path.as_os_str().is_empty() { absolute(".") } else { absolute(path) };
    let mut plain = PathBuf::new();
    for component in absolute.with_context(|| format!("cannot find {}", path.display()))?.components() {
        if component == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_up_as_far_as_they_must() {
        for (from, to, expected) in [
            ("/a/b", "/a/c/d", "../c/d"),
            ("/a/b", "/a/b/c", "c"),
            ("/a/b/../x", "/a/./y", "../y"),
            ("runs", "models/m", "../models/m"),
            ("", "models/m", "models/m"),
        ] {
            assert_eq!(path(Path::new(from), Path::new(to)).unwrap(), Path::new(expected), "{from} {to}");
        }
    }
}
