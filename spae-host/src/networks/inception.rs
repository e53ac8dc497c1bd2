//! The Inception v3 that FID and the Inception score are defined with: TensorFlow's of 2015, by pytorch-fid's names.
//!
//! It differs from torchvision's: average pooling does not count its padding, the last block pools by maximum, and there
//! are 1,008 classes.

use anyhow::{Result, ensure};
use candle_core::{D, Tensor};

use super::Frozen;
use super::conv_relu::ConvRelu;
use super::sampling::{Sampling, sample};
use crate::ops;

/// Rows and columns of what the first convolution sees.
const SIDE: usize = 299;
/// Features behind the last pooling.
const FEATURES: usize = 2048;
const CLASSES: usize = 1008;

/// Whose arithmetic prepares the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// TensorFlow 1's bilinear resizing, (v − 128) / 128: torch-fidelity's, and the first FID's.
    TorchFidelity,
    /// PyTorch's bilinear resizing, v / 127.5 − 1: pytorch-fid's.
    PytorchFid,
}

/// The network.
#[derive(Debug)]
pub struct Inception {
    recipe: Recipe,
    /// 1a, 2a, 2b; pooling; 3b, 4a; pooling.
    stem: [Vec<ConvRelu>; 2],
    blocks: Vec<Block>,
    /// [1008, 2048]
    classes: Tensor,
}

/// Features and logits of a batch.
#[derive(Clone, Debug)]
pub struct Seen {
    /// [B, 2048]: what FID compares.
    pub features: Tensor,
    /// [B, 1008], without bias: what the Inception score is computed from.
    pub logits: Tensor,
}

/// Branches side by side.
#[derive(Debug)]
struct Block {
    branches: Vec<Branch>,
}

#[derive(Debug)]
struct Branch {
    pool: Option<Pool>,
    convolutions: Vec<ConvRelu>,
    /// Two convolutions of the same input whose outputs are set behind one another.
    fork: Vec<ConvRelu>,
}

#[derive(Clone, Copy, Debug)]
enum Pool {
    /// 3×3 that keeps the sides; the padding does not count.
    Mean,
    /// 3×3 that keeps the sides.
    Maximum,
    /// 3×3 with stride 2.
    Halving,
}

impl Inception {
    /// The network from its weights.
    ///
    /// # Errors
    /// If a tensor is missing, superfluous, or of another shape; it is named.
    pub fn new(mut weights: Frozen, recipe: Recipe) -> Result<Self> {
        let w = &mut weights;
        let conv = |w: &mut Frozen, name: &str, channels, kernel: usize, places| {
            ConvRelu::take_normed(w, name, channels, [kernel, kernel], places)
        };
        let stem = [
            vec![
                conv(w, "Conv2d_1a_3x3", [3, 32], 3, (2, 0))?,
                conv(w, "Conv2d_2a_3x3", [32, 32], 3, (1, 0))?,
                conv(w, "Conv2d_2b_3x3", [32, 64], 3, (1, 1))?,
            ],
            vec![conv(w, "Conv2d_3b_1x1", [64, 80], 1, (1, 0))?, conv(w, "Conv2d_4a_3x3", [80, 192], 3, (1, 0))?],
        ];
        let blocks = vec![
            block_a(w, "Mixed_5b", 192, 32)?,
            block_a(w, "Mixed_5c", 256, 64)?,
            block_a(w, "Mixed_5d", 288, 64)?,
            block_b(w, "Mixed_6a", 288)?,
            block_c(w, "Mixed_6b", 128)?,
            block_c(w, "Mixed_6c", 160)?,
            block_c(w, "Mixed_6d", 160)?,
            block_c(w, "Mixed_6e", 192)?,
            block_d(w, "Mixed_7a", 768)?,
            block_e(w, "Mixed_7b", 1280, Pool::Mean)?,
            block_e(w, "Mixed_7c", 2048, Pool::Maximum)?,
        ];
        let classes = w.take_shaped("fc.weight", &[CLASSES, FEATURES])?;
        w.take_shaped("fc.bias", &[CLASSES])?;
        weights.finish()?;
        Ok(Self { recipe, stem, blocks, classes })
    }

