//! Structural similarity (Wang et al., 2004): an 11×11 Gaussian window with σ = 1.5 that stays inside the picture,
//! K₁ = 0.01, K₂ = 0.03, peak 255, moments without Bessel's correction. Channels are measured apart and averaged.
//!
//! `SSIM = (2·μ_a·μ_b + C₁)(2·σ_ab + C₂) / ((μ_a² + μ_b² + C₁)(σ_a² + σ_b² + C₂))`, averaged over all windows.

use anyhow::{Result, ensure};

use super::psnr::same_shape;
use crate::picture::Picture;

/// Rows and columns of the window; the least side of a picture.
pub const WINDOW: usize = 11;

const SIGMA: f64 = 1.5;
const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);

/// The mean similarity of two pictures, 1 for identical ones.
///
/// # Errors
/// If they differ in shape, or a side is shorter than [`WINDOW`].
pub fn ssim(a: &Picture, b: &Picture) -> Result<f64> {
    same_shape(a, b)?;
    let (height, width) = (a.height(), a.width());
    ensure!(
        height.min(width) >= WINDOW,
        "SSIM needs at least {WINDOW}×{WINDOW} pixels; the pictures have {height}×{width}"
    );
    let window = window();
    let mut sum = 0.0;
    for channel in 0..a.channels() {
        let plane = |picture: &Picture| picture.channel(channel).map(f64::from).collect::<Vec<_>>();
        let (a, b) = (plane(a), plane(b));
        let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).collect::<Vec<_>>();
        let [mean_a, mean_b, square_a, square_b, cross] =
            [&a, &b, &product(&a, &a), &product(&b, &b), &product(&a, &b)].map(|map| smooth(map, width, &window));
        let similarity = |i: usize| {
            let (m, n) = (mean_a[i], mean_b[i]);
            let (variances, covariance) = (square_a[i] - m * m + square_b[i] - n * n, cross[i] - m * n);
            (2.0 * m * n + C1) * (2.0 * covariance + C2) / ((m * m + n * n + C1) * (variances + C2))
        };
        sum += (0..mean_a.len()).map(similarity).sum::<f64>() / mean_a.len() as f64;
    }
    Ok(sum / a.channels() as f64)
}

/// The window's factor along one side; its sum is 1.
fn window() -> [f64; WINDOW] {
    let centre = (WINDOW / 2) as f64;
    let weights: [f64; WINDOW] = std::array::from_fn(|i| (-(i as f64 - centre).powi(2) / (2.0 * SIGMA * SIGMA)).exp());
    let total: f64 = weights.iter().sum();
    weights.map(|weight| weight / total)
}

/// Weighted means of all whole windows: [(h − 10) × (w − 10)].
fn smooth(map: &[f64], width: usize, window: &[f64; WINDOW]) -> Vec<f64> {
    let weighted =
        |values: &mut dyn Iterator<Item = f64>| values.zip(window).map(|(value, weight)| value * weight).sum();
    let rows: Vec<Vec<f64>> = map
        .chunks_exact(width)
        .map(|row| row.windows(WINDOW).map(|values| weighted(&mut values.iter().copied())).collect())
        .collect();
    rows.windows(WINDOW)
        .flat_map(|rows| (0..rows[0].len()).map(|x| weighted(&mut rows.iter().map(|row| row[x]))).collect::<Vec<f64>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pictures of the script below.
    fn pair(channels: usize) -> (Picture, Picture) {
        let pixel = |i: usize, k: usize| ((i * i * k + 31 * i) % 251) as u8;
        let a = (0..16 * 13 * channels).map(|i| pixel(i, 7)).collect();
        let b = (0..16 * 13 * channels).map(|i| pixel(i, 7) / 2 + pixel(i, 3) / 4).collect();
        (Picture::new(16, 13, channels, a).unwrap(), Picture::new(16, 13, channels, b).unwrap())
    }

    #[test]
    fn agrees_with_the_definition_in_two_dimensions() {
        // import numpy as np
        // h, w, n = 16, 13, 11
        // i = np.arange(h * w); p = lambda k: (i * i * k + 31 * i) % 251
        // a = p(7).reshape(h, w) * 1.0; b = (p(7) // 2 + p(3) // 4).reshape(h, w) * 1.0
        // g = np.exp(-(np.arange(n) - 5) ** 2 / 4.5); g = np.outer(g, g); g /= g.sum(); s = []
        // for y in range(h - n + 1):
        //     for x in range(w - n + 1):
        //         u, v = a[y:y+n, x:x+n], b[y:y+n, x:x+n]; m, q = (g * u).sum(), (g * v).sum()
        //         su, sv, c = (g * (u - m) ** 2).sum(), (g * (v - q) ** 2).sum(), (g * (u - m) * (v - q)).sum()
        //         s.append((2*m*q + 2.55**2) * (2*c + 7.65**2) / ((m*m + q*q + 2.55**2) * (su + sv + 7.65**2)))
        // print(repr(np.mean(s)))
        let (a, b) = pair(1);
        assert!((ssim(&a, &b).unwrap() - 0.7678661825892609).abs() < 1e-9, "{}", ssim(&a, &b).unwrap());
    }

    #[test]
    fn agrees_with_scikit_image() {
        use super::super::golden::{golden, pixels};
        let expected = golden()["ssim"]["value"].as_f64().unwrap();
        let (a, noise) = (pixels("picture", 3 * 19 * 23), pixels("noise", 3 * 19 * 23));
        let b: Vec<u8> = a.iter().zip(noise).map(|(a, noise)| a / 2 + noise / 4).collect();
        let picture = |planes: &[u8]| Picture::from_planes(19, 23, 3, planes).unwrap();
        let similarity = ssim(&picture(&a), &picture(&b)).unwrap();
        assert!((similarity - expected).abs() < 1e-9, "{similarity}, {expected}");
    }

    #[test]
    fn identical_pictures_have_one_and_flat_ones_the_luminance_term() {
        let (a, _) = pair(3);
        assert!((ssim(&a, &a).unwrap() - 1.0).abs() < 1e-12);
        let flat = |value| Picture::new(11, 12, 1, vec![value; 132]).unwrap();
        let expected = (2.0 * 100.0 * 50.0 + C1) / (100.0 * 100.0 + 50.0 * 50.0 + C1);
        assert!((ssim(&flat(100), &flat(50)).unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn pictures_smaller_than_the_window_are_refused() {
        let small = Picture::new(10, 12, 1, vec![0; 120]).unwrap();
        assert!(ssim(&small, &small).unwrap_err().to_string().contains("11×11"));
    }
}
