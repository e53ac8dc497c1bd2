//! SqueezeNet 1.1's convolutions, by torchvision's names.

use anyhow::Result;
use candle_core::Tensor;

use super::conv_relu::ConvRelu;
use super::imagenet::normalised;
use super::{Features, Frozen};
use crate::ops;

/// The least side whose last pooling has a window.
const LEAST: usize = 17;

/// A convolution and eight fire modules; seven of the outputs are features.
#[derive(Debug)]
pub struct SqueezeNet {
    first: ConvRelu,
    modules: Vec<Module>,
}

/// A fire module, what comes before it and what becomes of its output.
#[derive(Debug)]
struct Module {
    pooled: bool,
    squeeze: ConvRelu,
    /// 1×1 and 3×3, one behind the other in the output's channels.
    expand: [ConvRelu; 2],
    is_feature: bool,
}

impl SqueezeNet {
    /// The network from `features.N…`; a classifier beside them is left alone.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape; it is named.
    pub fn new(mut weights: Frozen) -> Result<Self> {
        let first = ConvRelu::take(&mut weights, "features.0", [3, 64], 3, (2, 0))?;
        let plan = [
            (3, 64, 16, 64, true, false),
            (4, 128, 16, 64, false, true),
            (6, 128, 32, 128, true, false),
            (7, 256, 32, 128, false, true),
            (9, 256, 48, 192, true, true),
            (10, 384, 48, 192, false, true),
            (11, 384, 64, 256, false, true),
            (12, 512, 64, 256, false, true),
        ];
        let modules = plan.into_iter().map(|(number, inputs, narrow, wide, pooled, is_feature)| {
            let mut take = |part: &str, channels, kernel| {
                let name = format!("features.{number}.{part}");
                ConvRelu::take(&mut weights, &name, channels, kernel, (1, kernel / 2))
            };
            let squeeze = take("squeeze", [inputs, narrow], 1)?;
            let expand = [take("expand1x1", [narrow, wide], 1)?, take("expand3x3", [narrow, wide], 3)?];
            Ok(Module { pooled, squeeze, expand, is_feature })
        });
        Ok(Self { first, modules: modules.collect::<Result<_>>()? })
    }
}

impl Features for SqueezeNet {
    fn features(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        let mut x = self.first.forward(&normalised(images, "SqueezeNet", LEAST)?)?;
        let mut features = vec![x.clone()];
        for module in &self.modules {
            if module.pooled {
                x = pool(&x)?;
            }
            let squeezed = module.squeeze.forward(&x)?;
            let [narrow, wide] = &module.expand;
            x = Tensor::cat(&[narrow.forward(&squeezed)?, wide.forward(&squeezed)?], 1)?;
            if module.is_feature {
                features.push(x.clone());
            }
        }
        Ok(features)
    }
}

/// 3×3 with stride 2; a window that lacks its last row or column counts. `x` is behind a ReLU, so zeros fill it up.
fn pool(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let missing = |side: usize| (side + 1) % 2;
    let filled = x.pad_with_zeros(2, 0, missing(height))?.pad_with_zeros(3, 0, missing(width))?;
    Ok(ops::max_pool2d(&filled, 3, 2, 0)?)
}
