//! What the kernels share: which parts of weights and work a product of a tile reads, checked before any loop that does
//! not check itself; and the pixels around a pixel.

use spae_core::kernel::integer::{Quad, SEGMENTS};

/// A multiplication whose every access lies inside its slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Segments, 1 to [`SEGMENTS`].
    pub(crate) segments: usize,
    /// Quads of a segment, at least 1.
    pub(crate) quads: usize,
}

impl Shape {
    /// The shape of `channels` rows of `weights` over `work`, in which a quad of all columns takes `words` words. `None`
    /// if there is nothing to multiply or a slice is too short.
    pub(crate) fn new(weights: &[Quad], channels: usize, segments: usize, work: &[u32], words: usize) -> Option<Self> {
        let segments = segments.min(SEGMENTS);
        let depth = weights.len().checked_div(channels)?;
        let quads = depth.checked_div(segments)?;
        let inside = quads > 0 && quads * segments == depth && depth <= work.len() / words;
        inside.then_some(Self { segments, quads })
    }
}

/// Whether bytes 0 to `count` − 1 at each of `steps` + 1 places, `pitch` apart, lie in a slice of `length`.
#[inline(always)]
pub(crate) fn reach(length: usize, steps: usize, pitch: usize, count: usize) -> bool {
    pitch.checked_mul(steps).and_then(|last| last.checked_add(count)).is_some_and(|end| end <= length)
}

/// The quads of the nine pixels around column `x` of a tile, row by row. `rows`: each pixel after pixel of `quads` quads.
#[inline(always)]
pub(crate) fn neighbourhood(rows: [&[Quad]; 3], x: usize, quads: usize) -> impl Iterator<Item = [&Quad; 9]> {
    let [[a, b, c], [d, e, f], [g, h, i]] = rows.map(|row| {
        let pixel = |x: usize| row.get(x * quads..).and_then(|pixels| pixels.get(..quads)).unwrap_or(&[]);
        [pixel(x), pixel(x + 1), pixel(x + 2)]
    });
    let above = a.iter().zip(b).zip(c);
    let at = d.iter().zip(e).zip(f);
    let below = g.iter().zip(h).zip(i);
    let nine = above.zip(at).zip(below);
    nine.map(|((((a, b), c), ((d, e), f)), ((g, h), i))| [a, b, c, d, e, f, g, h, i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_a_slice_or_is_nothing_has_no_shape() {
        let weights = [[0; 4]; 36];
        let shape = |weights: &[Quad], channels, segments, work| Shape::new(weights, channels, segments, work, 8);
        assert_eq!(shape(&weights, 2, 9, &[0; 144]), Some(Shape { segments: 9, quads: 2 }));
        assert_eq!(shape(&weights, 1, 9, &[0; 288]), Some(Shape { segments: 9, quads: 4 }));
        assert_eq!(shape(&weights, 2, 9, &[0; 143]), None, "work");
        assert_eq!(shape(&weights[1..], 2, 9, &[0; 144]), None, "weights");
        assert_eq!(shape(&weights, 0, 9, &[0; 144]), None);
        assert_eq!(shape(&weights, 2, 0, &[0; 144]), None);
        assert_eq!(shape(&[], 2, 1, &[0; 144]), None);
    }
}
