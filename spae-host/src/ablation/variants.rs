//! The list of variants: what each changes of a configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// One variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// What tables call it.
    pub name: String,
    /// `key=value` on top of the configuration, in order.
    pub overrides: Vec<String>,
}

impl Variant {
    /// The name of its folder: letters and digits of its name, what is between them as hyphens.
    pub fn folder_name(&self) -> String {
        let letters = self.name.to_lowercase();
        let parts: Vec<&str> =
            letters.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
        parts.join("-")
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    variant: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    /// An earlier variant, whose changes come first.
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    set: Vec<String>,
}

/// Reads a list: `[[variant]]` tables with a `name`, `set = ["key=value", …]`, and `from`, the name of an earlier variant
/// whose changes come first.
///
/// # Errors
/// If the file is missing, is no such list, or names do not fit each other.
pub fn read(path: &Path) -> Result<Vec<Variant>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the variants {}", path.display()))?;
    parse(&text).with_context(|| format!("in the variants {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Variant>> {
    let file: File = toml::from_str(text)?;
    ensure!(!file.variant.is_empty(), "there is no [[variant]]");
    let mut variants: Vec<Variant> = Vec::with_capacity(file.variant.len());
    let mut folders = BTreeSet::new();
    for Entry { name, from, set } in file.variant {
        let mut overrides = Vec::new();
        if let Some(from) = from {
            let earlier = variants.iter().find(|variant| variant.name == from);
            let earlier = earlier.with_context(|| format!("variant \"{name}\": no variant \"{from}\" before it"))?;
            overrides.extend_from_slice(&earlier.overrides);
        }
        for change in &set {
            ensure!(change.contains('='), "variant \"{name}\": `{change}` is not of the form key=value");
        }
        overrides.extend(set);
        let variant = Variant { name, overrides };
        let folder = variant.folder_name();
        ensure!(!folder.is_empty(), "variant \"{}\": its name has no letter for a folder", variant.name);
        ensure!(
            folders.insert(folder.clone()),
            "variant \"{}\": an earlier one would lie in the same folder, {folder}",
            variant.name
        );
        variants.push(variant);
    }
    Ok(variants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_an_earlier_variant_come_first() {
        let text = "[[variant]]\nname = 'Baseline VQ'\nset = ['a=1']\n\n[[variant]]\nname = '+ frozen'\n\
                    from = 'Baseline VQ'\nset = ['a=2', 'b=3']\n";
        let variants = parse(text).unwrap();
        assert_eq!(variants[1].overrides, ["a=1", "a=2", "b=3"]);
        assert_eq!(variants.iter().map(Variant::folder_name).collect::<Vec<_>>(), ["baseline-vq", "frozen"]);
    }

    #[test]
    fn names_that_do_not_fit_and_changes_without_a_value_are_named() {
        let fault = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert!(fault("variant = []").contains("[[variant]]"));
        assert!(fault("[[variant]]\nname='a'\nfrom='b'").contains("\"b\""));
        assert!(fault("[[variant]]\nname='a'\nset=['x']").contains("key=value"));
        assert!(fault("[[variant]]\nname='a b'\n[[variant]]\nname='A, b'").contains("a-b"));
        assert!(fault("[[variant]]\nname='++'").contains("no letter"));
        assert!(fault("[[variant]]\nname='a'\nsets=[]").contains("sets"));
    }
}
