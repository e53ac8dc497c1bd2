//! Words in, picture out: every fixture, whole, cut off at every layer and in the middle of one, with holes, and as a
//! language model would write it.

use anyhow::{Context, Result, bail, ensure};
use spae_core::canvas::Canvas;
use spae_core::model::Model;
use spae_core::stream::{Stream, UnknownPolicy};

use crate::fixtures::{self, Fixture, StoredWeights};
use crate::reference;

/// A picture, [height × width × channels].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a column.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Row-major, channels last.
    pub pixels: Vec<u8>,
}

/// Something that turns a model's file and a text into a picture.
pub trait Runtime {
    /// Draws `text`; words that the model does not have keep their place and leave it uncovered.
    ///
    /// # Errors
    /// Whatever keeps the runtime from it.
    fn picture(&mut self, file: &[u8], text: &str) -> Result<Picture>;
}

/// How near a runtime must come.
#[derive(Clone, Copy, Debug)]
pub enum Tolerance {
    /// To spae-core: every bit.
    Exact,
    /// To the plain reference: f32 outputs within this, before they are rounded to a pixel; integers to the last bit.
    Output(f64),
    /// To spae-core: mean absolute error in pixel steps.
    MeanAbsolute(f64),
}

/// One text for one fixture.
#[derive(Clone, Debug)]
pub struct Case {
    /// "fixture: text", as it stands in ignore lists.
    pub name: String,
    /// What is written in the text.
    pub ids: Vec<Option<usize>>,
    /// The text.
    pub text: String,
}

/// All cases of one fixture.
pub fn cases(fixture: &Fixture) -> Vec<Case> {
    let ids: Vec<Option<usize>> = fixture.ids(1).into_iter().map(Some).collect();
    let case = |what: &str, ids: &[Option<usize>], text: String| Case {
        name: format!("{}: {what}", fixture.name),
        ids: ids.to_vec(),
        text,
    };
    let mut cases = vec![case("no words", &[], String::new())];
    for layers in 1..=fixture.pyramid.layers().len() {
        let ids = &ids[..fixture.pyramid.tokens_before(layers)];
        cases.push(case(&format!("{layers} layers"), ids, fixture.text(ids)));
    }
    let cut = &ids[..ids.len() - ids.len() / 3];
    cases.push(case("cut off in a layer", cut, fixture.text(cut)));
    let holes: Vec<Option<usize>> = ids.iter().enumerate().map(|(at, id)| id.filter(|_| at % 4 != 1)).collect();
    cases.push(case("holes", &holes, fixture.text(&holes)));
    let words: Vec<String> =
        ids.iter().flatten().enumerate().map(|(at, &id)| format!("{}. \"{}\",", at + 1, fixture.words[id])).collect();
    let dirty = format!("Here is the picture:\r\n```text\r\n{}\r\n```\r\n", words.join("\r\n"));
    cases.push(case("as a language model writes", &ids, dirty));
    cases
}

/// Runs every case of every fixture, but those in `ignore`. A name in `ignore` that is no case's is an error, so that
/// the list does not outlive its reasons.
///
/// # Errors
/// The first case whose picture is further away than `tolerance`, or that the runtime fails on.
pub fn check(runtime: &mut impl Runtime, tolerance: Tolerance, ignore: &[&str]) -> Result<()> {
    let mut ignored = 0;
    for fixture in fixtures::all() {
        let file = fixture.file();
        for case in cases(&fixture) {
            if ignore.contains(&case.name.as_str()) {
                ignored += 1;
                continue;
            }
            let got = runtime.picture(&file, &case.text).with_context(|| case.name.clone())?;
            check_case(&fixture, &file, &case, &got, tolerance).with_context(|| case.name.clone())?;
        }
    }
    ensure!(ignored == ignore.len(), "the ignore list {ignore:?} names something that is no case");
    Ok(())
}

