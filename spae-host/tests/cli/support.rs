//! What the tests share: running the program, a tiny model, a tiny trained run.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use image::{GrayImage, Luma};
use safetensors::tensor::{Dtype, TensorView};
use spae_core::codebook::Rows;
use spae_core::decoder::{Operation, StageSpec, Weights};
use spae_core::kernel::Activation;
use spae_core::model::{Parts, emit};
use spae_core::pyramid::{Pyramid, Shape};
use tempfile::TempDir;

/// What a run of the program gave.
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Asserts success; standard output.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// Asserts failure with one line that has all of `parts`.
    #[track_caller]
    pub(crate) fn failure(self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        let [error] = errors[..] else { panic!("one error line, not {:?}", self.stderr) };
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains("stack backtrace"), "{}", self.stderr);
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spae"));
    command.args(arguments).env_remove("RUST_BACKTRACE").stdin(Stdio::null());
    command
}

pub(crate) fn spae(arguments: &[&str]) -> Output {
    let output = command(arguments).output().unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the program with `input` on standard input.
pub(crate) fn spae_reading(arguments: &[&str], input: &[u8]) -> Output {
    let mut child =
        command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A path as an argument.
pub(crate) fn argument(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) const WORDS: [&str; 6] = ["cat", "four", "one", "three", "two", "zero"];

/// Canonical text for the tiny model: 1 + 4 + 16 words.
pub(crate) const TEXT: &str =
    "one\ntwo three zero cat\none two three four zero cat one two three four zero cat one two three four\n";

/// A model of 1, 2 × 2 and 4 × 4 words that draws 8 × 8 grey pixels.
pub(crate) fn model() -> Vec<u8> {
    let square = |side| Shape::new(side, side);
    let stage = |operation, activation, channels| StageSpec { operation, activation, residual: None, channels };
    let stages = [
        stage(Operation::Input, Activation::Relu, 2),
        stage(Operation::UpsampleConvolve3x3, Activation::Relu, 3),
        stage(Operation::Convolve3x3, Activation::Identity, 1),
    ];
    let weights: Vec<f32> =
        (0..4 * 4 * 2 + 3 + 2 * 3 * 9 + 1 + 3 * 9).map(|i| ((i * 37 % 17) as f32 - 7.0) / 20.0).collect();
    let values: Vec<i8> = (0..12).map(|i| (i * 53 % 200) as u8 as i8).collect();
    let parts = Parts {
        pyramid: Pyramid::new(square(4), &[square(1), square(2), square(4)]).unwrap(),
        words: &WORDS,
        rows: Rows::Int8 { scales: &[0.01, 0.02], values: &values },
        stages: &stages,
        weights: Weights::F16(&weights),
        provenance: "name = tiny\n",
    };
    let mut file = vec![0; 4096];
    let length = emit(&parts, &mut file).unwrap();
    file.truncate(length);
    file
}

/// A folder with `model.spae`, `text.txt` and `samples/7.txt`.
pub(crate) fn model_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("model.spae"), model()).unwrap();
    fs::write(folder.path().join("text.txt"), TEXT).unwrap();
    fs::create_dir(folder.path().join("samples")).unwrap();
    fs::write(folder.path().join("samples/7.txt"), TEXT).unwrap();
    folder
}

/// A language model of 40 words, pictures in two classes, a run of a few steps on them and its model folder.
pub(crate) struct Trained {
    folder: TempDir,
}

impl Trained {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The words of the tiny language model.
fn language_words() -> Vec<String> {
    let letters = ["ab", "cd", "ef", "gh", "ij", "kl", "mn"];
    let pairs = letters.iter().flat_map(|a| letters.iter().map(move |b| format!("{a}{b}")));
    pairs.take(40).collect()
}

fn language_model(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let words = language_words();
    let vocabulary: HashMap<&str, usize> = words.iter().map(String::as_str).chain(["[UNK]"]).zip(0..).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]" },
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let bytes: Vec<u8> =
        (0..41 * 8).flat_map(|i: i32| (((i * i * 31 + i * 7) % 199) as f32 / 99.0 - 1.0).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![41, 8], &bytes).unwrap();
    let file = safetensors::serialize([("embedding.weight", view)], None).unwrap();
    fs::write(folder.join("model.safetensors"), file).unwrap();
}

const CONFIG: &str = r#"
name = "tiny"
pyramid = [[1, 1], [2, 2], [4, 4]]
[image]
channels = 1
height = 16
width = 16
fit = "pad"
[codebook]
file = "codebook.safetensors"
mode = "projected"
width = 4
[encoder]
groups = 2
blocks = [{ kind = "stem", channels = 4 }, { kind = "down", channels = 4 }, { kind = "down", channels = 4 }]
[decoder]
input = 6
blocks = [
    { kind = "conv", channels = 6 },
    { kind = "residual", hidden = 4 },
    { kind = "upsample", channels = 5 },
    { kind = "upsample", channels = 4 },
]
[semantic]
scorer = "captions"
temperature = 0.1
weight = 0.0
pools = []
[loss]
reconstruction = { kind = "mse" }
commitment = { weight = 0.02 }
pull = 0.1
[train]
steps = 4
batch = 4
learning_rate = 2e-3
schedule = "linear"
betas = [0.9, 0.99]
validation = 4
log_every = 2
checkpoint_every = 2
prefixes = { scheme = "both", weight = 0.5 }
"#;

/// Made once for all tests, by the program itself.
pub(crate) fn trained() -> &'static Trained {
    static TRAINED: OnceLock<Trained> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let trained = Trained { folder: tempfile::tempdir().unwrap() };
        let path = |name: &str| trained.path(name);
        language_model(&path("language"));
        for (class, start) in [("dark", 10), ("light", 120)] {
            fs::create_dir_all(path("data/train").join(class)).unwrap();
            for number in 0..8u8 {
                let shade = |x: u32, y: u32| Luma([start + number * 5 + (x * 3 + y * 2) as u8]);
                let picture = GrayImage::from_fn(16, 16, shade);
                picture.save(path("data/train").join(class).join(format!("{number}.png"))).unwrap();
            }
        }
        let codebook = path("codebook.safetensors");
        let (language, config, run) = (path("language"), path("config.toml"), path("run"));
        let arguments = ["--tensor", "embedding.weight", "--words", "40", "--letters", "2", "8"];
        spae(&[&["codebook", argument(&language), "-o", argument(&codebook)], &arguments[..]].concat()).success();
        fs::write(&config, CONFIG).unwrap();
        let data = path("data");
        spae(&["train", argument(&config), "--data", argument(&data), "--run", argument(&run)]).success();
        let (folder, file) = (path("model"), path("bare.spae"));
        spae(&["export", argument(&run), "--folder", argument(&folder), "-o", argument(&file)]).success();
        trained
    })
}
