//! Pictures as torchvision's ImageNet networks take them.

use anyhow::{Result, ensure};
use candle_core::Tensor;

/// Of ImageNet's red, green and blue in [0, 1].
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// Pictures [B, 3, height, width] in [0, 1] with mean 0 and deviation 1. This is LPIPS's scaling layer too: with pictures
/// in [−1, 1] it has 2·mean − 1 and 2·deviation.
///
/// # Errors
/// If they have other channels, or a side shorter than `least`; `network` is what the error calls the network.
pub(super) fn normalised(images: &Tensor, network: &str, least: usize) -> Result<Tensor> {
    let (_, channels, height, width) = images.dims4()?;
    ensure!(channels == 3, "{network} takes pictures of 3 channels, these have {channels}");
    ensure!(
        height.min(width) >= least,
        "{network} needs pictures of at least {least} × {least} pixels; these have {height} × {width}"
    );
    let values = |values: [f32; 3]| Tensor::new(&values, images.device())?.reshape((1, 3, 1, 1));
    Ok(images.broadcast_sub(&values(MEAN)?)?.broadcast_div(&values(DEVIATION)?)?)
}
