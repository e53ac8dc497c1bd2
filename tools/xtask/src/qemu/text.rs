//! The texts that are typed.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use spae_core::model::Model;

/// Words, layer by layer.
pub(crate) type Layers = Vec<Vec<String>>;

/// Reads a canonical text.
pub(crate) fn read(path: &Path, model: &Model<'_>) -> Result<Layers> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| shown.to_string())?;
    let layers: Layers = text.lines().map(|line| line.split(' ').map(String::from).collect()).collect();
    let counts = |layers: &Layers| layers.iter().map(Vec::len).collect::<Vec<_>>();
    let needed: Vec<_> = model.pyramid().layers().iter().map(|shape| shape.area()).collect();
    ensure!(counts(&layers) == needed, "{shown} has {:?} words a line; the model needs {needed:?}", counts(&layers));
    for word in layers.iter().flatten() {
        ensure!(model.lexicon().id(word.as_bytes()).is_some(), "{shown}: the model does not have the word {word:?}");
    }
    Ok(layers)
}

/// Draws words from the model's lexicon.
pub(crate) fn draw(model: &Model<'_>, seed: u64) -> Layers {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut word = |_| model.lexicon().word(random.random_range(0..model.lexicon().len())).map(|word| word.to_string());
    model.pyramid().layers().iter().map(|shape| (0..shape.area()).filter_map(&mut word).collect()).collect()
}

/// The text as it should be.
pub(crate) fn canonical(layers: &Layers) -> Vec<u8> {
    layers.iter().flat_map(|layer| (layer.join(" ") + "\n").into_bytes()).collect()
}

/// The text as a language model and a bad line make of it, and how many of its words are damaged beyond recognition;
/// those are in the last layer.
pub(crate) fn dirty(layers: &Layers) -> (Vec<u8>, u32) {
    let mut text = b"Sure! Here is the picture that you asked for:\r\n\r\n```text\r\n".to_vec();
    for (index, layer) in layers.iter().enumerate() {
        let last = index + 1 == layers.len();
        text.extend(format!("Layer {}:", index + 1).bytes());
        for (place, word) in layer.iter().enumerate() {
            let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            let capital = first.to_uppercase() + rest;
            let dressed = match index % 4 {
                0 => format!(" \"{capital}\""),
                1 => format!(" {},", word.to_uppercase()),
                2 => format!("\r\n{}. {word}", place + 1),
                _ => format!("\t- [{capital}];"),
            };
            match (last, place) {
                (true, 3) => text.extend(b" qqxzzyq"),
                (true, 5) => text.extend(b" \xFF\xC3\x28\x80"),
                _ => text.extend(dressed.bytes()),
            }
        }
        text.extend(b"\r\n");
    }
    text.extend(b"```\r\n");
    text.extend(layers.concat().join(", ").bytes());
    (text, 2)
}
