//! A training run's curve for its card: validation PSNR after each number of words, from a run's `metrics.jsonl`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

/// What to draw, and where to.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A run folder, with metrics.jsonl
    run: PathBuf,
    /// The SVG to write
    #[arg(short, long)]
    output: PathBuf,
}

/// PSNR in decibels of one number of words, by step.
#[derive(Debug)]
struct Curve {
    words: u64,
    points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 40.0;
/// From few words to many.
const COLOURS: [&str; 6] = ["#b8b8b8", "#8fa8c8", "#5f8fc0", "#2f6fae", "#0b3f78", "#061f40"];

/// Reads the run and writes the SVG.
pub(crate) fn run(options: &Options) -> Result<()> {
    let path = options.run.join("metrics.jsonl");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (curves, minutes) = read(&text).with_context(|| path.display().to_string())?;
    ensure!(!curves.is_empty(), "{} has no evaluation yet", path.display());
    fs::write(&options.output, draw(&curves, minutes))
        .with_context(|| format!("cannot write {}", options.output.display()))?;
    println!("wrote {}", options.output.display());
    Ok(())
}

/// The curves, and how many minutes the run took up to its last evaluation.
fn read(text: &str) -> Result<(Vec<Curve>, f64)> {
    let mut curves: Vec<Curve> = Vec::new();
    let mut minutes = 0.0;
    for (number, line) in text.lines().enumerate() {
        let value: Value = serde_json::from_str(line).with_context(|| format!("line {}", number + 1))?;
        let Some(layers) = value["validation"]["layers"].as_array() else { continue };
        let step = value["step"].as_f64().with_context(|| format!("line {}: no step", number + 1))?;
        minutes = value["seconds"].as_f64().unwrap_or(0.0) / 60.0;
        for layer in layers {
            let words = layer["words"].as_u64().with_context(|| format!("line {}: no words", number + 1))?;
            let psnr = layer["psnr"].as_f64().with_context(|| format!("line {}: no psnr", number + 1))?;
            match curves.iter_mut().find(|curve| curve.words == words) {
                Some(curve) => curve.points.push((step, psnr)),
                None => curves.push(Curve { words, points: vec![(step, psnr)] }),
            }
        }
    }
    Ok((curves, minutes))
}

fn draw(curves: &[Curve], minutes: f64) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last_step = points().map(|point| point.0).fold(1.0, f64::max);
    let low = (points().map(|point| point.1).fold(f64::INFINITY, f64::min) / 2.0).floor() * 2.0;
    let high = (points().map(|point| point.1).fold(low + 2.0, f64::max) / 2.0).ceil() * 2.0;
    let x = |step: f64| LEFT + step / last_step * (WIDTH - LEFT - RIGHT);
    let y = |psnr: f64| TOP + (high - psnr) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#444\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    // Writing to a String cannot fail.
    let mut line = |text: String| svg.write_fmt(format_args!("{text}\n")).unwrap_or_default();
    for decibels in (0..).map(|n| low + 2.0 * f64::from(n)).take_while(|&decibels| decibels <= high) {
        let at = y(decibels);
        line(format!("<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#eee\"/>", WIDTH - RIGHT));
        line(format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{decibels}</text>", LEFT - 8.0, at + 4.0));
    }
    for quarter in 0..=4 {
        let step = last_step * f64::from(quarter) / 4.0;
        let (at, minutes) = (x(step), minutes * f64::from(quarter) / 4.0);
        let label = format!("{step:.0} steps, {minutes:.0} min");
        line(format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>", HEIGHT - 16.0));
    }
    line(format!("<text x=\"{LEFT}\" y=\"{:.1}\" dx=\"6\">dB</text>", TOP + 4.0));
    // Labels of curves that end close together are pushed apart.
    let mut below = f64::INFINITY;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let path: Vec<String> =
            curve.points.iter().map(|&(step, psnr)| format!("{:.1} {:.1}", x(step), y(psnr))).collect();
        line(format!("<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join("L")));
        let end = curve.points.last().map_or(0.0, |point| y(point.1)).min(below - 14.0);
        below = end;
        let label = if curve.words == 1 { "1 word".to_owned() } else { format!("{} words", curve.words) };
        line(format!("<text x=\"{:.1}\" y=\"{:.1}\">{label}</text>", WIDTH - RIGHT + 8.0, end + 4.0));
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_become_one_curve_a_number_of_words_and_other_lines_are_passed_over() {
        let text = concat!(
            r#"{"step":50,"loss":1.5}"#,
            "\n",
            r#"{"step":100,"seconds":60,"validation":{"layers":[{"words":1,"psnr":14},{"words":5,"psnr":15.5}]}}"#,
            "\n",
            r#"{"step":200,"seconds":120,"validation":{"layers":[{"words":1,"psnr":14.5},{"words":5,"psnr":16}]}}"#,
        );
        let (curves, minutes) = read(text).unwrap();
        assert_eq!((curves.len(), minutes), (2, 2.0));
        assert_eq!((curves[1].words, &curves[1].points[..]), (5, &[(100.0, 15.5), (200.0, 16.0)][..]));
        assert!(draw(&curves, minutes).contains(">5 words<"));
    }

    #[test]
    fn a_broken_line_is_named() {
        assert_eq!(read("{}\n{").unwrap_err().to_string(), "line 2");
    }
}
