//! FORMAT.md's worked example is read from the document, so that it cannot go stale.

use anyhow::{Context, Result, ensure};
use spae_core::codebook::Rows;
use spae_core::decoder::{Operation, StageSpec, Weights};
use spae_core::format::{Kind, VERSION};
use spae_core::kernel::Activation;
use spae_core::model::{Model, Parts, emit};
use spae_core::pyramid::{Pyramid, Shape};
use spae_tests::suites::decoding::{Core, Runtime};

const DOCUMENT: &str = include_str!("../../spae-core/FORMAT.md");

/// The bytes of the dump, whose lines are "offset  bytes | meaning".
fn example() -> Result<Vec<u8>> {
    let (_, section) = DOCUMENT.split_once("## A worked example").context("there is no worked example")?;
    let dump = section.split("```").nth(1).context("there is no dump")?;
    let mut bytes = Vec::new();
    for line in dump.lines().skip(1) {
        let (fields, _) = line.split_once('|').with_context(|| format!("no meaning: {line}"))?;
        let (offset, hex) = fields.split_once("  ").with_context(|| format!("no offset: {line}"))?;
        ensure!(usize::from_str_radix(offset, 16)? == bytes.len(), "another offset: {line}");
        for byte in hex.split_whitespace() {
            bytes.push(u8::from_str_radix(byte, 16).with_context(|| line.to_owned())?);
        }
    }
    Ok(bytes)
}

#[test]
fn the_example_draws_what_the_document_says() -> Result<()> {
    let file = example()?;
    for (text, pixel) in [("no", 64), ("yes", 255), ("", 159)] {
        assert_eq!(Core.picture(&file, text)?.pixels, [pixel], "{text:?}");
        ensure!(DOCUMENT.contains(&format!(" {pixel}")), "the document does not say {pixel}");
    }
    assert_eq!(Model::read(&file)?.provenance(), "name = yes-no\n");
    Ok(())
}

#[test]
fn the_writer_gives_the_examples_bytes() -> Result<()> {
    let stage = |operation| StageSpec { operation, activation: Activation::Identity, residual: None, channels: 1 };
    let parts = Parts {
        pyramid: Pyramid::new(Shape::new(1, 1), &[Shape::new(1, 1)])?,
        words: &["no", "yes"],
        rows: Rows::Int8 { scales: &[1.0 / 128.0], values: &[-64, 64] },
        stages: &[stage(Operation::Input), stage(Operation::Convolve1x1)],
        weights: Weights::F16(&[0.25, -0.125, 1.5]),
        provenance: "name = yes-no\n",
    };
    let mut file = [0; 1024];
    let length = emit(&parts, &mut file)?;
    assert_eq!(file[..length], example()?);
    Ok(())
}

#[test]
fn the_document_names_the_version_and_every_section() {
    assert!(DOCUMENT.lines().next().is_some_and(|title| title.ends_with(&format!("format version {VERSION}"))));
    for kind in Kind::ALL {
        let tag = String::from_utf8_lossy(&kind.tag()).into_owned();
        assert!(DOCUMENT.contains(&format!("\n## `{tag}`: the ")), "{tag}");
    }
}
