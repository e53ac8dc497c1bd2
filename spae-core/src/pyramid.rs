//! Which words sit where: the token pyramid and its dilation subsampler (paper §3.1, Eq. 1).
//!
//! A pyramid has a final grid of `height × width` positions and a list of layers, coarse to fine. Layer `l` has
//! `h_l × w_l` tokens; `h_l` divides the grid's height and `w_l` its width. Row `i` of the layer sits at grid row
//! `r·i + ⌊r/2⌋` with `r = height / h_l`, and columns alike. (The paper's own formula leaves the grid when the
//! ratio is 1; this is the one that stays inside, for every ratio.)
//!
//! This module is geometry alone: it knows no words, no vectors and no files.

use crate::error::PyramidError;

/// The most layers that a pyramid may have. The paper uses 6; its variants with residual quantisation up to 8.
pub const MAX_LAYERS: usize = 12;

/// Longest side of a grid. Keeps every product of sides inside 32 bits.
pub const MAX_SIDE: u16 = 256;

/// Height and width, counted in positions, tokens or pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

impl Shape {
    /// A shape of `height` rows and `width` columns.
    pub const fn new(height: u16, width: u16) -> Self {
        Self { height, width }
    }

    /// Rows × columns.
    pub const fn area(self) -> usize {
        self.height as usize * self.width as usize
    }
}

impl core::fmt::Display for Shape {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}×{}", self.height, self.width)
    }
}

/// A position on the final grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Position {
    /// Row, from the top.
    pub row: u16,
    /// Column, from the left.
    pub column: u16,
}

/// The layers' shapes on their grid; checked once, then every question below has an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pyramid {
    grid: Shape,
    layers: [Shape; MAX_LAYERS],
    layer_count: u8,
}

impl Pyramid {
    /// Checks `layers` against `grid`.
    ///
    /// # Errors
    /// If there is no layer or too many, a side is 0 or beyond [`MAX_SIDE`], a layer does not divide the grid, or a
    /// layer is lower or narrower than the one before it (the paper's `h_l ≤ h_{l+1} ∧ w_l ≤ w_{l+1}`).
    pub fn new(grid: Shape, layers: &[Shape]) -> Result<Self, PyramidError> {
        if layers.is_empty() || layers.len() > MAX_LAYERS {
            return Err(PyramidError::LayerCount { got: layers.len() });
        }
        let side_fits = |side: u16| (1..=MAX_SIDE).contains(&side);
        if !side_fits(grid.height) || !side_fits(grid.width) {
            return Err(PyramidError::GridSide { grid });
        }
        let mut stored = [Shape::new(0, 0); MAX_LAYERS];
        let mut previous = Shape::new(1, 1);
        for (index, (&layer, slot)) in layers.iter().zip(&mut stored).enumerate() {
            let divides = |part: u16, whole: u16| part > 0 && whole.is_multiple_of(part);
            if !divides(layer.height, grid.height) || !divides(layer.width, grid.width) {
                return Err(PyramidError::Divides { index, layer, grid });
            }
            if layer.height < previous.height || layer.width < previous.width {
                return Err(PyramidError::Shrinks { index, layer, previous });
            }
            *slot = layer;
            previous = layer;
        }
        Ok(Self { grid, layers: stored, layer_count: layers.len() as u8 })
    }

    /// The final grid.
    pub const fn grid(&self) -> Shape {
        self.grid
    }

    /// The layers, coarse to fine.
    pub fn layers(&self) -> &[Shape] {
        self.layers.get(..usize::from(self.layer_count)).unwrap_or(&[])
    }

    /// Tokens in all layers.
    pub fn token_count(&self) -> usize {
        self.tokens_before(self.layers().len())
    }

    /// Tokens in the layers before layer `layer`; with `layer` = the number of layers, all of them.
    pub fn tokens_before(&self, layer: usize) -> usize {
        self.layers().iter().take(layer).map(|shape| shape.area()).sum()
    }

