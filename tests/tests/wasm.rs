//! spae-core as a WebAssembly module, in an interpreter: pictures of the fixtures, in integers and in f32, and of the
//! models that ship are the host's, bit for bit.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use spae_core::model::Model;
use spae_tests::suites::decoding::{self, Core, Picture, Runtime, Tolerance};
use wasmi::{Engine, Instance, Linker, Memory, Module, Store, TypedFunc};

/// Cases that the module does not run: none.
const IGNORE: &[&str] = &[];

const TARGET: &str = "wasm32-unknown-unknown";

/// A file and a text go through the module's memory as through anybody's.
struct Wasm {
    store: Store<()>,
    memory: Memory,
    input: TypedFunc<u32, u32>,
    draw: TypedFunc<u32, u32>,
    output: TypedFunc<(), u32>,
    output_length: TypedFunc<(), u32>,
}

impl Wasm {
    /// Builds the module and starts it; `None` if the compiler's target is not installed.
    fn build() -> Result<Option<Self>> {
        let folder = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output()?;
        if !Path::new(String::from_utf8_lossy(&folder.stdout).trim()).is_dir() {
            eprintln!("skipped: WebAssembly needs `rustup target add {TARGET}`");
            return Ok(None);
        }
        let module = std::fs::read(build()?)?;
        let engine = Engine::default();
        let mut store = Store::new(&engine, ());
        // The module imports nothing.
        let instance = Linker::new(&engine).instantiate_and_start(&mut store, &Module::new(&engine, &module)?)?;
        Self::exports(store, instance).map(Some)
    }

    fn exports(store: Store<()>, instance: Instance) -> Result<Self> {
        Ok(Self {
            memory: instance.get_memory(&store, "memory").context("the module exports its memory")?,
            input: instance.get_typed_func(&store, "input")?,
            draw: instance.get_typed_func(&store, "draw")?,
            output: instance.get_typed_func(&store, "output")?,
            output_length: instance.get_typed_func(&store, "output_length")?,
            store,
        })
    }
}

/// The module's path.
fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = root.join("target/wasm");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // It is a workspace of its own; what this test was built with is not for it.
    command.args(["build", "--quiet", "--release", "--locked", "--target", TARGET]).env("CARGO_TARGET_DIR", &target);
    let output = command.current_dir(root.join("tests/wasm")).output()?;
    ensure!(output.status.success(), "the module does not build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(target.join(TARGET).join("release/spae_wasm.wasm"))
}

impl Runtime for Wasm {
    fn picture(&mut self, file: &[u8], text: &str) -> Result<Picture> {
        let input = [file, text.as_bytes()].concat();
        let at = self.input.call(&mut self.store, input.len() as u32)?;
        self.memory.write(&mut self.store, at as usize, &input)?;
        let status = self.draw.call(&mut self.store, file.len() as u32)?;
        let at = self.output.call(&mut self.store, ())?;
        let mut output = vec![0; self.output_length.call(&mut self.store, ())? as usize];
        self.memory.read(&self.store, at as usize, &mut output)?;
        if status != 0 {
            bail!("the module says: {}", String::from_utf8_lossy(&output));
        }
        let (sizes, pixels) = output.split_first_chunk::<6>().context("a picture starts with its shape")?;
        let [height, width, channels] = [0, 2, 4].map(|at| usize::from(u16::from_le_bytes([sizes[at], sizes[at + 1]])));
        Ok(Picture { height, width, channels, pixels: pixels.to_vec() })
    }
}

#[test]
fn pictures_in_webassembly_are_the_hosts_bit_for_bit() -> Result<()> {
    let Some(mut wasm) = Wasm::build()? else { return Ok(()) };
    decoding::check(&mut wasm, Tolerance::Exact, IGNORE)?;
    let error = wasm.picture(b"no model", "").unwrap_err().to_string();
    assert!(error.starts_with("the module says: "), "{error}");

    // Every layer of the digit that the boards draw.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (file, text) = (std::fs::read(root.join("models/digits/model.spae"))?, root.join("firmware/words.txt"));
    let (model, text) = (Model::read(&file)?, std::fs::read_to_string(text)?);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert_eq!(lines.len(), model.pyramid().layers().len(), "a line a layer");
    for layers in 0..=lines.len() {
        let text = lines[..layers].concat();
        let expected = Core.picture(&file, &text)?;
        decoding::compare(&wasm.picture(&file, &text)?, &expected, Tolerance::Exact)
            .with_context(|| format!("{layers} layers of the digit"))?;
    }
    Ok(())
}
