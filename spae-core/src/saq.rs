//! Streaming Average Quantization (paper §3.1, Eqs. 2 and 3): the reference for every other implementation.
//!
//! * Quantising: at a position that holds `n` tokens, `z_l = (n+1)·z − Σ e(k_i)`; the token is the nearest row by
//!   squared distance, ties to the lowest id.
//! * Running average: `ẑ ← ẑ + (e(k) − ẑ)/(n+1)`. (The paper's streaming line leaves out `−ẑ`.)
//! * A prefix decodes: a position that no token has reached takes the value of the cell of the finest complete layer
//!   that it lies in. The paper leaves 0/0 there.
//!
//! Knows vectors and positions; knows no words and no files.

use crate::pyramid::{Position, Pyramid};

/// Row of `codebook` [V × width] nearest to `z` (width) by squared distance; ties to the lowest id.
pub fn nearest(codebook: &[f32], z: &[f32]) -> u32 {
    let mut best = (f32::INFINITY, 0);
    for (id, row) in codebook.chunks_exact(z.len().max(1)).enumerate() {
        let distance = row.iter().zip(z).map(|(e, z)| (e - z) * (e - z)).sum();
        if distance < best.0 {
            best = (distance, id as u32);
        }
    }
    best.1
}

/// Scratch elements that [`quantise`] needs: Σ e(k) and n at every position, and one z_l.
pub const fn quantise_len(pyramid: &Pyramid, width: usize) -> usize {
    average_len(pyramid, width) + width
}

/// Quantises `z` [h × w × width] with `codebook` [V × width] (Eq. 2) and hands out the ids in reading order. `None`,
/// and no id, if `z` is not of that length or `scratch` shorter than [`quantise_len`].
pub fn quantise(
    pyramid: &Pyramid,
    width: usize,
    codebook: &[f32],
    z: &[f32],
    scratch: &mut [f32],
    mut token: impl FnMut(u32),
) -> Option<()> {
    let area = pyramid.grid().area();
    let scratch = scratch.get_mut(..quantise_len(pyramid, width))?;
    scratch.fill(0.0);
    let (sums, rest) = scratch.split_at_mut_checked(area * width)?;
    let (counts, z_l) = rest.split_at_mut_checked(area)?;
    if width == 0 || z.len() != sums.len() {
        return None;
    }
    for layer in 0..pyramid.layers().len() {
        for at in pyramid.positions(layer).map(|at| pyramid.flat(at)) {
            let range = at * width..(at + 1) * width;
            let (z, sum, count) = (z.get(range.clone())?, sums.get_mut(range)?, counts.get_mut(at)?);
            for ((z_l, z), sum) in z_l.iter_mut().zip(z).zip(&*sum) {
                *z_l = (*count + 1.0) * z - sum;
            }
            let id = nearest(codebook, z_l);
            for (sum, e) in sum.iter_mut().zip(codebook.chunks_exact(width).nth(id as usize)?) {
                *sum += e;
            }
            *count += 1.0;
            token(id);
        }
    }
    Some(())
}

/// Scratch elements that a [`RunningAverage`] needs: `h·w·(width + 1)`.
pub const fn average_len(pyramid: &Pyramid, width: usize) -> usize {
    pyramid.grid().area() * (width + 1)
}

/// Ẑ while tokens arrive (Eq. 3), in memory that the caller lends.
#[derive(Debug)]
pub struct RunningAverage<'p, 's> {
    pyramid: &'p Pyramid,
    width: usize,
    /// ẑ, [h × w × width].
    means: &'s mut [f32],
    /// Tokens so far, [h × w].
    counts: &'s mut [f32],
}

impl<'p, 's> RunningAverage<'p, 's> {
    /// An average of no tokens in `scratch`, of which [`average_len`] elements are used; `None` if it has fewer.
    pub fn new(pyramid: &'p Pyramid, width: usize, scratch: &'s mut [f32]) -> Option<Self> {
        let scratch = scratch.get_mut(..average_len(pyramid, width))?;
        scratch.fill(0.0);
        let (means, counts) = scratch.split_at_mut_checked(pyramid.grid().area() * width)?;
        Some(Self { pyramid, width, means, counts })
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.means.fill(0.0);
        self.counts.fill(0.0);
    }

