//! Tensor operations with gradients that training spends its time in.
//!
//! Candle's own CPU convolutions run at a tenth of what the processor can do; these run near it, inside candle's
//! autograd. Everything here is f32 on the CPU; other tensors take candle's own operations. Results are bit-identical
//! for any number of threads.

mod contract;
mod conv2d;
mod simd;
mod storage;

pub use conv2d::conv2d;
