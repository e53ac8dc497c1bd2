//! Text in, picture out: the push parser for token text and the [`Stream`] that draws while words arrive.
//!
//! The canonical text is layer after layer, row-major, one space between words, one newline after a layer. What
//! language models make of it is part of the job: [`Reader`] says what it forgives.

mod reader;
mod splitter;

pub use reader::{Event, Reader, Summary, UnknownPolicy};

use crate::canvas::Canvas;
use crate::error::UnknownWord;

/// A reader that puts each word on a canvas.
#[derive(Debug)]
pub struct Stream<'m, 's> {
    reader: Reader<'m>,
    canvas: Canvas<'m, 's>,
}

impl<'m, 's> Stream<'m, 's> {
    /// A stream onto an empty canvas.
    pub fn new(canvas: Canvas<'m, 's>, policy: UnknownPolicy) -> Self {
        let model = canvas.model();
        Self { reader: Reader::new(model.lexicon(), model.pyramid(), policy), canvas }
    }

    /// Takes in bytes as they come, one or many. `on` hears of everything that was met, in order, after the canvas has
    /// changed accordingly: at [`Event::LayerComplete`] it can draw just that many layers.
    ///
    /// # Errors
    /// At an unknown word under [`UnknownPolicy::Error`]. The reader takes nothing in from then on.
    pub fn push(&mut self, bytes: &[u8], mut on: impl FnMut(Event, &mut Canvas<'m, 's>)) -> Result<(), UnknownWord> {
        let canvas = &mut self.canvas;
        self.reader.push(bytes, |event| {
            apply(event, canvas);
            on(event, canvas);
        })
    }

    /// Ends the text: a word or line that was still open counts.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self, mut on: impl FnMut(Event, &mut Canvas<'m, 's>)) -> Result<Summary, UnknownWord> {
        let canvas = &mut self.canvas;
        self.reader.finish(|event| {
            apply(event, canvas);
            on(event, canvas);
        })
    }

    /// Forgets text and picture, ready for the next text.
    pub fn clear(&mut self) {
        self.reader.clear();
        self.canvas.clear();
    }

    /// What has been met so far.
    pub const fn summary(&self) -> Summary {
        self.reader.summary()
    }

    /// The canvas, for drawing.
    pub const fn canvas(&mut self) -> &mut Canvas<'m, 's> {
        &mut self.canvas
    }
}

fn apply(event: Event, canvas: &mut Canvas<'_, '_>) {
    match event {
        Event::Token { id, layer, index } => canvas.place(layer, index, id),
        Event::LayerComplete { layer } => canvas.complete(layer),
        Event::Unknown { .. } | Event::Hole { .. } | Event::Label { .. } | Event::Surplus { .. } => {}
    }
}