    /// The pyramid whose grid is averaged over.
    pub fn pyramid(&self) -> &'p Pyramid {
        self.pyramid
    }

    /// Takes in one token's row at `at`; `row(visit)` must call `visit(column, value)` for every column.
    pub fn add(&mut self, at: Position, row: impl FnOnce(&mut dyn FnMut(usize, f32))) {
        let at = self.pyramid.flat(at);
        let range = at * self.width..(at + 1) * self.width;
        let (Some(mean), Some(count)) = (self.means.get_mut(range), self.counts.get_mut(at)) else {
            return;
        };
        *count += 1.0;
        row(&mut |column, e| {
            if let Some(mean) = mean.get_mut(column) {
                *mean += (e - *mean) / *count;
            }
        });
    }

    /// ẑ at `at` when `complete` layers have arrived: its own average, or that of the finest complete layer's cell
    /// that holds a token; `None` where there is none.
    pub fn value(&self, at: Position, complete: usize) -> Option<&[f32]> {
        let own = core::iter::once(at);
        let cells = (0..complete).rev().filter_map(|layer| self.pyramid.cell(layer, at));
        let source = own.chain(cells).map(|at| self.pyramid.flat(at)).find(|&at| self.counts.get(at) > Some(&0.0))?;
        self.means.get(source * self.width..(source + 1) * self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pyramid::Shape;

    #[test]
    fn ties_go_to_the_lowest_id() {
        assert_eq!(nearest(&[1.0, 0.0, -1.0, 0.0, 1.0, 0.0], &[0.0, 5.0]), 0);
    }

    #[test]
    fn the_average_of_all_tokens_is_the_plain_mean() {
        let pyramid = Pyramid::new(Shape::new(1, 1), &[Shape::new(1, 1); 3]).unwrap();
        let mut scratch = [0.0; 3];
        let mut average = RunningAverage::new(&pyramid, 2, &mut scratch).unwrap();
        let at = Position { row: 0, column: 0 };
        for row in [[1.0, 4.0], [2.0, 5.0], [6.0, 0.0]] {
            average.add(at, |visit| row.iter().enumerate().for_each(|(column, &value)| visit(column, value)));
        }
        assert_eq!(average.value(at, 3), Some(&[3.0, 3.0][..]));
    }

    #[test]
    fn an_uncovered_position_takes_its_cell_and_a_hole_takes_the_coarser_one() {
        let pyramid = Pyramid::new(Shape::new(4, 4), &[Shape::new(1, 1), Shape::new(2, 2)]).unwrap();
        let mut scratch = [0.0; 32];
        let mut average = RunningAverage::new(&pyramid, 1, &mut scratch).unwrap();
        let corner = Position { row: 0, column: 0 };
        assert_eq!(average.value(corner, 0), None);
        average.add(pyramid.position(0, 0).unwrap(), |visit| visit(0, 7.0));
        assert_eq!(average.value(corner, 0), None, "layer 1 has not been declared complete");
        assert_eq!(average.value(corner, 1), Some(&[7.0][..]));
        for index in 1..4 {
            average.add(pyramid.position(1, index).unwrap(), |visit| visit(0, index as f32));
        }
        assert_eq!(average.value(corner, 2), Some(&[7.0][..]), "token 0 of layer 2 is a hole");
        assert_eq!(average.value(Position { row: 0, column: 2 }, 2), Some(&[1.0][..]));
        assert_eq!(average.value(Position { row: 3, column: 3 }, 2), Some(&[3.0][..]), "its own token");
    }

    #[test]
    fn scratch_that_is_too_short_is_refused() {
        let pyramid = Pyramid::new(Shape::new(2, 2), &[Shape::new(2, 2)]).unwrap();
        assert!(RunningAverage::new(&pyramid, 3, &mut [0.0; 15]).is_none());
    }
}
