//! Streaming average quantisation against golden values: ids exactly, ties included, and Ẑ after every layer.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use spae_core::pyramid::{Position, Pyramid, Shape};
use spae_core::saq::{RunningAverage, average_len, quantise, quantise_len};

/// What is quantised, and what must come of it.
#[derive(Clone, Debug)]
pub struct Golden {
    /// The layers on their grid.
    pub pyramid: Pyramid,
    /// The length of a vector.
    pub width: usize,
    /// [h × w × width].
    pub z: Vec<f32>,
    /// [V × width].
    pub codebook: Vec<f32>,
    /// Ids of each layer, row-major.
    pub ids: Vec<Vec<u32>>,
    /// Ẑ after each layer, [h × w × width].
    pub zhat: Vec<Vec<f32>>,
}

impl Golden {
    /// From the JSON that `golden/saq/make_saq.py` prints.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(json)?;
        let rows = value["z"].as_array().context("z")?;
        let columns = rows[0].as_array().context("z[0]")?;
        let grid = Shape::new(rows.len() as u16, columns.len() as u16);
        let layers = value["layers"].as_array().context("layers")?;
        let shape = |layer: &Value| {
            let sides = floats(&layer["shape"]);
            Shape::new(sides[0] as u16, sides[1] as u16)
        };
        let shapes: Vec<Shape> = layers.iter().map(shape).collect();
        Ok(Self {
            pyramid: Pyramid::new(grid, &shapes)?,
            width: columns[0].as_array().context("z[0][0]")?.len(),
            z: floats(&value["z"]),
            codebook: floats(&value["codebook"]),
            ids: layers.iter().map(|layer| floats(&layer["ids"]).iter().map(|&id| id as u32).collect()).collect(),
            zhat: layers.iter().map(|layer| floats(&layer["zhat"])).collect(),
        })
    }
}

/// All numbers of a nested array, in order.
fn floats(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(values) => values.iter().flat_map(floats).collect(),
        other => other.as_f64().map(|number| number as f32).into_iter().collect(),
    }
}

/// The ids of every layer, row-major, and Ẑ [h × w × width] after every layer, uncovered positions filled.
pub type Quantised = (Vec<Vec<u32>>, Vec<Vec<f32>>);

/// Something that quantises and averages.
pub trait Quantiser {
    /// Quantises the golden file's Z with its codebook.
    ///
    /// # Errors
    /// Whatever keeps the quantiser from it.
    fn quantise(&mut self, golden: &Golden) -> Result<Quantised>;
}

/// Holds a quantiser to one golden file.
///
/// # Errors
/// The first layer that differs: an id at all, or Ẑ by more than 1e-6.
pub fn check(quantiser: &mut impl Quantiser, golden: &Golden) -> Result<()> {
    let (ids, zhat) = quantiser.quantise(golden)?;
    ensure!(ids.len() == golden.ids.len() && zhat.len() == golden.zhat.len(), "{} layers", ids.len());
    for layer in 0..ids.len() {
        ensure!(ids[layer] == golden.ids[layer], "layer {layer}: {:?}, not {:?}", ids[layer], golden.ids[layer]);
        ensure!(zhat[layer].len() == golden.zhat[layer].len(), "layer {layer}: the length of Ẑ");
        for (at, (got, expected)) in zhat[layer].iter().zip(&golden.zhat[layer]).enumerate() {
            ensure!((got - expected).abs() <= 1e-6, "layer {layer}, Ẑ[{at}]: {got}, not {expected}");
        }
    }
    Ok(())
}

/// Holds a quantiser to every golden file of `folder`; how many there were.
///
/// # Errors
/// As [`check`], with the file's name.
pub fn check_folder(quantiser: &mut impl Quantiser, folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let golden = Golden::parse(&std::fs::read(&path)?);
            golden.and_then(|golden| check(quantiser, &golden)).with_context(|| path.display().to_string())?;
            count += 1;
        }
    }
    Ok(count)
}

/// The golden files that stand in this package.
pub fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/saq")
}

/// The golden files of the reference data beside the checkout, where there are any.
pub fn shared_folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden");
    folder.is_dir().then_some(folder)
}

/// Shapes that are run for other seeds: grid, words, dimension and layers, as `make_saq.py` takes them.
pub const SHAPES: [&str; 4] = [
    "4 4 7 3 1x1,2x2,4x4,4x4",
    "16 16 40 4 1x1,2x2,4x4,8x8,16x16,16x16",
    "4 8 12 2 1x2,2x2,4x8",
    "6 2 5 3 1x1,3x2,6x2,6x2",
];

/// What `script` prints for `seed` and `shape`; `None` where there is no Python, or not the packages that it wants.
///
/// # Errors
/// If it prints something else than a golden file.
pub fn generate(script: &Path, seed: u64, shape: &str) -> Result<Option<Golden>> {
    let output = Command::new("python3").arg(script).arg(seed.to_string()).args(shape.split(' ')).output();
    match output {
        Ok(output) if output.status.success() => Golden::parse(&output.stdout).map(Some),
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("ModuleNotFoundError") => Ok(None),
        Ok(output) => anyhow::bail!("{}: {}", script.display(), String::from_utf8_lossy(&output.stderr)),
        Err(_) => Ok(None),
    }
}

/// spae-core's slices.
#[derive(Clone, Copy, Debug)]
pub struct Core;

impl Quantiser for Core {
    fn quantise(&mut self, golden: &Golden) -> Result<Quantised> {
        let Golden { pyramid, width, codebook, z, .. } = golden;
        let mut scratch = vec![f32::NAN; quantise_len(pyramid, *width)];
        let mut all = Vec::new();
        quantise(pyramid, *width, codebook, z, &mut scratch, |id| all.push(id)).context("the lengths")?;
        let mut scratch = vec![f32::NAN; average_len(pyramid, *width)];
        let mut average = RunningAverage::new(pyramid, *width, &mut scratch).context("the scratch's length")?;
        let (mut ids, mut zhat) = (Vec::new(), Vec::new());
        let mut rest = all.into_iter();
        for (layer, shape) in pyramid.layers().iter().enumerate() {
            let layer_ids: Vec<u32> = rest.by_ref().take(shape.area()).collect();
            for (at, &id) in pyramid.positions(layer).zip(&layer_ids) {
                let row = &codebook[id as usize * width..][..*width];
                average.add(at, |visit| row.iter().enumerate().for_each(|(column, &value)| visit(column, value)));
            }
            let grid = pyramid.grid();
            let positions =
                (0..grid.height).flat_map(|row| (0..grid.width).map(move |column| Position { row, column }));
            let values = positions.map(|at| average.value(at, layer + 1).context("a position without a value"));
            zhat.push(values.collect::<Result<Vec<_>>>()?.concat());
            ids.push(layer_ids);
        }
        ensure!(rest.next().is_none(), "more ids than places");
        Ok((ids, zhat))
    }
}
