//! Every random number of the host comes from a generator that is named, not carried along.
//!
//! A generator is a function of the run's seed, a purpose and up to two counters (such as epoch and sample). So an
//! interrupted run continues with the same numbers from its step count alone, and neither the number of threads nor
//! the order of work changes a result.

use std::f64::consts::TAU;

use rand::{Rng, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The generator for `purpose` at `counters`, under `seed`.
pub fn generator(seed: u64, purpose: &str, counters: [u64; 2]) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, fnv1a(purpose.as_bytes()), counters[0], counters[1]]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A standard normal number (Box and Muller).
pub fn normal(random: &mut impl Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (TAU * random.random::<f64>()).cos()
}

/// A vector of unit length, all directions alike.
pub fn direction(width: usize, random: &mut impl Rng) -> Vec<f32> {
    let row: Vec<f64> = (0..width).map(|_| normal(random)).collect();
    let length = row.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    row.into_iter().map(|value| (value / length) as f32).collect()
}

/// 64-bit FNV-1a.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_name_changes_the_numbers() {
        let first = |seed, purpose, counters| generator(seed, purpose, counters).next_u64();
        let base = first(1, "shuffle", [2, 3]);
        assert_eq!(base, first(1, "shuffle", [2, 3]));
        for other in [first(0, "shuffle", [2, 3]), first(1, "augment", [2, 3]), first(1, "shuffle", [3, 2])] {
            assert_ne!(base, other);
        }
    }
}
