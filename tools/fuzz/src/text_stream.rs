//! Any bytes as text, over a small model.
//!
//! The first byte picks the model and what happens to unknown words, the second where text is cut, the rest is text.
//! However it is cut, it must give the same events and the same pictures; events must add up to the summary; and what
//! was understood, written down again as canonical text, must be understood as the same.

use std::collections::BTreeSet;

use spae_core::canvas::Canvas;
use spae_core::error::UnknownWord;
use spae_core::model::Model;
use spae_core::stream::{Event, Stream, Summary, UnknownPolicy};
use spae_tests::fixtures::STRANGER;

use crate::Outcome;
use crate::exercise::{MAX_MULTIPLY_ACCUMULATES, draw};
use crate::input::Input;
use crate::models::MODELS;

/// What happens to unknown words, in the order of the first byte's remainder modulo 3.
pub const POLICIES: [UnknownPolicy; 3] = [UnknownPolicy::Hole, UnknownPolicy::Skip, UnknownPolicy::Error];

/// Numbers of the models, in the order of the first byte's quotient by 3: 21 places, 65 places, a single place, words
/// that look like what stands around words, and integers.
pub const TEXT_MODELS: [usize; 5] = [0, 3, 1, 10, 9];

/// Everything that came of a text.
#[derive(Debug, PartialEq, Eq)]
struct Met {
    events: Vec<Event>,
    end: Result<Summary, UnknownWord>,
    /// What stands on the canvas at the end.
    picture: Vec<u8>,
}

/// Reads a text whole, byte by byte and in pieces.
///
/// # Panics
/// If a promise is broken.
pub fn run(bytes: &[u8]) -> Outcome {
    let mut input = Input::new(bytes);
    let choice = usize::from(input.byte());
    let policy = POLICIES[choice % POLICIES.len()];
    let (_, file) = MODELS[TEXT_MODELS[choice / POLICIES.len() % TEXT_MODELS.len()]];
    let cut = usize::from(input.byte());
    let text = input.rest();
    let model = Model::read(file).expect("small models read");
    let mut scratch = vec![Default::default(); model.scratch_len()];
    let canvas = Canvas::new(&model, &mut scratch).expect("the scratch memory is as long as the model says");
    let mut stream = Stream::new(canvas, policy);
    let met = read(&mut stream, [text], true);
    assert_eq!(read(&mut stream, text.chunks(1), false), met, "byte by byte");
    assert_eq!(read(&mut stream, pieces(text, cut), false), met, "in pieces");
    check_events(&met, text, &model, policy);
    let again = canonical(&met.events, &model);
    check_canonical(&read(&mut stream, [again.as_bytes()], false), &met, &again);
    if met.end.is_ok() { Outcome::Drawn } else { Outcome::Refused }
}

/// Pieces of 0 to 15 bytes, whose lengths follow from `seed`.
fn pieces(text: &[u8], seed: usize) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut state) = (text, seed);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        state = (state * 5 + 3) % 256;
        let (piece, behind) = rest.split_at((state / 16).min(rest.len()));
        rest = behind;
        Some(piece)
    })
}

/// Pushes the pieces of a text onto a stream as good as new, and finishes it. With `draw_layers` it draws at the end of
/// each layer, which must leave no trace.
fn read<'t>(stream: &mut Stream<'_, '_>, pieces: impl IntoIterator<Item = &'t [u8]>, draw_layers: bool) -> Met {
    stream.clear();
    let mut events = Vec::new();
    let mut on = |event: Event, canvas: &mut Canvas<'_, '_>| {
        events.push(event);
        if let Event::LayerComplete { layer } = event {
            assert_eq!(canvas.layers_complete(), layer + 1);
            if draw_layers {
                picture(canvas);
            }
        }
    };
    let pushed = pieces.into_iter().try_for_each(|piece| stream.push(piece, &mut on));
    let end = pushed.and_then(|()| stream.finish(&mut on));
    if let Err(error) = end {
        let never = |event: Event, _: &mut Canvas<'_, '_>| panic!("{event:?} after the end");
        assert_eq!(stream.push(b" a a a\n", never), Err(error), "it stays stopped");
        assert_eq!(stream.finish(never), Err(error), "it stays stopped");
    }
    Met { events, end, picture: picture(stream.canvas()) }
}

