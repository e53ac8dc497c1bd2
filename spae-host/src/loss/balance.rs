//! The dynamic weight between the two sides of Eq. 9.

use candle_core::{Result, Tensor};

/// w = sg(L_appearance / (L_semantic + ε)), at most `max_ratio`, for each image: `[B]`.
///
/// # Errors
/// If the shapes differ.
pub fn balance(appearance: &Tensor, semantic: &Tensor, epsilon: f64, max_ratio: f64) -> Result<Tensor> {
    (appearance.detach() / (semantic.detach() + epsilon)?)?.clamp(0.0, max_ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::values;
    use candle_core::{Device, Var};

    #[test]
    fn the_ratio_is_clamped_and_passes_no_gradient() {
        let appearance = Var::new(&[1f32, 6.0, 1.0], &Device::Cpu).unwrap();
        let semantic = Var::new(&[2f32, 1.0, 0.0], &Device::Cpu).unwrap();
        let w = balance(&appearance, &semantic, 0.0, 4.0).unwrap();
        assert_eq!(values(&w), [0.5, 4.0, 4.0]);
        let gradients = (w * &semantic.as_tensor().clone()).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&appearance).is_none());
        assert_eq!(values(gradients.get(&semantic).unwrap()), [0.5, 4.0, 4.0]);
    }
}
