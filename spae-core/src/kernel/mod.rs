//! The arithmetic of a feature map's rows: slices in, slices out; no files and no geometry.
//!
//! [`float`](mod@float) computes in f32 from binary16 weights, [`integer`] in 32-bit integers from int8 weights and
//! 8-bit activations. Both give the same bits on every processor.

pub mod float;
pub mod integer;

/// What follows a stage's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// Applies it to a row.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    pub fn apply(self, row: &mut [f32]) {
        if self == Self::Relu {
            for value in row {
                // Not-a-number becomes 0 on every processor.
                *value = if *value > 0.0 { *value } else { 0.0 };
            }
        }
    }
}

/// Products of the difference form, in the order of the transformed taps.
pub const UPSAMPLE_PRODUCTS: usize = 9;

/// The transformed taps of a 3×3 kernel behind a nearest ×2 upsampling: `t = T·w·Tᵀ`, `T = [[1,0,0],[1,1,1],[0,0,1]]`.
/// Both row-major; w ↔ t is a bijection.
pub fn transform_taps(w: [f32; 9]) -> [f32; UPSAMPLE_PRODUCTS] {
    let fold = |a: f32, b: f32, c: f32| [a, a + b + c, c];
    let [a, b, c, d, e, f, g, h, i] = w;
    let columns = [fold(a, b, c), fold(d, e, f), fold(g, h, i)];
    let mut t = [0.0; UPSAMPLE_PRODUCTS];
    for q in 0..3 {
        let [top, middle, bottom] = fold(columns[0][q], columns[1][q], columns[2][q]);
        (t[q], t[3 + q], t[6 + q]) = (top, middle, bottom);
    }
    t
}