    /// The layers that `tokens` tokens complete.
    pub fn layers_complete(&self, tokens: usize) -> usize {
        (0..self.layers().len()).take_while(|&layer| self.tokens_before(layer + 1) <= tokens).count()
    }

    /// Layer and place within the layer (row-major) of token number `token` in reading order, if there is such a token.
    pub fn locate(&self, token: usize) -> Option<(usize, usize)> {
        let layer = self.layers_complete(token);
        (layer < self.layers().len()).then(|| (layer, token - self.tokens_before(layer)))
    }

    /// Where the `index`-th token (row-major) of layer `layer` sits on the grid (Eq. 1).
    pub fn position(&self, layer: usize, index: usize) -> Option<Position> {
        let shape = *self.layers().get(layer)?;
        if index >= shape.area() {
            return None;
        }
        let i = index.checked_div(usize::from(shape.width))?;
        let j = index - i * usize::from(shape.width);
        let (r, s) = self.ratios(shape);
        Some(Position { row: cell_centre(i as u16, r), column: cell_centre(j as u16, s) })
    }

    /// The positions of layer `layer`, row-major (Eq. 1). Empty where there is no such layer.
    pub fn positions(&self, layer: usize) -> impl Iterator<Item = Position> + '_ {
        let area = self.layers().get(layer).map_or(0, |shape| shape.area());
        (0..area).filter_map(move |index| self.position(layer, index))
    }

    /// The position of layer `layer` in whose cell `at` lies: `(⌊y/r_l⌋, ⌊x/r_l⌋)` brought back to the grid. It lends
    /// its value to positions that no token has reached.
    pub fn cell(&self, layer: usize, at: Position) -> Option<Position> {
        let shape = *self.layers().get(layer)?;
        if at.row >= self.grid.height || at.column >= self.grid.width {
            return None;
        }
        let (r, s) = self.ratios(shape);
        Some(Position { row: cell_centre(quotient(at.row, r), r), column: cell_centre(quotient(at.column, s), s) })
    }

    /// Which token (row-major) of layer `layer` sits at `at`, if one does: the inverse of [`position`](Self::position).
    pub fn index(&self, layer: usize, at: Position) -> Option<usize> {
        let shape = *self.layers().get(layer)?;
        let (r, s) = self.ratios(shape);
        let (i, j) = (quotient(at.row, r), quotient(at.column, s));
        let inside = i < shape.height && j < shape.width;
        let sits = inside && cell_centre(i, r) == at.row && cell_centre(j, s) == at.column;
        sits.then(|| usize::from(i) * usize::from(shape.width) + usize::from(j))
    }

    /// Rows and columns of the grid for one of a layer of `shape`.
    fn ratios(&self, shape: Shape) -> (u16, u16) {
        (quotient(self.grid.height, shape.height), quotient(self.grid.width, shape.width))
    }

    /// Row-major number of a position on the grid.
    pub fn flat(&self, at: Position) -> usize {
        usize::from(at.row) * usize::from(self.grid.width) + usize::from(at.column)
    }

    /// How many of the first `layers` layers put a token at `at`: Eq. 3's denominator.
    pub fn tokens_at(&self, layers: usize, at: Position) -> usize {
        (0..layers.min(self.layers().len())).filter(|&layer| self.cell(layer, at) == Some(at)).count()
    }
}

/// A quotient that cannot panic: the divisors here have been checked, but the compiler does not know.
const fn quotient(a: u16, b: u16) -> u16 {
    match a.checked_div(b) {
        Some(quotient) => quotient,
        None => 0,
    }
}

