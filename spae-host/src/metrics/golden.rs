//! What the tests of the evaluators share: values of the packages that others measure with, and the rule by which both
//! sides make weights and pictures (`tests/golden/make_evaluators.py` states it).

use candle_core::{Device, Tensor};
use serde_json::Value;

/// The golden values.
pub(crate) fn golden() -> Value {
    serde_json::from_str(include_str!("../../../tests/golden/evaluators.json")).unwrap()
}

/// `count` values of `name`, in [0, 1).
pub(crate) fn units(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325, fnv);
    (1..=count as u64).map(move |i| {
        let mut m = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed);
        m = (m ^ (m >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        m = (m ^ (m >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((m ^ (m >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    })
}

/// Bytes by the rule.
pub(crate) fn pixels(name: &str, count: usize) -> Vec<u8> {
    units(name, count).map(|t| (256.0 * t) as u8).collect()
}

/// A weight by the rule.
pub(crate) fn weight(name: &str, shape: &[usize]) -> Tensor {
    let fan_in: usize = shape.iter().skip(1).product();
    let (low, high) = match name {
        _ if name.ends_with("running_var") || name.ends_with("bn.weight") => (0.5, 1.5),
        _ if name.ends_with("model.1.weight") => (0.0, 1.0),
        _ if shape.len() > 1 => (-(6.0 / fan_in as f64).sqrt(), (6.0 / fan_in as f64).sqrt()),
        _ => (-0.1, 0.1),
    };
    let values = units(name, shape.iter().product()).map(|t| (low + (high - low) * t) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}
