//! `curves.svg`: validation PSNR after each number of words, and the terms of the loss, by step; from `metrics.jsonl`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::tensor_file::replace;

/// The file's name in a run folder.
pub(super) const FILE_NAME: &str = "curves.svg";

/// What is drawn of the lines of figures, where it is there.
const TERMS: [&str; 8] = [
    "loss",
    "reconstruction",
    "prefix_reconstruction",
    "commitment",
    "semantic",
    "perceptual",
    "adversarial",
    "discriminator",
];

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 36.0;
const COLOURS: [&str; 8] = ["#b8b8b8", "#8fa8c8", "#5f8fc0", "#2f6fae", "#0b3f78", "#061f40", "#c07f3f", "#7f3f3f"];
/// The most points of a curve; more are averaged.
const POINTS: usize = 400;

/// A name and its points.
#[derive(Debug, Default)]
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

/// What a run's lines come to.
#[derive(Debug, Default)]
struct Curves {
    psnr: Vec<Curve>,
    terms: Vec<Curve>,
    minutes: f64,
}

/// Draws the curves of the run in `folder` anew.
pub(super) fn write(folder: &Path) -> Result<()> {
    let path = folder.join("metrics.jsonl");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    replace(&folder.join(FILE_NAME), draw(&read(&text)).as_bytes())
}

/// Lines that are cut or broken, as a crash leaves them, are passed over. Where steps come twice, as behind a checkpoint
/// that a run went on from, the later ones count.
fn read(text: &str) -> Curves {
    let mut curves = Curves::default();
    for line in text.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        let Some(step) = value["step"].as_f64() else { continue };
        curves.minutes = value["seconds"].as_f64().map_or(curves.minutes, |seconds| seconds / 60.0);
        if let Some(layers) = value["validation"]["layers"].as_array() {
            for layer in layers {
                let (Some(words), Some(psnr)) = (layer["words"].as_u64(), layer["psnr"].as_f64()) else { continue };
                let name = if words == 1 { "1 word".to_owned() } else { format!("{words} words") };
                add(&mut curves.psnr, &name, step, psnr);
            }
        } else {
            for name in TERMS {
                if let Some(value) = value[name].as_f64() {
                    add(&mut curves.terms, &name.replace('_', " "), step, value);
                }
            }
        }
    }
    curves
}

fn add(curves: &mut Vec<Curve>, name: &str, step: f64, value: f64) {
    let place = curves.iter().position(|curve| curve.name == name).unwrap_or_else(|| {
        curves.push(Curve { name: name.to_owned(), points: Vec::new() });
        curves.len() - 1
    });
    let points = &mut curves[place].points;
    while points.last().is_some_and(|last| last.0 >= step) {
        points.pop();
    }
    points.push((step, value));
}

fn draw(curves: &Curves) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#444\">\n<rect width=\"{WIDTH}\" height=\"{}\" fill=\"#fff\"/>\n",
        2.0 * HEIGHT,
        2.0 * HEIGHT
    );
    panel(&mut svg, 0.0, "validation PSNR (dB)", &curves.psnr, curves.minutes, false);
    panel(&mut svg, HEIGHT, "terms of the loss", &curves.terms, curves.minutes, true);
    svg + "</svg>\n"
}

