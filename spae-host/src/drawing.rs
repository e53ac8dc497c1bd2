//! From a token text to pictures, one for each layer that came: spae-core at work, with a report of the text's faults.
//!
//! Knows texts, words and pictures; knows no tensors and no files.

use anyhow::{Result, anyhow, bail};
use rayon::prelude::*;
use serde::Serialize;
use spae_core::canvas::Canvas;
use spae_core::model::Model;
use spae_core::stream::{Event, Stream, UnknownPolicy};

use crate::picture::{self, Picture};
use crate::text::{self, Place};

/// A fault of a text: where, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What stands there.
    pub word: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} `{}`", self.place, self.word)
    }
}

/// What a text gave.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// One picture for each complete layer in turn, each drawn from all words up to there.
    pub layers: Vec<Picture>,
    /// The picture from everything that was asked for, a part of a layer included.
    pub picture: Picture,
    /// The words that took a place, by layer, row-major; `None` where a place is still empty.
    pub words: Vec<Vec<Option<u32>>>,
    /// Words that the model does not have.
    pub unknown: Vec<Fault>,
    /// Where words begin that came after the last layer; only the first is kept.
    pub first_surplus: Option<Fault>,
    /// How many such words there are.
    pub surplus: usize,
    /// Places of the layers asked for that stay empty.
    pub missing: usize,
}

/// Draws the first `layers` layers of `text`.
///
/// # Errors
/// The first unknown word, under the policy that stops there.
pub fn draw(
    model: &Model<'_>,
    text: &[u8],
    policy: UnknownPolicy,
    layers: usize,
) -> std::result::Result<Drawing, Fault> {
    let mut scratch = vec![0; model.scratch_len()];
    let canvas = Canvas::new(model, &mut scratch).expect("scratch memory of the length that the model states");
    let mut stream = Stream::new(canvas, policy);
    let fault = |offset| {
        let (place, word) = text::at(text, offset);
        Fault { place, word }
    };
    let weights = picture::widened(model.decoder());
    let mut pictures = Vec::new();
    let mut words: Vec<Vec<Option<u32>>> =
        model.pyramid().layers().iter().take(layers).map(|shape| vec![None; shape.area()]).collect();
    let (mut unknown, mut first_surplus) = (Vec::new(), None);
    let mut on = |event: Event, canvas: &mut Canvas<'_, '_>| match event {
        Event::Token { id, layer, index } => {
            if let Some(place) = words.get_mut(layer).and_then(|layer| layer.get_mut(index)) {
                *place = Some(id);
            }
        }
        Event::LayerComplete { layer } if layer < layers => {
            pictures.push(Picture::from_weights(canvas, &weights));
        }
        Event::Unknown { offset } => unknown.push(fault(offset)),
        Event::Surplus { offset } => first_surplus = first_surplus.take().or_else(|| Some(fault(offset))),
        Event::LayerComplete { .. } | Event::Hole { .. } | Event::Label { .. } => {}
    };
    stream.push(text, &mut on).map_err(|error| fault(error.offset))?;
    let summary = stream.finish(&mut on).map_err(|error| fault(error.offset))?;
    let picture = match pictures.last() {
        Some(last) if pictures.len() == layers => last.clone(),
        _ => Picture::from_weights(stream.canvas(), &weights),
    };
    let missing = words.iter().flatten().filter(|place| place.is_none()).count();
    Ok(Drawing { layers: pictures, picture, words, unknown, first_surplus, surplus: summary.surplus as usize, missing })
}

/// The whole pictures of many encodings' ids by layer, spread over all threads; without texts, so without their faults.
///
/// # Errors
/// If an id has no word in `model`.
pub fn draw_all(model: &Model<'_>, encodings: &[Vec<Vec<u32>>]) -> Result<Vec<Picture>> {
    let weights = picture::widened(model.decoder());
    let drawn = encodings
        .par_iter()
        .map_init(|| vec![0; model.scratch_len()], |scratch, tokens| draw_one(model, &weights, tokens, scratch));
    drawn.collect()
}

/// The whole picture of one encoding's ids by layer, in memory of [`Model::scratch_len`] that can be used again.
///
/// # Errors
/// If an id has no word in `model`, or `scratch` is too small.
pub fn draw_one(model: &Model<'_>, weights: &[f32], tokens: &[Vec<u32>], scratch: &mut [u32]) -> Result<Picture> {
    check_ids(model, tokens)?;
    let mut canvas = Canvas::new(model, scratch)?;
    tokens.iter().enumerate().for_each(|(layer, ids)| place(&mut canvas, layer, ids));
    Ok(Picture::from_weights(&mut canvas, weights))
}

/// Puts a whole layer on `canvas`.
pub(crate) fn place(canvas: &mut Canvas<'_, '_>, layer: usize, ids: &[u32]) {
    ids.iter().enumerate().for_each(|(index, &id)| canvas.place(layer, index, id));
    canvas.complete(layer);
}

/// The pictures of all layers from an encoding's ids by layer: through their canonical text, as a device gets them.
///
/// # Errors
/// If an id has no word in `model`: then encoder and model are not of the same training.
pub fn draw_tokens(model: &Model<'_>, tokens: &[Vec<u32>]) -> Result<Drawing> {
    check_ids(model, tokens)?;
    let (lexicon, ids) = (model.lexicon(), tokens.concat());
    let word = |id| lexicon.word(id).map(|word| word.to_string()).unwrap_or_default();
    let text = text::canonical(model.pyramid(), &ids, word);
    let layers = model.pyramid().layers().len();
    draw(model, text.as_bytes(), UnknownPolicy::Error, layers).map_err(|fault| anyhow!("canonical text at {fault}"))
}

pub(crate) fn check_ids(model: &Model<'_>, tokens: &[Vec<u32>]) -> Result<()> {
    let words = model.lexicon().len();
    match tokens.iter().flatten().find(|&&id| id >= words) {
        Some(id) => bail!("word {id} does not exist among {words}: encoder and model are not of the same training"),
        None => Ok(()),
    }
}
