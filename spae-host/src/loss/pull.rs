//! The projection's share of VQ: the words' vectors, through W, towards the Z that chose them.

use candle_core::{Result, Tensor};

use super::squared_distance;

/// The mean over positions of ‖sg(Z) − Ẑ‖² for the whole pyramid's Ẑ, [P, B, d] each: `[B]`.
///
/// # Errors
/// If the shapes differ.
pub fn pull(z: &Tensor, average: &Tensor) -> Result<Tensor> {
    squared_distance(&z.detach(), average)?.mean(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::values;
    use candle_core::{Device, Var};

    #[test]
    fn the_words_move_and_z_stays() {
        let z = Var::new(&[[[1f32]], [[3.0]]], &Device::Cpu).unwrap();
        let average = Var::new(&[[[0f32]], [[3.0]]], &Device::Cpu).unwrap();
        let loss = pull(&z, &average).unwrap();
        assert_eq!(values(&loss), [0.5]);
        let gradients = loss.backward().unwrap();
        assert_eq!(values(gradients.get(&average).unwrap()), [-1.0, 0.0]);
        assert!(gradients.get(&z).is_none());
    }
}
