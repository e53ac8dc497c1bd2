//! Pictures to Z: convolutions that halve the sides, residual blocks, and a look at the whole image.

use anyhow::Result;
use candle_core::Tensor;
use spae_core::pyramid::Shape;

use super::layers::{Conv, Linear, NormResidual, NormSilu, Scope, unit_last};
use super::weights::Initial;
use super::whitening;
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
    Context(Context),
}

/// x + a vector made from the whole image, a different share of it at each position if it has a gate.
#[derive(Debug)]
struct Context {
    branch: Vec<Block>,
    mix: Linear,
    gate: Option<Gate>,
}

/// Both [C, h, w].
#[derive(Debug)]
struct Gate {
    scale: Tensor,
    bias: Tensor,
}

impl Encoder {
    pub(super) fn new(
        config: &config::Encoder,
        grid: Shape,
        picture_channels: usize,
        width: usize,
        scope: &mut Scope<'_>,
    ) -> Result<Self> {
        let mut channels = picture_channels;
        let mut blocks = Vec::with_capacity(config.blocks.len());
        for (index, block) in config.blocks.iter().enumerate() {
            let mut scope = scope.at(format!("blocks.{index}"));
            blocks.push(match block {
                &EncoderBlock::Stem { channels: outputs } => {
                    let conv = Conv::new(channels, outputs, 3, &mut scope)?;
                    channels = outputs;
                    Block::Stem(conv)
                }
                &EncoderBlock::Down { channels: outputs } => {
                    let conv = Conv::down(channels, outputs, &mut scope)?;
                    channels = outputs;
                    Block::Down(conv)
                }
                EncoderBlock::Residual {} => {
                    Block::Residual(NormResidual::new(channels, channels, config.groups, &mut scope)?)
                }
                EncoderBlock::Context { branch, gate } => {
                    let gate = gate.then_some(grid);
                    Block::Context(Context::new(channels, branch, gate, config.groups, &mut scope)?)
                }
            });
        }
        let norm = NormSilu::new(channels, config.groups, &mut scope.at("last_norm"))?;
        let last = Conv::new(channels, width, 1, &mut scope.at("last"))?;
        Ok(Self { blocks, norm, last })
    }

    /// [B, channels, height, width] to [P, B, d].
    pub(super) fn forward(&self, images: &Tensor) -> Result<Tensor> {
        unit_last(&self.before_unit_length(images)?)
    }

    /// The last layer's weight and bias, changed so that it starts out whitening what it gives for `images`.
    pub(super) fn whitened(&self, images: &Tensor) -> Result<(Tensor, Tensor)> {
        let outputs = self.before_unit_length(images)?.detach().flatten_to(1)?;
        let (weight, bias) = self.last.parts();
        whitening::whitened(weight, bias, &outputs)
    }

    fn before_unit_length(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = images.clone();
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let z = self.last.forward(&self.norm.forward(&x)?)?;
        let (images, width, ..) = z.dims4()?;
        Ok(z.permute((2, 3, 0, 1))?.reshape(((), images, width))?)
    }
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Stem(conv) => Ok(ops::silu(&conv.forward(x)?)?),
            Self::Down(conv) => conv.forward(x),
            Self::Residual(residual) => residual.forward(x),
            Self::Context(context) => context.forward(x),
        }
    }
}

impl Context {
    fn new(
        channels: usize,
        branch: &[usize],
        gate: Option<Shape>,
        groups: usize,
        scope: &mut Scope<'_>,
    ) -> Result<Self> {
        let mut inputs = channels;
        let mut blocks = Vec::with_capacity(2 * branch.len());
        for (index, &outputs) in branch.iter().enumerate() {
            let mut scope = scope.at(format!("branch.{index}"));
            blocks.push(Block::Down(Conv::down(inputs, outputs, &mut scope.at("down"))?));
            blocks.push(Block::Residual(NormResidual::new(outputs, outputs, groups, &mut scope.at("residual"))?));
            inputs = outputs;
        }
        let mix = Linear::new(inputs * CONTEXT_SIDE * CONTEXT_SIDE, channels, scope)?;
        let gate = match gate {
            Some(grid) => {
                let sides = [channels, grid.height.into(), grid.width.into()];
                Some(Gate {
                    scale: scope.take("gate.scale", &sides, Initial::Constant(1.0))?,
                    bias: scope.take("gate.bias", &sides, Initial::Constant(0.0))?,
                })
            }
            None => None,
        };
        Ok(Self { branch: blocks, mix, gate })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut inner = x.clone();
        for block in &self.branch {
            inner = block.forward(&inner)?;
        }
        let (images, channels, height, width) = inner.dims4()?;
        let side = CONTEXT_SIDE;
        let cells = inner
            .reshape((images, channels, side, height / side, side, width / side))?
            .mean((3, 5))?
            .reshape((images, ()))?;
        let vector = self.mix.forward(&cells)?.reshape((images, (), 1, 1))?;
        Ok(match &self.gate {
            Some(gate) => {
                (x + vector.broadcast_mul(&gate.scale.unsqueeze(0)?)?)?.broadcast_add(&gate.bias.unsqueeze(0)?)?
            }
            None => x.broadcast_add(&vector)?,
        })
    }
}
