//! Which unit may use which: ARCHITECTURE.md's table, held against what cargo resolves.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::checks::{EXAMPLES, WASM};
use crate::command::{cargo, output};
use crate::fuzz::TARGETS as FUZZ_TARGETS;

/// The project's packages, and those of them that each may use.
const UNITS: [(&str, &[&str]); 20] = [
    ("spae-core", &[]),
    ("spae-host", &["spae-core"]),
    ("spae-tests", &["spae-core", "spae-host"]),
    ("spae-wasm", &["spae-core"]),
    ("fuzz", &["spae-core", "spae-kernels", "spae-tests"]),
    ("fuzz-targets", &["fuzz"]),
    ("judge", &["spae-core", "spae-host"]),
    ("peers", &["spae-core", "spae-host"]),
    ("xtask", &["spae-core"]),
    ("spae-app", &["spae-core"]),
    ("spae-kernels", &["spae-core"]),
    ("spae-model", &["spae-core"]),
    ("spae-runtime", &["spae-app"]),
    ("spae-mps", &["spae-app", "spae-core", "spae-kernels", "spae-model", "spae-runtime"]),
    ("lm3s6965evb", &["spae-app", "spae-core", "spae-kernels", "spae-model", "spae-runtime"]),
    ("mps2-an386", &["spae-mps", "spae-runtime"]),
    ("mps2-an500", &["spae-mps", "spae-runtime"]),
    ("mps3-an547", &["spae-mps", "spae-runtime"]),
    ("riscv32-virt", &["spae-app", "spae-core", "spae-kernels", "spae-model", "spae-runtime"]),
    ("rp2350", &["spae-app", "spae-core", "spae-kernels", "spae-model"]),
];

/// Packages from elsewhere that spae-core may use.
const CORE_MAY_USE: [&str; 6] = ["bytemuck", "defmt", "embedded-graphics", "half", "heapless", "micromath"];

pub(super) fn check() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let folders = ["", "firmware", FUZZ_TARGETS, WASM].into_iter().chain(EXAMPLES.map(|example| example.folder));
    for folder in folders {
        let metadata = output(cargo(folder, "metadata --format-version 1 --no-deps"))?;
        let metadata: Value = serde_json::from_slice(&metadata).context("what cargo metadata prints")?;
        faults.extend(check_workspace(&metadata));
    }
    Ok(faults)
}

fn check_workspace(metadata: &Value) -> Vec<String> {
    let array = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let mut faults = Vec::new();
    for package in array(metadata, "packages") {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = UNITS.iter().find(|(unit, _)| *unit == name) else {
            faults.push(format!("{name}: state in tools/xtask what it may use"));
            continue;
        };
        for dependency in array(&package, "dependencies") {
            let used = dependency["name"].as_str().unwrap_or_default();
            let ours = UNITS.iter().any(|(unit, _)| *unit == used);
            let shipped = dependency["kind"].is_null();
            if ours && !allowed.contains(&used) || name == "spae-core" && shipped && !CORE_MAY_USE.contains(&used) {
                faults.push(format!("{name}: must not use {used}"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forbidden_dependencies_are_reported() {
        let package = |name: &str, uses: &[(&str, Value)]| {
            let uses: Vec<_> = uses.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
            json!({"name": name, "dependencies": uses})
        };
        let core = package("spae-core", &[("half", Value::Null), ("serde", Value::Null), ("proptest", json!("dev"))]);
        let host = package("spae-host", &[("spae-core", Value::Null), ("spae-tests", json!("dev"))]);
        let stranger = package("stranger", &[]);
        let faults = check_workspace(&json!({"packages": [core, host, stranger]}));
        assert_eq!(faults.len(), 3, "{faults:?}");
    }
}
