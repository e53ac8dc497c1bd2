//! How near one picture is to another, in figures that others use too. Pictures are bytes, as a user sees them.
//!
//! Each measure is one file; [`Mean`] puts images together. Knows pixels alone.

mod psnr;
mod ssim;

pub use psnr::{MAX_PSNR, psnr};
pub use ssim::{WINDOW, ssim};

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
