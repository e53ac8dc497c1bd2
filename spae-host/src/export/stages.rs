//! The decoder as the device runs it: a configuration's blocks and a checkpoint's tensors as stages and weights.
//!
//! This is the one place that maps the names of tensors to sections of the model file.

use anyhow::{Context as _, Result, ensure};
use spae_core::decoder::{Operation, StageSpec};
use spae_core::kernel::{self, Activation as CoreActivation};
use spae_core::pyramid::Shape;

use crate::config::{Activation, Config, DecoderBlock, QuantizerKind};
use crate::tensor_file::Tensors;

/// Stages and their weights in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Stages {
    pub specs: Vec<StageSpec>,
    /// For stage 0 the grid bias [h × w × channels]; for each other one its biases, then its taps.
    pub weights: Vec<f32>,
}

/// The first 1×1 layer: `weight` [outputs × inputs], `bias` [outputs].
#[derive(Debug)]
pub(super) struct First {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// The first layer, which goes into the codebook, and everything behind it.
pub(super) fn stages(config: &Config, grid: Shape, tensors: &Tensors, origin: &str) -> Result<(First, Stages)> {
    let take = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
        let name = format!("decoder.{name}");
        let tensor = tensors.get(&name).with_context(|| format!("{origin} has no tensor `{name}`"))?;
        ensure!(tensor.dims() == shape, "{origin}: `{name}` is {:?}, not {shape:?}", tensor.dims());
        Ok(tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?)
    };
    ensure!(
        config.decoder.groups.is_none(),
        "decoder.groups: group norm needs the whole feature map, which no device has memory for; train a decoder \
         without it for export"
    );
    ensure!(
        config.quantizer.kind == QuantizerKind::Saq || config.pyramid.len() == 1,
        "quantizer.kind: a device averages the words of a position and has no sums of residuals; train with \"saq\" for \
         export"
    );
    let mut channels = config.decoder.input;
    let first = First {
        weight: take("first.weight", &[channels, config.codebook.width])?,
        bias: take("first.bias", &[channels])?,
    };
    let mut stages = Stages::default();
    let (height, width) = (usize::from(grid.height), usize::from(grid.width));
    stages.input(&take("grid_bias", &[channels, height, width])?, &first.bias);
    let convolve = |stages: &mut Stages, name: &str, operation, activation, residual, outputs, inputs| {
        let weight = take(&format!("{name}.weight"), &[outputs, inputs, 3, 3])?;
        let bias = take(&format!("{name}.bias"), &[outputs])?;
        stages.convolve(operation, activation, residual, &weight, &bias);
        anyhow::Ok(())
    };
    for (index, block) in config.decoder.blocks.iter().enumerate() {
        let name = format!("blocks.{index}");
        match *block {
            DecoderBlock::Conv { channels: outputs, activation } => {
                let activation = match activation {
                    Activation::Relu => CoreActivation::Relu,
                    Activation::None => CoreActivation::Identity,
                };
                convolve(&mut stages, &name, Operation::Convolve3x3, activation, None, outputs, channels)?;
                channels = outputs;
            }
            DecoderBlock::Residual { hidden } => {
                let source = u8::try_from(stages.specs.len() - 1).context("the decoder has too many blocks")?;
                let (inner, outer) = (format!("{name}.first"), format!("{name}.second"));
                let operation = Operation::Convolve3x3;
                convolve(&mut stages, &inner, operation, CoreActivation::Relu, None, hidden, channels)?;
                convolve(&mut stages, &outer, operation, CoreActivation::Identity, Some(source), channels, hidden)?;
            }
            DecoderBlock::Upsample { channels: outputs } => {
                let operation = Operation::UpsampleConvolve3x3;
                convolve(&mut stages, &name, operation, CoreActivation::Relu, None, outputs, channels)?;
                channels = outputs;
            }
        }
    }
    let outputs = config.image.channels;
    convolve(&mut stages, "last", Operation::Convolve3x3, CoreActivation::Identity, None, outputs, channels)?;
    Ok((first, stages))
}

impl Stages {
    /// Stage 0. `grid_bias` [channels × h × w] becomes [h × w × channels]; the first layer's own bias goes with it, for
    /// only what is linear goes into the codebook.
    fn input(&mut self, grid_bias: &[f32], first_bias: &[f32]) {
        let channels = first_bias.len();
        let area = grid_bias.len() / channels;
        for at in 0..area {
            self.weights.extend((0..channels).map(|channel| grid_bias[channel * area + at] + first_bias[channel]));
        }
        self.push(Operation::Input, CoreActivation::Relu, None, channels);
    }

    /// A 3×3 convolution, `weight` [outputs × inputs × 9]. Behind an upsampling its taps are transformed, and stand
    /// [inputs × outputs × 9].
    fn convolve(
        &mut self,
        operation: Operation,
        activation: CoreActivation,
        residual: Option<u8>,
        weight: &[f32],
        bias: &[f32],
    ) {
        self.weights.extend(bias);
        let kernels = weight.as_chunks::<9>().0;
        let (outputs, inputs) = (bias.len(), kernels.len() / bias.len());
        if operation == Operation::UpsampleConvolve3x3 {
            for input in 0..inputs {
                for output in 0..outputs {
                    self.weights.extend(kernel::transform_taps(kernels[output * inputs + input]));
                }
            }
        } else {
            self.weights.extend(weight);
        }
        self.push(operation, activation, residual, outputs);
    }

    fn push(&mut self, operation: Operation, activation: CoreActivation, residual: Option<u8>, channels: usize) {
        // More channels than fit are far beyond what the file allows, and are refused there.
        let channels = u16::try_from(channels).unwrap_or(u16::MAX);
        self.specs.push(StageSpec { operation, activation, residual, channels });
    }
}
