//! Every single flipped bit of the shipped model is an error: whatever flash memory loses, nothing is drawn from it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use spae_core::model::Model;

/// Bytes that a thread takes at once.
const PART: usize = 64;

/// Debug builds try one byte in so many, since they take thirty times as long.
const EVERY: usize = if cfg!(debug_assertions) { 61 } else { 1 };

#[test]
fn every_single_flipped_bit_of_the_shipped_model_is_an_error() {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/digits/model.spae")).unwrap();
    assert!(Model::read(&file).is_ok(), "unharmed, it reads");
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let flip_parts = || {
        let (mut file, mut flips) = (file.clone(), 0);
        loop {
            let start = next.fetch_add(PART, Ordering::Relaxed);
            if start >= file.len() {
                return flips;
            }
            for at in (start..file.len().min(start + PART)).filter(|at| at.is_multiple_of(EVERY)) {
                for bit in 0..8 {
                    file[at] ^= 1 << bit;
                    assert!(Model::read(&file).is_err(), "bit {bit} of byte {at} flipped, and it reads");
                    file[at] ^= 1 << bit;
                    flips += 1;
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let flips: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(flip_parts)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(flips, 8 * file.len().div_ceil(EVERY));
    println!("{flips} flips of {} bytes, {} s", file.len(), started.elapsed().as_secs());
}
