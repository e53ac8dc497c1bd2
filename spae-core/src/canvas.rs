//! Tokens in, picture out: the words so far and the decoder over one piece of borrowed memory.

use crate::decoder::{Arithmetic, PixelRow, Values, Weight};
use crate::error::ScratchTooSmall;
use crate::kernel::integer::{Kernel, Portable};
use crate::model::{Model, words_len};
use crate::places::Places;
use crate::pyramid::Shape;
#[cfg(feature = "float")]
use crate::saq::RunningAverage;

/// A picture in the making.
#[derive(Debug)]
pub struct Canvas<'m, 's> {
    model: &'m Model<'m>,
    kernel: &'m dyn Kernel,
    words: Words<'m, 's>,
    layers_complete: usize,
}

/// The words so far and the decoder's memory, as its arithmetic needs them.
#[derive(Debug)]
enum Words<'m, 's> {
    #[cfg(feature = "float")]
    Float {
        average: RunningAverage<'m, 's>,
        scratch: &'s mut [f32],
    },
    Integer {
        places: Places<'m, 's>,
        scratch: &'s mut [u32],
    },
}

impl<'m, 's> Canvas<'m, 's> {
    /// An empty canvas in `scratch`, of which [`Model::scratch_len`] elements are used.
    ///
    /// # Errors
    /// If `scratch` is shorter than that.
    pub fn new(model: &'m Model<'m>, scratch: &'s mut [u32]) -> Result<Self, ScratchTooSmall> {
        Self::with_kernel(model, scratch, &Portable)
    }

    /// As [`new`](Self::new), with a processor's own loops for integer decoders. The picture is the same, bit for bit.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_kernel(
        model: &'m Model<'m>,
        scratch: &'s mut [u32],
        kernel: &'m dyn Kernel,
    ) -> Result<Self, ScratchTooSmall> {
        let too_small = ScratchTooSmall { needed: model.scratch_len(), got: scratch.len() };
        let (pyramid, decoder, words) = (model.pyramid(), model.decoder(), model.lexicon().len());
        let (memory, scratch) = scratch.split_at_mut_checked(words_len(pyramid, words, decoder)).ok_or(too_small)?;
        let scratch = scratch.get_mut(..decoder.scratch_len()).ok_or(too_small)?;
        let words = match decoder.arithmetic() {
            // Such a model is not read.
            #[cfg(not(feature = "float"))]
            Arithmetic::Float => return Err(too_small),
            #[cfg(feature = "float")]
            Arithmetic::Float => {
                let memory = bytemuck::try_cast_slice_mut(memory).map_err(|_| too_small)?;
                let scratch: &mut [f32] = bytemuck::try_cast_slice_mut(scratch).map_err(|_| too_small)?;
                scratch.fill(0.0);
                let width = model.codebook().width();
                Words::Float { average: RunningAverage::new(pyramid, width, memory).ok_or(too_small)?, scratch }
            }
            Arithmetic::Integer => {
                let memory = bytemuck::try_cast_slice_mut(memory).map_err(|_| too_small)?;
                Words::Integer { places: Places::new(pyramid, words, memory).ok_or(too_small)?, scratch }
            }
        };
        Ok(Self { model, kernel, words, layers_complete: 0 })
    }

    /// The model that draws.
    pub const fn model(&self) -> &'m Model<'m> {
        self.model
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        match &mut self.words {
            #[cfg(feature = "float")]
            Words::Float { average, .. } => average.clear(),
            Words::Integer { places, .. } => places.clear(),
        }
        self.layers_complete = 0;
    }

    /// Puts the word `id` at place `index` (row-major) of layer `layer`, once. Words and places that do not exist change
    /// nothing.
    pub fn place(&mut self, layer: usize, index: usize, id: u32) {
        if id >= self.model.lexicon().len() {
            return;
        }
        match &mut self.words {
            #[cfg(feature = "float")]
            Words::Float { average, .. } => {
                if let Some(at) = self.model.pyramid().position(layer, index) {
                    average.add(at, |visit| self.model.codebook().for_each(id, visit));
                }
            }
            Words::Integer { places, .. } => places.put(layer, index, id),
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
        self.rows_from(self.model.decoder().weights(), visit);
    }

    /// As [`rows`](Self::rows), from a copy of the decoder's [weights](crate::decoder::Decoder::weights): widened to f32
    /// once for many pictures, say. The bits are the same. (An integer decoder has its own and leaves these alone.)
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn rows_from<W: Weight>(&mut self, weights: &[W], visit: impl FnMut(u16, PixelRow<'_>)) {
        self.observed(weights, |_, _, _| (), visit);
    }

    /// As [`rows`](Self::rows), and hands out each row of a stage as it is computed: the stage's number, the row's, its
    /// values.
    pub fn rows_observed(&mut self, observe: impl FnMut(usize, u16, Values<'_>), visit: impl FnMut(u16, PixelRow<'_>)) {
        self.observed(self.model.decoder().weights(), observe, visit);
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn observed<W: Weight>(
        &mut self,
        #[cfg_attr(not(feature = "float"), expect(unused_variables, reason = "integers have weights of their own"))]
        weights: &[W],
        observe: impl FnMut(usize, u16, Values<'_>),
        visit: impl FnMut(u16, PixelRow<'_>),
    ) {
        let (decoder, complete) = (self.model.decoder(), self.layers_complete);
        match &mut self.words {
            #[cfg(feature = "float")]
            Words::Float { average, scratch } => {
                decoder.float_rows(weights, average, complete, scratch, observe, visit);
            }
            Words::Integer { places, scratch } => {
                let codebook = self.model.codebook();
                decoder.integer_rows(self.kernel, codebook, places, complete, scratch, observe, visit);
            }
        }
    }
}