    /// How pictures are resized, in words.
    pub const fn resizing(&self) -> &'static str {
        match self.recipe {
            Recipe::TorchFidelity => "bilinear as in TensorFlow 1, to 299×299",
            Recipe::PytorchFid => "bilinear as in PyTorch, to 299×299",
        }
    }

    /// What the network makes of pictures [B, 3, height, width] in [0, 1].
    ///
    /// # Errors
    /// If they have other channels.
    pub fn see(&self, images: &Tensor) -> Result<Seen> {
        let channels = images.dim(1)?;
        ensure!(channels == 3, "Inception takes pictures of 3 channels, these have {channels}");
        let mut x = match self.recipe {
            Recipe::TorchFidelity => sample(images, SIDE, Sampling::Corner)?.affine(255.0 / 128.0, -1.0)?,
            Recipe::PytorchFid => sample(images, SIDE, Sampling::Centre)?.affine(2.0, -1.0)?,
        };
        for convolutions in &self.stem {
            for convolution in convolutions {
                x = convolution.forward(&x)?;
            }
            x = ops::max_pool2d(&x, 3, 2, 0)?;
        }
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let features = x.flatten_from(2)?.mean(D::Minus1)?;
        Ok(Seen { logits: features.matmul(&self.classes.t()?)?, features })
    }
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let outputs = self.branches.iter().map(|branch| branch.forward(x)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&outputs, 1)?)
    }
}

impl Branch {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = match self.pool {
            None => x.clone(),
            Some(Pool::Mean) => mean_pool(x)?,
            Some(Pool::Maximum) => ops::max_pool2d(x, 3, 1, 1)?,
            Some(Pool::Halving) => ops::max_pool2d(x, 3, 2, 0)?,
        };
        for convolution in &self.convolutions {
            x = convolution.forward(&x)?;
        }
        if self.fork.is_empty() {
            return Ok(x);
        }
        let outputs = self.fork.iter().map(|convolution| convolution.forward(&x)).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&outputs, 1)?)
    }
}

/// The mean of every 3×3 window around a cell, over the cells of it that there are.
fn mean_pool(x: &Tensor) -> Result<Tensor> {
    let mut sums = x.clone();
    for dimension in [2, 3] {
        let side = x.dim(dimension)?;
        let padded = sums.pad_with_zeros(dimension, 1, 1)?;
        let at = |start| padded.narrow(dimension, start, side);
        let count = |place: usize| if place == 0 || place + 1 == side { 0.5f32 } else { 1.0 / 3.0 };
        let counts: Vec<f32> = (0..side).map(count).collect();
        let mut shape = [1; 4];
        shape[dimension] = side;
        let counts = Tensor::from_vec(counts, &shape, x.device())?;
        sums = ((at(0)? + at(1)?)? + at(2)?)?.broadcast_mul(&counts)?;
    }
    Ok(sums)
}

/// The branches of one block as its weights are taken.
struct Builder<'w> {
    weights: &'w mut Frozen,
    block: &'w str,
    branches: Vec<Branch>,
}

