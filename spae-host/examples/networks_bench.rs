//! What a frozen classifier costs: milliseconds for a picture, forward, and forward with the picture's gradient.
//!
//! `cargo run --release -p spae-host --example networks_bench -- tiny-darknet.safetensors 128 [BATCH]`: pictures of 64 × 64
//! are resized to the side given, as in training.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use candle_core::{Device, Tensor, Var};
use spae_host::networks::{Classifier, Design, to_network};
use spae_host::ops::keep_freed_memory;

/// Runs of which the fastest counts.
const RUNS: usize = 5;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file: PathBuf = arguments.next().context("the network's file")?.into();
    let side: usize = arguments.next().context("the side in pixels")?.parse()?;
    let batch: usize = arguments.next().map_or(Ok(16), |batch| batch.parse())?;
    // As in training.
    keep_freed_memory();
    let network = Classifier::load(&file, &Design::default())?;
    let pictures = Tensor::rand(-1f32, 1f32, (batch, network.channels(), 64, 64), &Device::Cpu)?;
    let variable = Var::from_tensor(&pictures)?;
    let logits = |pictures: &Tensor| network.logits(&to_network(pictures, network.channels(), Some(side))?);
    let fastest = |work: &dyn Fn() -> Result<()>| -> Result<f64> {
        let mut best = f64::INFINITY;
        for _ in 0..RUNS {
            let start = Instant::now();
            work()?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(1e3 * best / batch as f64)
    };
    let forward = fastest(&|| logits(&pictures).map(drop))?;
    let both = fastest(&|| {
        let loss = logits(variable.as_tensor())?.sqr()?.sum_all()?;
        Ok(loss.backward().map(drop)?)
    })?;
    println!("side {side}, {batch} pictures: forward {forward:.2} ms, with the gradient {both:.2} ms a picture");
    Ok(())
}
