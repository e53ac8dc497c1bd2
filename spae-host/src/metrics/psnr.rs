//! Peak signal-to-noise ratio: `10·log₁₀(255² / MSE)` in decibels, over all pixels and channels of one picture.

use anyhow::{Result, ensure};

use crate::picture::Picture;

/// What identical pictures count as, in decibels: their ratio is infinite and would drown every mean. The least
/// difference that a 256×256 picture can have gives 96 dB.
pub const MAX_PSNR: f64 = 100.0;

/// The ratio of one picture, capped at [`MAX_PSNR`]. Averages are taken of this, not of the errors.
///
/// # Errors
/// If the pictures differ in shape.
pub fn psnr(a: &Picture, b: &Picture) -> Result<f64> {
    same_shape(a, b)?;
    let squares: u64 = a.pixels().iter().zip(b.pixels()).map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum();
    let error = squares as f64 / a.pixels().len() as f64;
    Ok((10.0 * (255.0 * 255.0 / error).log10()).min(MAX_PSNR))
}

pub(super) fn same_shape(a: &Picture, b: &Picture) -> Result<()> {
    let shape = |picture: &Picture| [picture.height(), picture.width(), picture.channels()];
    ensure!(shape(a) == shape(b), "pictures of {:?} and {:?} (rows, columns, channels)", shape(a), shape(b));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(value: u8) -> Picture {
        Picture::new(4, 4, 1, vec![value; 16]).unwrap()
    }

    #[test]
    fn values_by_hand() {
        assert_eq!(psnr(&flat(0), &flat(255)).unwrap(), 0.0);
        // MSE = 25: 10·log₁₀(65025 / 25)
        assert!((psnr(&flat(10), &flat(15)).unwrap() - 34.151_403_521_958_7).abs() < 1e-9);
        assert_eq!(psnr(&flat(9), &flat(9)).unwrap(), MAX_PSNR);
        assert!(psnr(&flat(9), &Picture::new(2, 8, 1, vec![9; 16]).unwrap()).is_err());
    }
}
