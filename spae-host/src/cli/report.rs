//! An evaluation as tables: the pictures of each number of layers, the words of each layer, and who found what.

use anyhow::Result;
use spae_host::evaluation::{Evaluation, Layer};

use super::output::{line, thousands};

/// Characters of a hash that tell files apart; `--json` has all.
const HASH: usize = 16;

/// Prints all of `evaluation`.
pub(super) fn print(evaluation: &Evaluation) -> Result<()> {
    line("")?;
    line("  pictures from the first layers")?;
    table(&pictures(evaluation), evaluation.layers.len())?;
    if let Some(score) = evaluation.inception_score_of_originals {
        line(format_args!("  the originals' IS is {:.2} ± {:.2}", score.mean, score.deviation))?;
    }
    line("")?;
    line(format_args!("  words of each layer, of {}", thousands(evaluation.vocabulary)))?;
    table(&words(evaluation), evaluation.layers.len())?;
    line("")?;
    evaluators(evaluation)
}

/// A column: its title, and its cell of each layer.
struct Column {
    title: &'static str,
    cells: Vec<String>,
}

impl Column {
    fn new(evaluation: &Evaluation, title: &'static str, cell: impl Fn(usize, &Layer) -> String) -> Self {
        let cells = evaluation.layers.iter().enumerate().map(|(index, layer)| cell(index, layer)).collect();
        Self { title, cells }
    }

    /// None where no layer has a value.
    fn optional(evaluation: &Evaluation, title: &'static str, cell: impl Fn(&Layer) -> Option<String>) -> Option<Self> {
        let known = evaluation.layers.iter().any(|layer| cell(layer).is_some());
        known.then(|| Self::new(evaluation, title, |_, layer| cell(layer).unwrap_or_else(|| "–".to_owned())))
    }
}

fn pictures(evaluation: &Evaluation) -> Vec<Column> {
    let column = |title, cell: &dyn Fn(usize, &Layer) -> String| Column::new(evaluation, title, cell);
    let mut columns = vec![
        column("layers", &|index, _| (index + 1).to_string()),
        column("words", &|_, layer| thousands(layer.words)),
        column("bits/pixel", &|_, layer| format!("{:.4}", layer.bits_per_pixel)),
        column("coded", &|_, layer| format!("{:.4}", layer.bits_per_pixel_coded)),
        column("PSNR (dB)", &|_, layer| format!("{:.3}", layer.psnr)),
    ];
    let number = |value: Option<f64>, digits: usize| value.map(|value| format!("{value:.digits$}"));
    let optional = |title, cell: &dyn Fn(&Layer) -> Option<String>| Column::optional(evaluation, title, cell);
    columns.extend(optional("SSIM", &|layer| number(layer.ssim, 4)));
    columns.extend(optional("LPIPS", &|layer| number(layer.lpips, 4)));
    columns.extend(optional("FID", &|layer| number(layer.fid, 2)));
    columns.extend(optional("IS", &|layer| {
        layer.inception_score.map(|score| format!("{:.2} ± {:.2}", score.mean, score.deviation))
    }));
    columns.extend(optional("FD-darknet", &|layer| number(layer.fd_darknet, 2)));
    columns.extend(optional("CLIP", &|layer| number(layer.clip_score, 4)));
    columns
}

fn words(evaluation: &Evaluation) -> Vec<Column> {
    let column = |title, cell: &dyn Fn(usize, &Layer) -> String| Column::new(evaluation, title, cell);
    let before = |index: usize| index.checked_sub(1).map_or(0, |before| evaluation.layers[before].words);
    vec![
        column("layer", &|index, _| (index + 1).to_string()),
        column("words", &|index, layer| thousands(layer.words - before(index))),
        column("in use", &|_, layer| thousands(layer.usage.words_in_use)),
        column("share", &|_, layer| format!("{:.1} %", 100.0 * layer.usage.share_in_use)),
        column("perplexity", &|_, layer| format!("{:.1}", layer.usage.perplexity)),
        column("bits/word", &|_, layer| format!("{:.2}", layer.usage.bits_per_word)),
    ]
}

/// Columns set right, each as wide as its widest cell.
fn table(columns: &[Column], rows: usize) -> Result<()> {
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| column.cells.iter().map(|cell| width(cell)).fold(width(column.title), usize::max))
        .collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        line(cells.zip(&widths).fold(String::new(), |text, (cell, &width)| format!("{text}  {cell:>width$}")))
    };
    print(&mut columns.iter().map(|column| column.title))?;
    (0..rows).try_for_each(|row| print(&mut columns.iter().map(|column| column.cells[row].as_str())))
}

fn evaluators(evaluation: &Evaluation) -> Result<()> {
    for evaluator in &evaluation.evaluators {
        line(format_args!("  {}: {}", evaluator.figures.join(", "), evaluator.name))?;
        line(format_args!("    against {}; resizing: {}", evaluator.reference, evaluator.resizing))?;
        for file in &evaluator.files {
            line(format_args!("    {} (SHA-256 {}…)", file.path, file.sha256.get(..HASH).unwrap_or(&file.sha256)))?;
        }
    }
    line("  bits/pixel: log₂ V bits a word; coded: each layer's words at their entropy over this set")
}