/// `r·i + ⌊r/2⌋`.
const fn cell_centre(i: u16, ratio: u16) -> u16 {
    ratio * i + ratio / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(sides: &[u16]) -> Pyramid {
        let mut layers = [Shape::new(0, 0); MAX_LAYERS];
        for (slot, &side) in layers.iter_mut().zip(sides) {
            *slot = Shape::new(side, side);
        }
        let side = sides[sides.len() - 1];
        Pyramid::new(Shape::new(side, side), &layers[..sides.len()]).unwrap()
    }

    #[test]
    fn paper_pyramid_has_597_tokens_and_its_first_four_layers_are_disjoint() {
        let pyramid = square(&[1, 2, 4, 8, 16, 16]);
        assert_eq!(pyramid.token_count(), 597);
        let mut seen = [0u8; 256];
        for layer in 0..4 {
            for at in pyramid.positions(layer) {
                seen[pyramid.flat(at)] += 1;
            }
        }
        assert_eq!(seen.iter().filter(|&&n| n == 1).count(), 85);
        assert!(seen.iter().all(|&n| n <= 1));
    }

    #[test]
    fn after_six_layers_85_positions_average_three_tokens_and_171_two() {
        let pyramid = square(&[1, 2, 4, 8, 16, 16]);
        let (mut threes, mut twos) = (0, 0);
        for row in 0..16 {
            for column in 0..16 {
                match pyramid.tokens_at(6, Position { row, column }) {
                    3 => threes += 1,
                    2 => twos += 1,
                    n => panic!("{n} tokens at ({row}, {column})"),
                }
            }
        }
        assert_eq!((threes, twos), (85, 171));
    }

    #[test]
    fn ratio_one_stays_on_the_grid_where_the_papers_formula_leaves_it() {
        let pyramid = square(&[4, 4]);
        assert_eq!(pyramid.position(0, 0), Some(Position { row: 0, column: 0 }));
        assert_eq!(pyramid.position(1, 15), Some(Position { row: 3, column: 3 }));
    }

    #[test]
    fn oblong_grids_keep_rows_and_columns_apart() {
        let pyramid = Pyramid::new(Shape::new(4, 8), &[Shape::new(1, 2), Shape::new(4, 8)]).unwrap();
        assert_eq!(pyramid.position(0, 1), Some(Position { row: 2, column: 6 }));
        assert_eq!(pyramid.cell(0, Position { row: 3, column: 3 }), Some(Position { row: 2, column: 2 }));
        assert_eq!(pyramid.cell(0, Position { row: 0, column: 4 }), Some(Position { row: 2, column: 6 }));
    }

    #[test]
    fn every_token_is_located_where_its_layer_starts() {
        let pyramid = square(&[1, 2, 4]);
        assert_eq!(pyramid.locate(0), Some((0, 0)));
        assert_eq!(pyramid.locate(1), Some((1, 0)));
        assert_eq!(pyramid.locate(20), Some((2, 15)));
        assert_eq!(pyramid.locate(21), None);
        assert_eq!([0, 1, 4, 5, 21, 99].map(|n| pyramid.layers_complete(n)), [0, 1, 1, 2, 3, 3]);
    }

    #[test]
    fn bad_shapes_are_refused() {
        let grid = Shape::new(4, 4);
        assert!(matches!(Pyramid::new(grid, &[]), Err(PyramidError::LayerCount { got: 0 })));
        assert!(matches!(Pyramid::new(grid, &[grid; 13]), Err(PyramidError::LayerCount { got: 13 })));
        assert!(matches!(Pyramid::new(Shape::new(0, 4), &[grid]), Err(PyramidError::GridSide { .. })));
        assert!(matches!(Pyramid::new(Shape::new(512, 4), &[grid]), Err(PyramidError::GridSide { .. })));
        assert!(matches!(Pyramid::new(grid, &[Shape::new(3, 4)]), Err(PyramidError::Divides { index: 0, .. })));
        assert!(matches!(Pyramid::new(grid, &[Shape::new(0, 4)]), Err(PyramidError::Divides { .. })));
        let shrinking = [Shape::new(2, 2), Shape::new(1, 4)];
        assert!(matches!(Pyramid::new(grid, &shrinking), Err(PyramidError::Shrinks { index: 1, .. })));
    }
}