/// A convolution's name, its output's channels, the kernel's rows and columns, and the stride. Strides of 1 keep the
/// sides; of 2 have no padding.
type Step = (&'static str, usize, [usize; 2], usize);

impl<'w> Builder<'w> {
    fn new(weights: &'w mut Frozen, block: &'w str) -> Self {
        Self { weights, block, branches: Vec::new() }
    }

    fn convolutions(&mut self, inputs: usize, steps: &[Step], chained: bool) -> Result<(Vec<ConvRelu>, usize)> {
        let (mut convolutions, mut channels) = (Vec::with_capacity(steps.len()), inputs);
        for &(name, outputs, kernel, stride) in steps {
            let padding = if stride == 1 { kernel[0].min(kernel[1]) / 2 } else { 0 };
            let name = format!("{}.{name}", self.block);
            let from = if chained { channels } else { inputs };
            let channels_of = [from, outputs];
            convolutions.push(ConvRelu::take_normed(self.weights, &name, channels_of, kernel, (stride, padding))?);
            channels = outputs;
        }
        Ok((convolutions, channels))
    }

    fn branch(&mut self, inputs: usize, steps: &[Step]) -> Result<()> {
        self.forked(inputs, steps, &[])
    }

    fn forked(&mut self, inputs: usize, steps: &[Step], fork: &[Step]) -> Result<()> {
        let (convolutions, channels) = self.convolutions(inputs, steps, true)?;
        let (fork, _) = self.convolutions(channels, fork, false)?;
        self.branches.push(Branch { pool: None, convolutions, fork });
        Ok(())
    }

    fn pooled(mut self, pool: Pool, inputs: usize, steps: &[Step]) -> Result<Block> {
        let (convolutions, _) = self.convolutions(inputs, steps, true)?;
        self.branches.push(Branch { pool: Some(pool), convolutions, fork: Vec::new() });
        Ok(Block { branches: self.branches })
    }
}

/// 35×35.
fn block_a(weights: &mut Frozen, name: &str, inputs: usize, pooled: usize) -> Result<Block> {
    let mut block = Builder::new(weights, name);
    block.branch(inputs, &[("branch1x1", 64, [1, 1], 1)])?;
    block.branch(inputs, &[("branch5x5_1", 48, [1, 1], 1), ("branch5x5_2", 64, [5, 5], 1)])?;
    block.branch(
        inputs,
        &[("branch3x3dbl_1", 64, [1, 1], 1), ("branch3x3dbl_2", 96, [3, 3], 1), ("branch3x3dbl_3", 96, [3, 3], 1)],
    )?;
    block.pooled(Pool::Mean, inputs, &[("branch_pool", pooled, [1, 1], 1)])
}

/// 35×35 to 17×17.
fn block_b(weights: &mut Frozen, name: &str, inputs: usize) -> Result<Block> {
    let mut block = Builder::new(weights, name);
    block.branch(inputs, &[("branch3x3", 384, [3, 3], 2)])?;
    block.branch(
        inputs,
        &[("branch3x3dbl_1", 64, [1, 1], 1), ("branch3x3dbl_2", 96, [3, 3], 1), ("branch3x3dbl_3", 96, [3, 3], 2)],
    )?;
    block.pooled(Pool::Halving, inputs, &[])
}

/// 17×17, lines of 7.
fn block_c(weights: &mut Frozen, name: &str, inner: usize) -> Result<Block> {
    const INPUTS: usize = 768;
    let mut block = Builder::new(weights, name);
    block.branch(INPUTS, &[("branch1x1", 192, [1, 1], 1)])?;
    block.branch(
        INPUTS,
        &[("branch7x7_1", inner, [1, 1], 1), ("branch7x7_2", inner, [1, 7], 1), ("branch7x7_3", 192, [7, 1], 1)],
    )?;
    block.branch(
        INPUTS,
        &[
            ("branch7x7dbl_1", inner, [1, 1], 1),
            ("branch7x7dbl_2", inner, [7, 1], 1),
            ("branch7x7dbl_3", inner, [1, 7], 1),
            ("branch7x7dbl_4", inner, [7, 1], 1),
            ("branch7x7dbl_5", 192, [1, 7], 1),
        ],
    )?;
    block.pooled(Pool::Mean, INPUTS, &[("branch_pool", 192, [1, 1], 1)])
}

/// 17×17 to 8×8.
fn block_d(weights: &mut Frozen, name: &str, inputs: usize) -> Result<Block> {
    let mut block = Builder::new(weights, name);
    block.branch(inputs, &[("branch3x3_1", 192, [1, 1], 1), ("branch3x3_2", 320, [3, 3], 2)])?;
    block.branch(
        inputs,
        &[
            ("branch7x7x3_1", 192, [1, 1], 1),
            ("branch7x7x3_2", 192, [1, 7], 1),
            ("branch7x7x3_3", 192, [7, 1], 1),
            ("branch7x7x3_4", 192, [3, 3], 2),
        ],
    )?;
    block.pooled(Pool::Halving, inputs, &[])
}

/// 8×8.
fn block_e(weights: &mut Frozen, name: &str, inputs: usize, pool: Pool) -> Result<Block> {
    let mut block = Builder::new(weights, name);
    block.branch(inputs, &[("branch1x1", 320, [1, 1], 1)])?;
    block.forked(
        inputs,
        &[("branch3x3_1", 384, [1, 1], 1)],
        &[("branch3x3_2a", 384, [1, 3], 1), ("branch3x3_2b", 384, [3, 1], 1)],
    )?;
    block.forked(
        inputs,
        &[("branch3x3dbl_1", 448, [1, 1], 1), ("branch3x3dbl_2", 384, [3, 3], 1)],
        &[("branch3x3dbl_3a", 384, [1, 3], 1), ("branch3x3dbl_3b", 384, [3, 1], 1)],
    )?;
    block.pooled(pool, inputs, &[("branch_pool", 192, [1, 1], 1)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::golden::{golden, pixels, weight};
    use candle_core::Device;
    use serde_json::Value;

    fn sizes(value: &Value) -> Vec<usize> {
        value.as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect()
    }

    fn weights(golden: &Value) -> Vec<(String, Tensor)> {
        let mut all = vec![("fc.weight".to_owned(), vec![CLASSES, FEATURES]), ("fc.bias".to_owned(), vec![CLASSES])];
        for (name, shape) in golden["convolutions"].as_object().unwrap() {
            let norm = ["weight", "bias", "running_mean", "running_var"].map(|what| format!("{name}.bn.{what}"));
            all.extend(norm.map(|name| (name, sizes(shape)[..1].to_vec())));
            all.push((format!("{name}.conv.weight"), sizes(shape)));
        }
        all.into_iter().map(|(name, shape)| (name.clone(), weight(&name, &shape))).collect()
    }

    /// Every so many values of each row, and the row's sum, to 1e-4 of the largest.
    fn assert_kept(got: &Tensor, expected: &Value, every: usize) {
        for (row, got) in got.to_vec2::<f32>().unwrap().iter().enumerate() {
            let values: Vec<f64> =
                expected["values"][row].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
            for (got, expected) in got.iter().step_by(every).zip(&values) {
                assert!((f64::from(*got) - expected).abs() < 1e-4 * largest, "{got}, {expected}");
            }
            let sum: f64 = got.iter().map(|&value| f64::from(value)).sum();
            let expected = expected["sums"][row].as_f64().unwrap();
            assert!((sum / expected - 1.0).abs() < 1e-4, "{sum}, {expected}");
        }
    }

    #[test]
    fn features_and_logits_agree_with_torch_fidelity_and_pytorch_fid() {
        let golden = &golden()["inception"];
        let (shape, every) = (sizes(&golden["shape"]), golden["every"].as_u64().unwrap() as usize);
        let values: Vec<f32> =
            pixels("picture", shape.iter().product()).into_iter().map(|byte| f32::from(byte) / 255.0).collect();
        let images = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let weights = weights(golden);
        let network = |recipe| Inception::new(Frozen::of(weights.clone()), recipe).unwrap();
        let seen = network(Recipe::TorchFidelity).see(&images).unwrap();
        assert_kept(&seen.features, &golden["torch_fidelity"], every);
        assert_kept(&seen.logits, &golden["logits"], every);
        let seen = network(Recipe::PytorchFid).see(&images).unwrap();
        assert_kept(&seen.features, &golden["pytorch_fid"], every);
    }

    #[test]
    fn a_tensor_that_is_missing_or_of_another_shape_is_named() {
        let mut weights = weights(&golden()["inception"]);
        let fault = |weights: &[(String, Tensor)]| {
            Inception::new(Frozen::of(weights.to_vec()), Recipe::TorchFidelity).unwrap_err().to_string()
        };
        let at = weights.iter().position(|(name, _)| name == "Mixed_6c.branch7x7_2.conv.weight").unwrap();
        let kept = weights[at].1.clone();
        weights[at].1 = kept.transpose(2, 3).unwrap();
        assert!(fault(&weights).contains("`Mixed_6c.branch7x7_2.conv.weight`"), "{}", fault(&weights));
        weights.remove(at);
        assert!(fault(&weights).contains("`Mixed_6c.branch7x7_2.conv.weight`"), "{}", fault(&weights));
        weights.push(("Mixed_6c.branch7x7_2.conv.weight".to_owned(), kept));
        weights
            .push(("AuxLogits.fc.weight".to_owned(), Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu).unwrap()));
        assert!(fault(&weights).contains("AuxLogits.fc.weight"), "{}", fault(&weights));
    }
}
