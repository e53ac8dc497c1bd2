//! What the tests of the networks share: golden files and the real networks beside the checkout.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::Frozen;

/// The network `tests/golden/networks/<name>.safetensors`, and its inputs and outputs by name.
pub(crate) fn golden(name: &str) -> (Frozen, HashMap<String, Tensor>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/networks/{name}.safetensors"));
    let all = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let (golden, weights): (HashMap<_, _>, HashMap<_, _>) =
        all.into_iter().partition(|(name, _)| name.starts_with("golden."));
    let golden = golden.into_iter().map(|(name, tensor)| (name["golden.".len()..].to_owned(), tensor)).collect();
    (Frozen::of(weights), golden)
}

/// A file of the reference data beside the checkout, where it is there.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    path.exists().then_some(path)
}

/// Fails unless the two agree to within `tolerance`.
pub(crate) fn assert_close(got: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(got.dims(), expected.dims());
    let difference = (got - expected).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(difference <= tolerance, "{difference} apart");
}
