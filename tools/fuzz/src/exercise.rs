//! Draws with a model that reads, and holds it to what ARCHITECTURE.md promises: no panic, exact memory, every row, no
//! trace of an earlier picture in a later one.

use spae_core::canvas::Canvas;
use spae_core::error::FormatError;
use spae_core::model::Model;

use crate::Outcome;

/// Most multiply–accumulates of a picture that is drawn; the reader limits them far above. An interpreter takes half a
/// millisecond for one.
pub const MAX_MULTIPLY_ACCUMULATES: usize = if cfg!(miri) { 1000 } else { 1 << 20 };

/// Most elements of scratch memory that are lent.
const MAX_SCRATCH: usize = 1 << 19;

/// Most pixels of a picture that is drawn.
const MAX_PIXELS: usize = 1 << 15;

/// Most words that are looked up, and most places that get one.
const MAX_WORDS: usize = 1024;

/// What lies in memory before it is lent: nothing may depend on it.
pub(crate) const DIRT: u32 = u32::MAX;

/// Reads `file`. If it is a model, asks everything of it and draws with words that `choices` picks.
///
/// # Panics
/// If the model breaks a promise.
pub fn exercise(file: &[u8], choices: &[u8]) -> (Outcome, Option<FormatError>) {
    let model = match Model::read(file) {
        Ok(model) => model,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "{error:?} has a message");
            return (Outcome::Refused, Some(error));
        }
    };
    check_words(&model);
    check_rows(&model);
    if !is_small(&model) {
        return (Outcome::TooMuchWork, None);
    }
    check_drawing(&model, choices);
    (Outcome::Drawn, None)
}

/// Whether drawing takes no longer than a fuzzer waits.
pub(crate) fn is_small(model: &Model<'_>) -> bool {
    let decoder = model.decoder();
    let pixels = decoder.picture_shape().area() * decoder.picture_channels();
    let work = decoder.multiply_accumulates();
    work <= MAX_MULTIPLY_ACCUMULATES && pixels <= MAX_PIXELS && model.scratch_len() <= MAX_SCRATCH
}

/// Every word is found under its own id, and no other word is.
fn check_words(model: &Model<'_>) {
    let lexicon = model.lexicon();
    assert_eq!(lexicon.words().count(), lexicon.len() as usize);
    for (id, word) in (0..).zip(lexicon.words().take(MAX_WORDS)) {
        assert_eq!(lexicon.id(word.as_str().as_bytes()), Some(id));
        assert_eq!(lexicon.word(id).map(|word| word.to_string()), Some(word.to_string()));
    }
    assert!(lexicon.word(lexicon.len()).is_none() && lexicon.word(u32::MAX).is_none());
    assert_eq!(lexicon.id(b""), None, "nothing is no word");
    assert_eq!(lexicon.id(b" "), None, "white space is no word");
}

/// Every row has its elements, and what is no row has none.
fn check_rows(model: &Model<'_>) {
    let codebook = model.codebook();
    let elements = |id: u32| {
        let mut columns = 0;
        codebook.for_each(id, |column, _| {
            assert_eq!(column, columns, "columns come in order");
            columns += 1;
        });
        columns
    };
    assert_eq!(codebook.row_count(), model.lexicon().len());
    for id in [0, codebook.row_count() / 2, codebook.row_count() - 1] {
        assert_eq!(elements(id), codebook.width());
    }
    assert_eq!(elements(codebook.row_count()), 0);
    assert_eq!(elements(u32::MAX), 0);
}

fn check_drawing(model: &Model<'_>, choices: &[u8]) {
    let mut scratch = vec![DIRT; model.scratch_len()];
    if let Some((_, short)) = scratch.split_last_mut() {
        assert!(Canvas::new(model, short).is_err(), "an element less is refused");
        short.fill(DIRT);
    }
    let mut canvas = Canvas::new(model, &mut scratch).expect("the scratch memory is as long as the model says");
    let blank = draw(&mut canvas);
    place_words(&mut canvas, choices);
    let drawn = draw(&mut canvas);
    assert_eq!(draw(&mut canvas), drawn, "drawing leaves no trace");
    canvas.clear();
    assert_eq!(draw(&mut canvas), blank, "a canvas that was cleared is blank");
    let mut other = vec![DIRT; model.scratch_len()];
    let mut other = Canvas::new(model, &mut other).expect("as before");
    place_words(&mut other, choices);
    assert_eq!(draw(&mut other), drawn, "pictures follow from words alone");
}

/// Puts a word at every place but some, and declares the layers complete as they end.
pub(crate) fn place_words(canvas: &mut Canvas<'_, '_>, choices: &[u8]) {
    let model = canvas.model();
    let (pyramid, words) = (model.pyramid(), model.lexicon().len());
    let mut choices = choices.iter().copied().chain([7]).cycle();
    let mut left = MAX_WORDS;
    for (layer, shape) in pyramid.layers().iter().enumerate() {
        for (index, choice) in (0..shape.area().min(left)).zip(&mut choices) {
            // Some places stay uncovered.
            if choice != u8::MAX {
                canvas.place(layer, index, u32::from(choice) * 257 % words);
            }
        }
        left = left.saturating_sub(shape.area());
        canvas.complete(layer);
    }
    // What does not exist changes nothing.
    let layers = pyramid.layers().len();
    canvas.place(layers, 0, 0);
    canvas.place(0, usize::MAX, 0);
    canvas.place(0, 0, words);
    canvas.complete(usize::MAX);
    assert_eq!(canvas.layers_complete(), layers);
}

/// The picture, channel after channel within a row.
///
/// # Panics
/// If a row is missing, comes out of order or has another length than the model says.
pub fn draw(canvas: &mut Canvas<'_, '_>) -> Vec<u8> {
    let (shape, channels) = (canvas.shape(), canvas.model().decoder().picture_channels());
    let mut pixels = Vec::with_capacity(shape.area() * channels);
    let mut rows = 0;
    canvas.rows(|row, values| {
        assert_eq!(row, rows, "rows come in order");
        assert_eq!(values.channels(), channels);
        for channel in 0..channels {
            assert_eq!(values.channel(channel).len(), usize::from(shape.width));
            pixels.extend(values.channel(channel));
        }
        assert_eq!(values.channel(channels).len(), 0, "there are no more channels");
        rows += 1;
    });
    assert_eq!(rows, shape.height, "every row comes");
    pixels
}
