//! Rows of pixels, as they leave the decoder.

use super::stage::Stage;
use crate::kernel::integer::Quad;
use crate::quant;

/// One row of a picture, as it leaves the decoder.
#[derive(Clone, Copy, Debug)]
pub struct PixelRow<'a> {
    values: Values<'a>,
    width: usize,
    channels: usize,
}

/// A stage's output row, padding included.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// Planes: [channels × (width + 2)].
    Float(&'a [f32]),
    /// Pixels: [(width + 2) × quads].
    Integer(&'a [Quad]),
}

impl<'a> PixelRow<'a> {
    pub(super) fn new(stage: &Stage, values: Values<'a>) -> Self {
        Self { values, width: stage.shape.width.into(), channels: stage.spec.channels.into() }
    }

    /// 1 for grey, 3 for red, green, blue.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// One channel's pixels from the left.
    pub fn channel(&self, channel: usize) -> impl ExactSizeIterator<Item = u8> + use<'a> {
        let (floats, quads): (&[f32], &[Quad]) = match self.values {
            Values::Float(planes) => (planes.chunks_exact((self.width + 2).max(1)).nth(channel).unwrap_or(&[]), &[]),
            Values::Integer(pixels) => (&[], pixels),
        };
        (0..self.width).map(move |x| match floats.get(x + 1) {
            Some(&value) => quant::pixel(value),
            None => quads.get(x + 1).and_then(|quad| quad.get(channel)).copied().unwrap_or(0),
        })
    }
}