fn check_case(fixture: &Fixture, file: &[u8], case: &Case, got: &Picture, tolerance: Tolerance) -> Result<()> {
    match tolerance {
        Tolerance::Output(_) if matches!(fixture.weights, StoredWeights::Int8(_)) => {
            let map = reference::decode_integers(fixture, &case.ids);
            let [height, width] = [map[0].len(), map[0][0].len()];
            ensure!((got.height, got.width, got.channels) == (height, width, map.len()), "the picture's shape");
            for (at, &pixel) in got.pixels.iter().enumerate() {
                let expected = map[at % map.len()][at / map.len() / width][at / map.len() % width];
                ensure!(pixel == expected, "pixel {at} is {pixel}, not {expected}");
            }
            let inside = got.pixels.iter().filter(|&&pixel| pixel != 0 && pixel != 255).count();
            ensure!(2 * inside > got.pixels.len(), "most pixels are clamped and show nothing");
        }
        Tolerance::Output(limit) => {
            let map = reference::decode(fixture, &case.ids);
            let [height, width] = [map[0].len(), map[0][0].len()];
            ensure!((got.height, got.width, got.channels) == (height, width, map.len()), "the picture's shape");
            for (at, &pixel) in got.pixels.iter().enumerate() {
                let value = map[at % map.len()][at / map.len() / width][at / map.len() % width];
                // The pixels that outputs within the limit may round to.
                let round = |value: f64| ((value + 1.0) * 127.5 + 0.5).floor().clamp(0.0, 255.0) as u8;
                let range = round(value - limit)..=round(value + limit);
                ensure!(range.contains(&pixel), "pixel {at} is {pixel}, not in {range:?} around {value}");
            }
        }
        Tolerance::Exact | Tolerance::MeanAbsolute(_) => compare(got, &Core.picture(file, &case.text)?, tolerance)?,
    }
    Ok(())
}

/// Compares two pictures.
///
/// # Errors
/// If they differ in shape, or by more than `tolerance`.
pub fn compare(got: &Picture, expected: &Picture, tolerance: Tolerance) -> Result<()> {
    let shape = |picture: &Picture| (picture.height, picture.width, picture.channels, picture.pixels.len());
    ensure!(shape(got) == shape(expected), "the shape is {:?}, not {:?}", shape(got), shape(expected));
    let pairs = || got.pixels.iter().zip(&expected.pixels);
    if let Tolerance::MeanAbsolute(limit) = tolerance {
        let mean = pairs().map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / got.pixels.len() as f64;
        ensure!(mean <= limit, "the mean absolute error is {mean} steps, more than {limit}");
    } else if let Some(at) = pairs().position(|(a, b)| a != b) {
        bail!("byte {at} is {}, not {}", got.pixels[at], expected.pixels[at]);
    }
    Ok(())
}

/// spae-core on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Core;

impl Runtime for Core {
    fn picture(&mut self, file: &[u8], text: &str) -> Result<Picture> {
        let model = Model::read(file)?;
        let mut scratch = vec![u32::MAX; model.scratch_len()];
        let canvas = Canvas::new(&model, &mut scratch)?;
        let mut stream = Stream::new(canvas, UnknownPolicy::Hole);
        stream.push(text.as_bytes(), |_, _| ())?;
        stream.finish(|_, _| ())?;
        Ok(picture(stream.canvas()))
    }
}

/// What stands on a canvas.
pub fn picture(canvas: &mut Canvas<'_, '_>) -> Picture {
    let (shape, channels) = (canvas.shape(), canvas.model().decoder().picture_channels());
    let mut pixels = Vec::with_capacity(shape.area() * channels);
    canvas.rows(|_, row| {
        let planes: Vec<Vec<u8>> = (0..channels).map(|channel| row.channel(channel).collect()).collect();
        for column in 0..usize::from(shape.width) {
            pixels.extend(planes.iter().map(|plane| plane[column]));
        }
    });
    Picture { height: shape.height.into(), width: shape.width.into(), channels, pixels }
}
