//! Frozen networks that others have trained, read from files: what classifies, what lends its features to a
//! loss, what judges.
//!
//! Pictures come as RGB in [0, 1]; whatever else a network wants of its input it does itself. Weights are outside any
//! graph: gradients reach the pictures alone. Knows tensors and operations; no training and no configuration.

mod alexnet;
mod classifier;
mod clip;
mod clip_tokenizer;
mod conv_relu;
mod convolution;
mod frozen;
#[cfg(test)]
pub(crate) mod golden;
mod imagenet;
mod inception;
mod input;
mod resize;
mod resnet;
mod sampling;
mod squeezenet;
mod torch_file;
mod vgg;

pub use alexnet::AlexNet;
pub use classifier::{Classifier, Design};
pub use clip::Clip;
pub use clip_tokenizer::ClipTokenizer;
pub use frozen::Frozen;
pub use inception::{Inception, Recipe};
pub use input::to_network;
pub use resize::{Filter, resize};
pub use resnet::ResNet;
pub use squeezenet::SqueezeNet;
pub use vgg::Vgg16;

use anyhow::Result;
use candle_core::Tensor;

/// A network with something to compare pictures by.
pub trait Features: std::fmt::Debug {
    /// The features of pictures [B, channels, height, width] in [0, 1], coarse ones last: maps [B, channels, height′, width′], or
    /// rows [B, values] such as logits. Gradients reach the pictures.
    ///
    /// # Errors
    /// If the pictures have another shape than the network takes.
    fn features(&self, images: &Tensor) -> Result<Vec<Tensor>>;

    /// Channels of the pictures that it takes.
    fn channels(&self) -> usize {
        3
    }
}
