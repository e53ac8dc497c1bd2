//! What the cases work on: two models and folders of made-up pictures, in a place that goes with the run.

use std::f32::consts::PI;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use image::{ImageFormat, RgbImage};
use rand::RngExt as _;
use spae_host::config::Config;
use spae_host::model::{self, Initialiser};
use spae_host::model_file::ModelFile;
use spae_host::random::generator;
use spae_host::tokenizer::{self, Tokenizer};
use spae_host::train;
use tempfile::TempDir;

pub(crate) struct Materials {
    pub(crate) quick: bool,
    pub(crate) digits: Model,
    pub(crate) colour: Model,
    /// The digits' decoder.
    pub(crate) file: ModelFile,
    /// For vectors that both sides search.
    pub(crate) folder: TempDir,
}

/// A model, its weights in a file, and pictures of its size.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// The configuration's file, and what is in it.
    pub(crate) path: PathBuf,
    pub(crate) config: Config,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) weights: PathBuf,
    /// Sub-folders are classes.
    pub(crate) pictures: PathBuf,
}

impl Materials {
    pub(crate) fn new(quick: bool) -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().context("a folder for pictures")?;
        let (count, coloured) = if quick { (1000, 200) } else { (5000, 5000) };
        let digits = here.join("../../models/digits");
        let materials = Self {
            quick,
            digits: Model::shipped(&digits, &folder.path().join("digits"), count)?,
            file: ModelFile::open(&digits)?,
            colour: Model::fresh(&here.join("colour.toml"), &folder.path().join("colour"), coloured)?,
            folder,
        };
        // The system writes the pictures to the disk now, and not while something is timed.
        Command::new("sync").status().context("cannot start sync")?;
        Ok(materials)
    }
}

impl Model {
    /// The digits model; its pictures come with their border, so that neither side need add it.
    fn shipped(folder: &Path, materials: &Path, count: u64) -> Result<Self> {
        let path = folder.join("config.toml");
        let config = Config::load(&path, &["image.border=0".to_owned()])?;
        let tokenizer = Tokenizer::load(folder)?;
        let weights = folder.join(tokenizer::WEIGHTS);
        make_pictures(materials, "png", ImageFormat::Png, &config, count)?;
        Ok(Self { name: "digits", path, config, tokenizer, weights, pictures: materials.to_owned() })
    }

    /// A model with the weights that training starts from.
    fn fresh(path: &Path, materials: &Path, count: u64) -> Result<Self> {
        let config = Config::load(path, &[])?;
        let codebook = train::codebook(&config)?;
        let mut weights = Initialiser::new(config.seed);
        model::Model::new(&config, codebook.embedding.dims2()?, &mut weights)?;
        let weights = weights.into_variables().into_iter().map(|(name, weight)| (name, weight.as_detached_tensor()));
        let tokenizer = Tokenizer::new(config.clone(), codebook, weights.collect(), path.to_owned())?;
        let saved = materials.with_extension("model");
        tokenizer.save(&saved)?;
        make_pictures(materials, "jpg", ImageFormat::Jpeg, &config, count)?;
        let weights = saved.join(tokenizer::WEIGHTS);
        let path = path.to_owned();
        Ok(Self { name: "colour", path, config, tokenizer, weights, pictures: materials.to_owned() })
    }

    /// The file of words and vectors.
    pub(crate) fn codebook(&self) -> PathBuf {
        self.config.path(&self.config.codebook.file)
    }
}

/// Waves of random directions and colours: smooth like photographs, so that they compress alike.
fn make_pictures(folder: &Path, extension: &str, format: ImageFormat, config: &Config, count: u64) -> Result<()> {
    const CLASSES: u64 = 10;
    let image = config.image;
    for class in 0..CLASSES {
        let folder = folder.join(class.to_string());
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    for number in 0..count {
        let mut random = generator(1, "picture", [number, 0]);
        let waves: [[f32; 4]; 6] = std::array::from_fn(|_| std::array::from_fn(|_| random.random_range(-1.0..1.0)));
        let picture = RgbImage::from_fn(image.width as u32, image.height as u32, |x, y| {
            let (x, y) = (x as f32 / image.width as f32, y as f32 / image.height as f32);
            let value = |channel: usize| {
                let wave = |[down, right, phase, size]: [f32; 4]| {
                    size * (8.0 * PI * (down * y + right * x) + PI * phase * (channel + 1) as f32).sin()
                };
                (127.5 + 80.0 * waves.iter().map(|&wave_of| wave(wave_of)).sum::<f32>()).clamp(0.0, 255.0) as u8
            };
            image::Rgb([value(0), value(1), value(2)])
        });
        let path = folder.join(format!("{}/{number:05}.{extension}", number % CLASSES));
        let picture = image::DynamicImage::ImageRgb8(picture);
        let picture = if image.channels == 1 { picture.to_luma8().into() } else { picture };
        picture.save_with_format(&path, format).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
