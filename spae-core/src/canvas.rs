//! Tokens in, picture out: the running average and the decoder over one piece of borrowed memory.

use crate::decoder::{PixelRow, Weight};
use crate::error::ScratchTooSmall;
use crate::model::Model;
use crate::pyramid::Shape;
use crate::saq::{RunningAverage, average_len};

/// A picture in the making.
#[derive(Debug)]
pub struct Canvas<'m, 's> {
    model: &'m Model<'m>,
    average: RunningAverage<'m, 's>,
    decoder_scratch: &'s mut [f32],
    layers_complete: usize,
}

impl<'m, 's> Canvas<'m, 's> {
    /// An empty canvas in `scratch`, of which [`Model::scratch_len`] elements are used.
    ///
    /// # Errors
    /// If `scratch` is shorter than that.
    pub fn new(model: &'m Model<'m>, scratch: &'s mut [f32]) -> Result<Self, ScratchTooSmall> {
        let too_small = ScratchTooSmall { needed: model.scratch_len(), got: scratch.len() };
        let width = model.codebook().width();
        let (average, decoder_scratch) =
            scratch.split_at_mut_checked(average_len(model.pyramid(), width)).ok_or(too_small)?;
        let decoder_scratch = decoder_scratch.get_mut(..model.decoder().scratch_len()).ok_or(too_small)?;
        decoder_scratch.fill(0.0);
        let average = RunningAverage::new(model.pyramid(), width, average).ok_or(too_small)?;
        Ok(Self { model, average, decoder_scratch, layers_complete: 0 })
    }

    /// The model that draws.
    pub const fn model(&self) -> &'m Model<'m> {
        self.model
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.average.clear();
        self.layers_complete = 0;
    }

    /// Puts the word `id` at place `index` (row-major) of layer `layer`. Words and places that do not exist change
    /// nothing.
    pub fn place(&mut self, layer: usize, index: usize, id: u32) {
        if let Some(at) = self.model.pyramid().position(layer, index)
            && id < self.model.lexicon().len()
        {
            self.average.add(at, |visit| self.model.codebook().for_each(id, visit));
        }
    }

    /// Declares layer `layer` and those before it complete: from now on its cells lend their values to positions that
    /// no token has reached.
    pub fn complete(&mut self, layer: usize) {
        self.layers_complete =
            self.layers_complete.max(layer.saturating_add(1)).min(self.model.pyramid().layers().len());
    }

    /// Layers that have been declared complete.
    pub const fn layers_complete(&self) -> usize {
        self.layers_complete
    }

    /// Rows and columns of the picture.
    pub fn shape(&self) -> Shape {
        self.model.decoder().picture_shape()
    }

    /// Draws the picture as the tokens so far have it, row by row from the top.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn rows(&mut self, visit: impl FnMut(u16, PixelRow<'_>)) {
        self.model.decoder().rows(&self.average, self.layers_complete, self.decoder_scratch, visit);
    }

    /// As [`rows`](Self::rows), from a copy of the decoder's [weights](crate::decoder::Decoder::weights): widened to f32
    /// once for many pictures, say. The bits are the same.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn rows_from<W: Weight>(&mut self, weights: &[W], visit: impl FnMut(u16, PixelRow<'_>)) {
        self.model.decoder().rows_from(weights, &self.average, self.layers_complete, self.decoder_scratch, visit);
    }
}