/// The picture, or nothing where that takes too long.
fn picture(canvas: &mut Canvas<'_, '_>) -> Vec<u8> {
    let work = canvas.model().decoder().multiply_accumulates();
    if work > MAX_MULTIPLY_ACCUMULATES { Vec::new() } else { draw(canvas) }
}

/// Counts, places and offsets.
fn check_events(met: &Met, text: &[u8], model: &Model<'_>, policy: UnknownPolicy) {
    let mut counted = Summary::default();
    let (mut places, mut last_word) = (0, None);
    let mut offsets = BTreeSet::new();
    let pyramid = model.pyramid();
    let mut reported = |offset: u32| {
        assert!((offset as usize) < text.len(), "offset {offset} is inside the text");
        assert!(offsets.insert(offset), "what stands at offset {offset} is reported once");
    };
    // Labels do not come in order: in `big "cat": dog:` the second one starts before the first.
    let mut in_order = |offset: u32| {
        assert!(last_word.is_none_or(|last| last < offset), "offset {offset} comes behind {last_word:?}");
        last_word = Some(offset);
    };
    for (at, event) in met.events.iter().enumerate() {
        match *event {
            Event::Token { id, layer, index } => {
                assert!(id < model.lexicon().len(), "id {id} is a word's");
                assert_eq!(pyramid.locate(places), Some((layer, index)));
                places += 1;
                counted.tokens += 1;
            }
            Event::Hole { layer, index } => {
                assert_eq!(policy, UnknownPolicy::Hole);
                assert!(matches!(met.events[..at].last(), Some(Event::Unknown { .. })), "a hole has a reason");
                assert_eq!(pyramid.locate(places), Some((layer, index)));
                places += 1;
            }
            Event::Unknown { offset } => {
                assert_eq!(counted.surplus, 0, "what is surplus is not unknown");
                reported(offset);
                in_order(offset);
                counted.unknown += 1;
            }
            Event::LayerComplete { layer } => {
                assert_eq!(layer, counted.layers_complete as usize, "layers come in order");
                assert_eq!(pyramid.tokens_before(layer + 1), places);
                counted.layers_complete += 1;
            }
            Event::Label { offset } => reported(offset),
            Event::Surplus { offset } => {
                assert_eq!(places, pyramid.token_count());
                reported(offset);
                in_order(offset);
                counted.surplus += 1;
            }
        }
    }
    assert_eq!(counted.layers_complete as usize, pyramid.layers_complete(places));
    match met.end {
        Ok(summary) => assert_eq!(summary, counted),
        Err(UnknownWord { offset }) => {
            assert_eq!(policy, UnknownPolicy::Error);
            assert_eq!(met.events.last(), Some(&Event::Unknown { offset }));
        }
    }
}

/// What was understood, a line a layer.
fn canonical(events: &[Event], model: &Model<'_>) -> String {
    let mut text = String::new();
    for event in events {
        let (word, layer, index) = match *event {
            Event::Token { id, layer, index } => {
                (model.lexicon().word(id).expect("ids are words").to_string(), layer, index)
            }
            Event::Hole { layer, index } => (STRANGER.to_owned(), layer, index),
            _ => continue,
        };
        let ends = index + 1 == model.pyramid().layers()[layer].area();
        text += &word;
        text.push(if ends { '\n' } else { ' ' });
    }
    text
}

/// Canonical text gives the same words in the same places, and nothing to forgive.
fn check_canonical(again: &Met, first: &Met, text: &str) {
    let places = |met: &Met| -> Vec<Event> {
        let kept =
            |event: &&Event| matches!(event, Event::Token { .. } | Event::Hole { .. } | Event::LayerComplete { .. });
        met.events.iter().filter(kept).copied().collect()
    };
    assert_eq!(places(again), places(first), "as canonical text: {text:?}");
    assert_eq!(again.picture, first.picture, "as canonical text: {text:?}");
    assert!(again.events.iter().all(|event| !matches!(event, Event::Label { .. } | Event::Surplus { .. })));
}
