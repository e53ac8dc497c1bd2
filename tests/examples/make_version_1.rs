//! Writes `fixtures/v1.spae`, its text and its picture. Only while the format's version is 1.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, ensure};
use spae_core::format::VERSION;
use spae_tests::fixtures;
use spae_tests::suites::decoding::{Core, Runtime};

fn main() -> Result<()> {
    ensure!(VERSION == 1, "files of version 1 are written no more");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let fixture = fixtures::named("version 1");
    let text = fixture.text(&fixture.ids(1).into_iter().map(Some).collect::<Vec<_>>());
    let picture = Core.picture(&fixture.file(), &text)?;
    let mut pgm = format!("P2\n{} {}\n255\n", picture.width, picture.height);
    for row in picture.pixels.chunks_exact(picture.width) {
        writeln!(pgm, "{}", row.iter().map(u8::to_string).collect::<Vec<_>>().join(" "))?;
    }
    std::fs::write(folder.join("v1.spae"), fixture.file())?;
    std::fs::write(folder.join("v1.txt"), text)?;
    std::fs::write(folder.join("v1.pgm"), pgm)?;
    Ok(())
}
