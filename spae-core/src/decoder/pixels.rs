//! Rows of pixels, as they leave the decoder.

use super::stage::Stage;
use crate::kernel::integer::Quad;
#[cfg(feature = "float")]
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
    #[cfg(feature = "float")]
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

    /// One channel's pixels from the left; none of a channel that the picture does not have.
    pub fn channel(&self, channel: usize) -> impl ExactSizeIterator<Item = u8> + use<'a> {
        #[cfg(feature = "float")]
        let (floats, quads): (&[f32], &[Quad]) = match self.values {
            Values::Float(planes) => (planes.chunks_exact((self.width + 2).max(1)).nth(channel).unwrap_or(&[]), &[]),
            Values::Integer(pixels) => (&[], pixels),
        };
        #[cfg(not(feature = "float"))]
        let Values::Integer(quads) = self.values;
        // A grey pixel of integers lies beside three lanes that mean nothing.
        let width = if channel < self.channels { self.width } else { 0 };
        (0..width).map(move |x| {
            #[cfg(feature = "float")]
            if let Some(&value) = floats.get(x + 1) {
                return quant::pixel(value);
            }
            quads.get(x + 1).and_then(|quad| quad.get(channel)).copied().unwrap_or(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pyramid::Shape;

    #[test]
    fn a_channel_that_the_picture_does_not_have_has_no_pixels() {
        let mut stage = Stage { shape: Shape::new(1, 2), ..Stage::EMPTY };
        stage.spec.channels = 1;
        let (quads, floats) = ([[9, 8, 7, 6]; 4], [0.0; 4]);
        for values in [Values::Integer(&quads), Values::Float(&floats)] {
            let row = PixelRow::new(&stage, values);
            assert_eq!([0, 1, 3, 4, usize::MAX].map(|channel| row.channel(channel).len()), [2, 0, 0, 0, 0]);
        }
    }
}
