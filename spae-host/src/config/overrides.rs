//! `key=value` from the command line on top of a configuration's text.

use anyhow::{Context as _, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Puts each `a.b.c=value` into `table`. A value that is no TOML is taken as a string.
pub(super) fn apply<C: DeserializeOwned>(mut table: Table, overrides: &[String]) -> Result<C> {
    for text in overrides {
        let (key, value) = text.split_once('=').ok_or_else(|| anyhow!("`{text}` is not of the form key=value"))?;
        set(&mut table, key.trim(), parse(value.trim())).with_context(|| format!("in `{text}`"))?;
    }
    Value::Table(table).try_into().with_context(|| format!("with {}", overrides.join(", ")))
}

fn parse(text: &str) -> Value {
    let document = format!("value = {text}");
    match document.parse::<Table>().map(|mut table| table.remove("value")) {
        Ok(Some(value)) => value,
        _ => Value::String(text.to_owned()),
    }
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<()> {
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    match table.entry(first).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => set(inner, rest, value),
        other => bail!("`{first}` is a {}, which has no keys", other.type_str()),
    }
}
