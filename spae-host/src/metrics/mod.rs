//! How near pictures are to others, and what their words cost, in figures that others use too.
//!
//! Each measure is one file; [`Mean`] puts images together. PSNR and SSIM compare two pictures of bytes, as a user sees
//! them; [`Lpips`] compares two by a network; [`Reference`] and [`InceptionScore`] are statistics of features, whichever
//! network they come from; [`Usage`] counts words.

mod clip_score;
mod frechet;
#[cfg(test)]
pub(crate) mod golden;
mod inception_score;
mod lpips;
mod psnr;
mod ssim;
mod usage;

pub use clip_score::clip_scores;
pub use frechet::{Moments, Reference};
pub use inception_score::{InceptionScore, Score};
pub use lpips::{Backbone, Lpips};
pub use psnr::{MAX_PSNR, psnr};
pub use ssim::{WINDOW, ssim};
pub use usage::Usage;

/// The mean of a measure over images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    /// Takes in one image's value.
    pub fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// Values taken in.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The mean; `None` of nothing.
    pub fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}
