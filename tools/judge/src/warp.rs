//! Small changes of a digit that leave it what it is: turned, scaled, slanted and moved a little.

use rand::{Rng, RngExt as _};

/// An affine map about the picture's centre: where in the original each pixel's value comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warp {
    /// [rows from, columns from] × [row, column]
    matrix: [[f32; 2]; 2],
    shift: [f32; 2],
}

impl Warp {
    /// Turned by up to 10°, 0.88 to 1.14 times as large, slanted by up to 0.15, moved by up to 2 pixels.
    pub(crate) fn random(random: &mut impl Rng) -> Self {
        let mut within = |reach: f32| random.random_range(-reach..=reach);
        let (angle, slant) = (within(10.0_f32.to_radians()), within(0.15));
        let scales = [1.0 + within(0.12), 1.0 + within(0.12)];
        let (sine, cosine) = angle.sin_cos();
        let matrix = [
            [cosine * scales[0], sine * scales[1]],
            [(slant * cosine - sine) * scales[0], (slant * sine + cosine) * scales[1]],
        ];
        Self { matrix, shift: [within(2.0), within(2.0)] }
    }

    /// `picture` [side × side] as the map shows it, bilinear, 0 outside.
    pub(crate) fn apply(self, picture: &[u8], side: usize) -> Vec<u8> {
        let centre = (side as f32 - 1.0) / 2.0;
        let at = |row: i32, column: i32| -> f32 {
            match (usize::try_from(row), usize::try_from(column)) {
                (Ok(row), Ok(column)) if row < side && column < side => f32::from(picture[row * side + column]),
                _ => 0.0,
            }
        };
        let mut out = Vec::with_capacity(side * side);
        for row in 0..side {
            for column in 0..side {
                let place = [row as f32 - centre, column as f32 - centre];
                let [from_row, from_column] = [0, 1].map(|axis| {
                    let [along_rows, along_columns] = self.matrix[axis];
                    along_rows * place[0] + along_columns * place[1] + self.shift[axis] + centre
                });
                let (top, left) = (from_row.floor(), from_column.floor());
                let (down, right) = (from_row - top, from_column - left);
                let (top, left) = (top as i32, left as i32);
                let upper = at(top, left) * (1.0 - right) + at(top, left + 1) * right;
                let lower = at(top + 1, left) * (1.0 - right) + at(top + 1, left + 1) * right;
                out.push((upper * (1.0 - down) + lower * down).round() as u8);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: [u8; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

    #[test]
    fn maps_do_what_they_say() {
        let warp = |matrix, shift| Warp { matrix, shift }.apply(&PICTURE, 3);
        assert_eq!(warp([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0]), PICTURE);
        assert_eq!(warp([[1.0, 0.0], [0.0, 1.0]], [0.0, 1.0]), [2, 3, 0, 5, 6, 0, 8, 9, 0], "one column to the left");
        assert_eq!(warp([[0.0, 1.0], [-1.0, 0.0]], [0.0, 0.0]), [3, 6, 9, 2, 5, 8, 1, 4, 7], "a quarter turn");
        assert_eq!(warp([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.0])[..3], [3, 4, 5], "between rows");
    }

    #[test]
    fn random_maps_keep_a_blot_near_the_centre() {
        let mut picture = vec![0; 32 * 32];
        picture[15 * 32 + 15] = 255;
        let mut random = spae_host::random::generator(1, "warp", [0; 2]);
        for _ in 0..100 {
            let out = Warp::random(&mut random).apply(&picture, 32);
            let (brightest, _) = out.iter().enumerate().max_by_key(|(_, value)| **value).unwrap();
            assert!((brightest / 32).abs_diff(15) <= 3 && (brightest % 32).abs_diff(15) <= 3);
        }
    }
}
