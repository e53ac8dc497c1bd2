//! The program `spae decode`, as a process: bit for bit what spae-core draws.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use spae_tests::suites::decoding::{self, Picture, Runtime, Tolerance};
use tempfile::TempDir;

/// Cases that the program does not run: none.
const IGNORE: &[&str] = &[];

/// The program, and a folder for what goes in and out.
struct Program {
    path: PathBuf,
    folder: TempDir,
}

impl Program {
    /// Builds the program with the profile of this test.
    fn build() -> Result<Self> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["build", "--quiet", "--package", "spae-host", "--bin", "spae"]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // This test is target/<profile>/deps/cli-…; the program lies beside `deps`.
        let test = std::env::current_exe()?;
        let profile = test.parent().and_then(|deps| deps.parent()).context("the test lies in no target folder")?;
        let path = profile.join(format!("spae{}", std::env::consts::EXE_SUFFIX));
        ensure!(path.is_file(), "{} is not there", path.display());
        Ok(Self { path, folder: tempfile::tempdir()? })
    }

    /// `spae decode` of a text; where the picture lies.
    fn decode(&self, file: &[u8], text: &[u8], arguments: &[&str]) -> Result<(std::process::Output, PathBuf)> {
        let at = |name: &str| self.folder.path().join(name);
        std::fs::write(at("model.spae"), file)?;
        std::fs::write(at("words.txt"), text)?;
        let mut command = Command::new(&self.path);
        command.arg("decode").arg(at("words.txt")).arg("--model").arg(at("model.spae"));
        command.arg("-o").arg(at("picture.png")).args(arguments);
        Ok((command.output()?, at("picture.png")))
    }
}

fn read_png(path: &std::path::Path) -> Result<Picture> {
    let image = image::open(path)?;
    let channels = usize::from(image.color().channel_count());
    let (height, width) = (image.height() as usize, image.width() as usize);
    Ok(Picture { height, width, channels, pixels: image.into_bytes() })
}

impl Runtime for Program {
    fn picture(&mut self, file: &[u8], text: &str) -> Result<Picture> {
        let (output, path) = self.decode(file, text.as_bytes(), &["--unknown", "hole"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        read_png(&path)
    }
}

#[test]
fn pictures_equal_spae_cores_bit_for_bit() -> Result<()> {
    decoding::check(&mut Program::build()?, Tolerance::Exact, IGNORE)
}

#[test]
fn the_first_layers_are_the_picture_of_the_text_up_to_there() -> Result<()> {
    let mut program = Program::build()?;
    let fixture = spae_tests::fixtures::named("digits");
    let ids: Vec<Option<usize>> = fixture.ids(1).into_iter().map(Some).collect();
    for layers in 1..=fixture.pyramid.layers().len() {
        let (output, path) =
            program.decode(&fixture.file(), fixture.text(&ids).as_bytes(), &["--layers", &layers.to_string()])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let prefix = fixture.text(&ids[..fixture.pyramid.tokens_before(layers)]);
        ensure!(read_png(&path)? == program.picture(&fixture.file(), &prefix)?, "{layers} layers");
    }
    Ok(())
}

#[test]
fn what_is_wrong_ends_in_exit_code_1_and_an_error_that_names_it() -> Result<()> {
    let program = Program::build()?;
    let file = spae_tests::fixtures::named("version 1").file();
    let mut flipped = file.clone();
    flipped[200] ^= 1;
    for (file, text, named) in [
        (&file[..], &b"cat\nqqq dog"[..], &["words.txt", "qqq", "--unknown"][..]),
        (&file, b"cat \xFF\xFE dog", &["words.txt"]),
        (&file[..100], b"cat", &["model.spae", "cut off"]),
        (&flipped, b"cat", &["model.spae", "damaged"]),
        (b"", b"cat", &["model.spae"]),
    ] {
        let (output, picture) = program.decode(file, text, &[])?;
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{named:?}: {:?} {message}", output.status);
        for word in named {
            ensure!(message.contains(word), "`{word}` is not in: {message}");
        }
        ensure!(!picture.exists(), "a picture was written");
    }
    Ok(())
}
