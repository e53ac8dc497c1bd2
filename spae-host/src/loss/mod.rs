//! What training minimises, one term a file; every term is one value for each image, `[B]`.
//!
//! L = E_I [L_appearance + α·w·L_semantic] (Eq. 9) with L_appearance = reconstruction + β·commitment + λ·perceptual +
//! pull. Knows tensors and their shapes, and of frozen networks that they have features; no optimiser.

mod balance;
mod commitment;
mod perceptual;
mod pull;
mod reconstruction;
mod semantic;

pub use balance::balance;
pub use commitment::commitment;
pub use perceptual::{Comparison, Perceptual};
pub use pull::pull;
pub use reconstruction::reconstruction;
pub use semantic::semantic;

use candle_core::{Result, Tensor};

/// ‖a − b‖² along the last dimension of [P, B, d]: [P, B].
fn squared_distance(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    (a - b)?.sqr()?.sum(2)
}

#[cfg(test)]
fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}
