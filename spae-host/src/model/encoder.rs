//! Pictures to Z: convolutions that halve the sides, residual blocks, and a look at the whole image.

use anyhow::Result;
use candle_core::Tensor;

use super::layers::{Conv, Linear, NormResidual, NormSilu, Scope, unit_last};
use crate::config::{self, EncoderBlock};
use crate::ops;

/// Cells a side that the context block averages the feature map into.
const CONTEXT_SIDE: usize = 4;

/// The encoder: blocks, then group norm, SiLU, 1×1 convolution and unit length.
#[derive(Debug)]
pub struct Encoder {
    blocks: Vec<Block>,
    norm: NormSilu,
    last: Conv,
}

#[derive(Debug)]
enum Block {
    Stem(Conv),
    Down(Conv),
    Residual(NormResidual),
    Context(Linear),
}

impl Encoder {
    pub(super) fn new(
        config: &config::Encoder,
        picture_channels: usize,
        width: usize,
        scope: &mut Scope<'_>,
    ) -> Result<Self> {
        let mut channels = picture_channels;
        let mut blocks = Vec::with_capacity(config.blocks.len());
        for (index, block) in config.blocks.iter().enumerate() {
            let mut scope = scope.at(format!("blocks.{index}"));
            blocks.push(match *block {
                EncoderBlock::Stem { channels: outputs } => {
                    let conv = Conv::new(channels, outputs, 3, &mut scope)?;
                    channels = outputs;
                    Block::Stem(conv)
                }
                EncoderBlock::Down { channels: outputs } => {
                    let conv = Conv::down(channels, outputs, &mut scope)?;
                    channels = outputs;
                    Block::Down(conv)
                }
                EncoderBlock::Residual {} => {
                    Block::Residual(NormResidual::new(channels, channels, config.groups, &mut scope)?)
                }
                EncoderBlock::Context {} => {
                    Block::Context(Linear::new(channels * CONTEXT_SIDE * CONTEXT_SIDE, channels, &mut scope)?)
                }
            });
        }
        let norm = NormSilu::new(channels, config.groups, &mut scope.at("last_norm"))?;
        let last = Conv::new(channels, width, 1, &mut scope.at("last"))?;
        Ok(Self { blocks, norm, last })
    }

    /// [B, channels, height, width] to [P, B, d].
    pub(super) fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = images.clone();
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let z = self.last.forward(&self.norm.forward(&x)?)?;
        let (images, width, ..) = z.dims4()?;
        unit_last(&z.permute((2, 3, 0, 1))?.reshape(((), images, width))?)
    }
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Stem(conv) => Ok(ops::silu(&conv.forward(x)?)?),
            Self::Down(conv) => conv.forward(x),
            Self::Residual(residual) => residual.forward(x),
            Self::Context(linear) => {
                let (images, channels, height, width) = x.dims4()?;
                let side = CONTEXT_SIDE;
                let cells = x
                    .reshape((images, channels, side, height / side, side, width / side))?
                    .mean((3, 5))?
                    .reshape((images, ()))?;
                let context = linear.forward(&cells)?.reshape((images, channels, 1, 1))?;
                Ok(x.broadcast_add(&context)?)
            }
        }
    }
}
