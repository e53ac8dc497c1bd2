//! Picture against picture: the first term of Eq. 8, or its logarithm.

use candle_core::{Result, Tensor};

use crate::config::Reconstruction;

/// `decoded` against `images`, both [B, channels, height, width] in [−1, 1]: `[B]`.
///
/// `mse` is the mean squared error of an image; `log` is `scale · ln(1 + mse / floor)`, which never gets negative.
///
/// # Errors
/// If the shapes differ.
pub fn reconstruction(decoded: &Tensor, images: &Tensor, kind: Reconstruction) -> Result<Tensor> {
    let error = (decoded - images)?.sqr()?.flatten_from(1)?.mean(1)?;
    match kind {
        Reconstruction::Mse {} => Ok(error),
        Reconstruction::Log { scale, floor } => ((error / floor)? + 1.0)?.log()? * scale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::values;
    use candle_core::Device;

    #[test]
    fn each_image_counts_by_itself() {
        let images = Tensor::new(&[[[[0f32, 0.0]]], [[[1.0, -1.0]]]], &Device::Cpu).unwrap();
        let decoded = Tensor::new(&[[[[0f32, 0.0]]], [[[0.0, 0.0]]]], &Device::Cpu).unwrap();
        assert_eq!(values(&reconstruction(&decoded, &images, Reconstruction::Mse {}).unwrap()), [0.0, 1.0]);
        let log = Reconstruction::Log { scale: 0.5, floor: 0.25 };
        let got = values(&reconstruction(&decoded, &images, log).unwrap());
        assert!(got[0] == 0.0 && (got[1] - 0.5 * 5f32.ln()).abs() < 1e-6, "{got:?}");
    }
}
