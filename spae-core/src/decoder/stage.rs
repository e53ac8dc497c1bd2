//! One stage of the decoder: what the file states about it, and what follows from its place in the list.

use core::ops::Range;

use super::integer;
use crate::kernel::{Activation, UPSAMPLE_PRODUCTS};
use crate::pyramid::Shape;

/// What a decoder computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Arithmetic {
    /// f32, from binary16 weights. (0 is free for "no model", so that memory for one starts as zeros.)
    Float = 1,
    /// 32-bit integers, from int8 weights and 8-bit activations.
    Integer,
}

/// What a stage computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Operation {
    /// Ẑ plus a bias per grid position and channel. First, and only first.
    Input,
    /// 1×1 convolution.
    Convolve1x1,
    /// 3×3 convolution with zero padding.
    Convolve3x3,
    /// Nearest ×2 upsampling and 3×3 convolution with zero padding, from transformed taps.
    UpsampleConvolve3x3,
}

impl Operation {
    pub(super) const ALL: [Self; 4] = [Self::Input, Self::Convolve1x1, Self::Convolve3x3, Self::UpsampleConvolve3x3];

    /// Rows of the source above and below that an output row needs.
    pub(super) const fn reach(self) -> u16 {
        match self {
            Self::Input | Self::Convolve1x1 => 0,
            Self::Convolve3x3 | Self::UpsampleConvolve3x3 => 1,
        }
    }

    /// Output rows that are computed together, all from the same source rows.
    pub(super) const fn rows(self) -> u16 {
        match self {
            Self::UpsampleConvolve3x3 => 2,
            _ => 1,
        }
    }

    /// Stored taps for one input and one output channel.
    pub(super) const fn taps(self) -> usize {
        match self {
            Self::Input => 0,
            Self::Convolve1x1 => 1,
            Self::Convolve3x3 => 9,
            Self::UpsampleConvolve3x3 => UPSAMPLE_PRODUCTS,
        }
    }
}

/// A stage as the file states it; its input is the stage before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StageSpec {
    /// What it computes.
    pub operation: Operation,
    /// What follows the sums.
    pub activation: Activation,
    /// An earlier stage of the same shape whose output is added before the activation.
    pub residual: Option<u8>,
    /// Output channels.
    pub channels: u16,
}

/// A stage with everything that follows from its place in the list.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stage {
    /// As the file states it.
    pub spec: StageSpec,
    /// Channels of the stage before; 0 for the input.
    pub inputs: u16,
    /// Output rows and columns.
    pub shape: Shape,
    /// Output rows that stay in memory.
    pub(super) ring_rows: u16,
    /// Elements of one output row, padding included.
    pub(super) row_len: usize,
    /// Where the ring starts among all rings, in elements.
    pub(super) ring_start: usize,
    /// Where the stage's weights start among all: in weights if they are binary16, in bytes if they are int8.
    pub(super) weights_start: usize,
}

impl Stage {
    pub(super) const EMPTY: Self = Self {
        spec: StageSpec { operation: Operation::Input, activation: Activation::Identity, residual: None, channels: 0 },
        inputs: 0,
        shape: Shape::new(0, 0),
        ring_rows: 1,
        row_len: 0,
        ring_start: 0,
        weights_start: 0,
    };

    /// Elements of one padded output row of one channel in f32: width + 2.
    pub(super) const fn stride(&self) -> usize {
        self.shape.width as usize + 2
    }

    /// Groups of four output channels, the last one filled up.
    pub(super) const fn quads(&self) -> usize {
        self.spec.channels.div_ceil(4) as usize
    }

    /// Groups of four input channels.
    pub(super) const fn input_quads(&self) -> usize {
        self.inputs.div_ceil(4) as usize
    }

    /// Quads of weights for one output channel.
    pub(super) const fn depth(&self) -> usize {
        self.input_quads() * self.spec.operation.taps()
    }

    /// Elements of one padded output row of all channels: planes of f32, or a quad an element.
    pub(super) const fn row_len_in(&self, arithmetic: Arithmetic) -> usize {
        let channels = match arithmetic {
            Arithmetic::Float => self.spec.channels as usize,
            Arithmetic::Integer => self.quads(),
        };
        channels * self.stride()
    }

    /// Weights, biases included: the grid bias [h × w × d], or a bias `[channels]` and the taps.
    pub fn weight_count(&self) -> usize {
        // At most 2²⁶ or 9·2²⁰: the sides of a grid and the channels are limited.
        let channels = usize::from(self.spec.channels);
        match self.spec.operation {
            Operation::Input => self.shape.area() * channels,
            operation => channels + channels * usize::from(self.inputs) * operation.taps(),
        }
    }

    /// Where the stage's weights end among all: in weights, or in bytes with the constants of an integer stage.
    pub(super) fn weights_end(&self, arithmetic: Arithmetic) -> usize {
        let length = match arithmetic {
            Arithmetic::Float => self.weight_count(),
            Arithmetic::Integer => integer::stage_len(self),
        };
        self.weights_start + length
    }

    /// The stage's part of all weights in binary16.
    pub(super) fn weights<'w, W>(&self, all: &'w [W]) -> &'w [W] {
        all.get(self.weights_start..self.weights_start + self.weight_count()).unwrap_or(&[])
    }

    /// Multiply–accumulates for one picture; an upsampling stage counts its nine products per input position.
    pub fn multiply_accumulates(&self) -> usize {
        let positions = match self.spec.operation {
            Operation::Input => 0,
            Operation::UpsampleConvolve3x3 => self.shape.area() / 4,
            _ => self.shape.area(),
        };
        let per_position = usize::from(self.inputs) * usize::from(self.spec.channels) * self.spec.operation.taps();
        positions.saturating_mul(per_position)
    }

    /// Where output row `row` stands among all rings.
    pub(super) fn ring_range(&self, row: u16) -> Range<usize> {
        let slot = row.checked_rem(self.ring_rows).unwrap_or(0);
        let start = self.ring_start + usize::from(slot) * self.row_len;
        start..start + self.row_len
    }
}