/// One diagram, `above` units down; with `logarithmic` values by their decades.
fn panel(svg: &mut String, above: f64, title: &str, curves: &[Curve], minutes: f64, logarithmic: bool) {
    let scaled = |value: f64| if logarithmic { value.max(1e-6).log10() } else { value };
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last_step = points().map(|point| point.0).fold(1.0, f64::max);
    let grid = if logarithmic { 1.0 } else { 2.0 };
    let lowest = points().map(|point| scaled(point.1)).fold(f64::INFINITY, f64::min);
    let low = if lowest.is_finite() { (lowest / grid).floor() * grid } else { 0.0 };
    let high = (points().map(|point| scaled(point.1)).fold(low + grid, f64::max) / grid).ceil() * grid;
    let x = |step: f64| LEFT + step / last_step * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| above + TOP + (high - scaled(value)) / (high - low) * (HEIGHT - TOP - BOTTOM);
    // Writing to a String cannot fail.
    let mut line = |text: String| svg.write_fmt(format_args!("{text}\n")).unwrap_or_default();
    line(format!("<text x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"bold\">{title}</text>", above + TOP - 8.0));
    for value in (0..).map(|n| low + grid * f64::from(n)).take_while(|&value| value <= high + grid / 2.0) {
        let (value, label) =
            if logarithmic { (10f64.powf(value), format!("1e{value:.0}")) } else { (value, format!("{value:.0}")) };
        let at = y(value);
        line(format!("<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#eee\"/>", WIDTH - RIGHT));
        line(format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 8.0, at + 4.0));
    }
    for quarter in 0..=4 {
        let (step, minutes) = (last_step * f64::from(quarter) / 4.0, minutes * f64::from(quarter) / 4.0);
        let label = format!("{step:.0} steps, {minutes:.0} min");
        let at = above + HEIGHT - 14.0;
        line(format!("<text x=\"{:.1}\" y=\"{at:.1}\" text-anchor=\"middle\">{label}</text>", x(step)));
    }
    let mut ends: Vec<(f64, String)> = Vec::new();
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let thinned = thinned(&curve.points);
        let path: Vec<String> =
            thinned.iter().map(|&(step, value)| format!("{:.1} {:.1}", x(step), y(value))).collect();
        line(format!("<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join("L")));
        let end = thinned.last().map_or(0.0, |point| y(point.1));
        let swatch = format!("<tspan fill=\"{colour}\">●</tspan>");
        ends.push((end, format!("{swatch} {}", curve.name)));
    }
    // Labels of curves that end close together are pushed apart.
    ends.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut below = f64::INFINITY;
    for (end, label) in ends {
        let at = end.min(below - 14.0);
        below = at;
        line(format!("<text x=\"{:.1}\" y=\"{:.1}\">{label}</text>", WIDTH - RIGHT + 8.0, at + 4.0));
    }
}

/// Means of neighbouring points, so that there are no more than can be told apart.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |points: &[(f64, f64)]| {
        let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / points.len() as f64, sum.1 / points.len() as f64)
    };
    points.chunks(points.len().div_ceil(POINTS).max(1)).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"step":50,"seconds":30,"loss":1.5,"gradient_length":9}
{"step":100,"seconds":60,"validation":{"layers":[{"words":1,"psnr":14},{"words":5,"psnr":15.5}]}}
{"step":100,"seconds":60,"loss":0.015}
{"step":200,"seconds":120,"validation":{"layers":[{"words":1,"psnr":14.5},{"words":5,"psnr":16}]}}
{"step":150,"seconds":90,"lo"#;

    #[test]
    fn evaluations_and_terms_become_curves_and_other_lines_are_passed_over() {
        let curves = read(LINES);
        assert_eq!((curves.psnr.len(), curves.terms.len(), curves.minutes), (2, 1, 2.0));
        assert_eq!(curves.psnr[1].points, [(100.0, 15.5), (200.0, 16.0)]);
        assert_eq!(curves.terms[0].points, [(50.0, 1.5), (100.0, 0.015)]);
        let svg = draw(&curves);
        assert!(svg.contains("5 words") && svg.contains("1e-2") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }

    #[test]
    fn steps_that_a_resumed_run_takes_again_replace_the_old_ones() {
        let again = "{\"step\":100,\"loss\":1}\n{\"step\":200,\"loss\":2}\n{\"step\":100,\"loss\":3}\n";
        assert_eq!(read(again).terms[0].points, [(100.0, 3.0)]);
    }

    #[test]
    fn many_points_are_averaged_and_none_draw_an_empty_page() {
        let points: Vec<(f64, f64)> = (0..1000).map(|n| (f64::from(n), f64::from(n % 2))).collect();
        let thinned = thinned(&points);
        assert!(thinned.len() <= POINTS && (thinned[7].1 - 0.5).abs() < 0.2);
        assert!(!draw(&read("")).contains("NaN"));
    }
}
