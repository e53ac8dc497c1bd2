//! Any bytes, as a model file. Few get past the checksums; those that do, draw.

use crate::Outcome;
use crate::exercise::exercise;

/// Reads `bytes` as a model file, and draws with it if it is one. The bytes pick the words as well.
pub fn run(bytes: &[u8]) -> Outcome {
    exercise(bytes, bytes).0
}
