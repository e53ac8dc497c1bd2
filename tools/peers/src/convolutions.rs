//! Convolutions forward and backward, with and without a ×2 upsampling before them, against PyTorch.

use std::hint::black_box;

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use serde_json::json;
use spae_host::ops;

use crate::case::{Case, Other};
use crate::materials::Materials;
use crate::timing::Work;

/// No shape may be slower than PyTorch's by more than this.
const LIMIT: f64 = 1.3;

#[derive(Clone, Copy)]
struct Shape {
    images: usize,
    inputs: usize,
    outputs: usize,
    side: usize,
    kernel: usize,
    stride: usize,
    upsample: bool,
    /// Part of the quick run.
    quick: bool,
}

const fn shape(images: usize, inputs: usize, outputs: usize, side: usize, kernel: usize, stride: usize) -> Shape {
    Shape { images, inputs, outputs, side, kernel, stride, upsample: false, quick: false }
}

const fn quick(shape: Shape) -> Shape {
    Shape { quick: true, ..shape }
}

const fn upsampled(shape: Shape) -> Shape {
    Shape { upsample: true, ..shape }
}

/// Those of the digits, those of the coloured pictures, plain ones, single images.
const SHAPES: [Shape; 20] = [
    shape(64, 1, 16, 32, 3, 1),
    quick(shape(64, 16, 40, 32, 4, 2)),
    quick(shape(64, 40, 40, 16, 3, 1)),
    shape(64, 40, 80, 16, 4, 2),
    quick(shape(64, 80, 80, 8, 3, 1)),
    shape(64, 80, 32, 8, 1, 1),
    quick(upsampled(shape(64, 40, 24, 8, 3, 1))),
    upsampled(shape(64, 24, 12, 16, 3, 1)),
    shape(64, 12, 1, 32, 3, 1),
    shape(8, 3, 64, 64, 3, 1),
    quick(shape(8, 64, 64, 64, 3, 1)),
    shape(8, 64, 128, 64, 4, 2),
    shape(8, 128, 128, 32, 3, 1),
    quick(shape(8, 256, 256, 16, 3, 1)),
    upsampled(shape(8, 256, 128, 16, 3, 1)),
    upsampled(shape(8, 128, 64, 32, 3, 1)),
    shape(64, 64, 64, 16, 3, 2),
    shape(64, 128, 128, 16, 1, 2),
    quick(shape(1, 64, 64, 32, 3, 1)),
    shape(1, 128, 128, 16, 1, 1),
];

pub(crate) fn cases(materials: &Materials) -> Vec<Case<'_>> {
    let shapes = SHAPES.into_iter().filter(|shape| shape.quick || !materials.quick);
    shapes.flat_map(|shape| [false, true].map(|backward| case(shape, backward))).collect()
}

fn case<'m>(shape: Shape, backward: bool) -> Case<'m> {
    let Shape { images, inputs, outputs, side, kernel, stride, upsample, .. } = shape;
    let padding = (kernel - 1) / 2;
    let pass = if backward { "backward" } else { "forward" };
    let doubled = if upsample { "×2, " } else { "" };
    Case {
        name: format!("conv {doubled}{kernel}×{kernel}/{stride} {inputs}→{outputs} {side}² ×{images} {pass}"),
        limit: Some(LIMIT),
        ours: Box::new(move || ours(shape, padding, backward).map(Into::into)),
        other: Other::Peer(json!({
            "kind": "convolution", "images": images, "inputs": inputs, "outputs": outputs, "side": side,
            "kernel": kernel, "stride": stride, "padding": padding, "upsample": upsample, "backward": backward,
        })),
    }
}

fn ours<'m>(shape: Shape, padding: usize, backward: bool) -> Result<Work<'m>> {
    let Shape { images, inputs, outputs, side, kernel, stride, upsample, .. } = shape;
    let variable = |shape: &[usize]| Var::from_tensor(&Tensor::rand(-0.5f32, 0.5, shape, &Device::Cpu)?);
    let (x, bias) = (variable(&[images, inputs, side, side])?, variable(&[outputs])?);
    let weight = variable(&[outputs, inputs, kernel, kernel])?;
    let forward = move || {
        if upsample {
            ops::upsample_conv2d(&x, &weight, Some(&bias))
        } else {
            ops::conv2d(&x, &weight, Some(&bias), stride, padding)
        }
    };
    if !backward {
        return Ok(Box::new(move || {
            black_box(forward()?);
            Ok(())
        }));
    }
    let output = forward()?;
    Ok(Box::new(move || {
        black_box(output.backward()?);
        Ok(())
    }))
}
