//! A model file of format version 1, as it was written then. It must read, and draw this picture, for ever.
//!
//! `fixtures/v1.spae` is the fixture "version 1" as version 1 wrote it, `v1.txt` the canonical text of its ids for seed 1, and
//! `v1.pgm` the picture. They are never written again.

use anyhow::Result;
use spae_tests::suites::decoding::{Core, Runtime};

const FILE: &[u8] = include_bytes!("../fixtures/v1.spae");
const TEXT: &str = include_str!("../fixtures/v1.txt");
const PICTURE: &str = include_str!("../fixtures/v1.pgm");

#[test]
fn a_file_of_version_1_still_draws_its_picture() -> Result<()> {
    let picture = Core.picture(FILE, TEXT)?;
    let numbers: Vec<usize> = PICTURE
        .strip_prefix("P2\n")
        .map(|rest| rest.split_whitespace().map(str::parse).collect::<Result<_, _>>())
        .transpose()?
        .unwrap_or_default();
    let [width, height, 255, pixels @ ..] = &numbers[..] else { panic!("v1.pgm is no picture") };
    assert_eq!((picture.width, picture.height, picture.channels), (*width, *height, 1));
    assert!(picture.pixels.iter().map(|&pixel| usize::from(pixel)).eq(pixels.iter().copied()), "{picture:?}");
    Ok(())
}
