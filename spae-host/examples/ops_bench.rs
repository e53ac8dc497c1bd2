//! How fast the operations of `spae_host::ops` run: `cargo run --release -p spae-host --example ops_bench`.
//!
//! Rates count the arithmetic of the direct form, so an operation that needs less of it can exceed the processor's own.
//! Backward is the whole of candle's backward pass through the operation, with the gradients of all operands.

use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Result, Tensor, Var};
use spae_host::ops;

const IMAGES: usize = 64;
const REPETITIONS: usize = 30;

fn main() -> Result<()> {
    ops::keep_freed_memory();
    println!("{} threads, {IMAGES} images, best of {REPETITIONS}", rayon::current_num_threads());
    println!("{:<34} {:>9} {:>8} {:>9} {:>8}", "", "forward", "GFLOP/s", "backward", "GFLOP/s");
    for (c, o, side, kernel, stride, padding) in [
        (1, 24, 32, 3, 1, 1),
        (24, 48, 32, 4, 2, 1),
        (48, 48, 16, 3, 1, 1),
        (48, 96, 16, 4, 2, 1),
        (96, 96, 8, 3, 1, 1),
        (96, 40, 8, 1, 1, 0),
        (12, 1, 32, 3, 1, 1),
    ] {
        let (x, weight, bias) = (images(c, side)?, variable(&[o, c, kernel, kernel])?, variable(&[o])?);
        let output_side = (side + 2 * padding - kernel) / stride + 1;
        let operations = 2 * IMAGES * o * c * kernel * kernel * output_side * output_side;
        let name = format!("conv {kernel}x{kernel}/{stride} {c} -> {o}, {side}x{side}");
        report(&name, operations, || ops::conv2d(&x, &weight, Some(&bias), stride, padding))?;
    }
    for (c, o, side) in [(40, 24, 8), (24, 12, 16)] {
        let (x, weight, bias) = (images(c, side)?, variable(&[o, c, 3, 3])?, variable(&[o])?);
        let operations = 2 * IMAGES * o * c * 9 * 4 * side * side;
        let name = format!("upsample x2, conv 3x3 {c} -> {o}, {side}x{side}");
        report(&name, operations, || ops::upsample_conv2d(&x, &weight, Some(&bias)))?;
    }
    for (c, side) in [(24, 32), (48, 16), (96, 8)] {
        let (x, weight, bias) = (images(c, side)?, variable(&[c])?, variable(&[c])?);
        report(&format!("group norm + SiLU {c}, {side}x{side}"), 0, || {
            ops::group_norm_silu(&x, &weight, &bias, 8, 1e-5)
        })?;
    }
    let x = images(48, 16)?;
    report("relu 48, 16x16", 0, || ops::relu(&x))?;
    for width in [16, 32, 64] {
        let (z, table) = (variable(&[IMAGES * 149, width])?, variable(&[4096, width])?);
        let operations = 2 * IMAGES * 149 * 4096 * width;
        let seconds = best(|| ops::nearest(&z, &table).map(|ids| drop(black_box(ids))))?;
        line(&format!("nearest of 4096 x {width}, {} rows", IMAGES * 149), operations, seconds, None);
        let z = variable(&[IMAGES * 21, width])?;
        let operations = 2 * IMAGES * 21 * 4096 * width;
        let name = format!("log-sum-exp of 4096 x {width}, {} rows", IMAGES * 21);
        report(&name, operations, || Ok(ops::nearest_with_log_sum_exp(&z, &table, 0.1)?.1))?;
    }
    Ok(())
}

fn variable(shape: &[usize]) -> Result<Var> {
    Var::from_tensor(&Tensor::rand(-0.5f32, 0.5, shape, &Device::Cpu)?)
}

fn images(channels: usize, side: usize) -> Result<Var> {
    variable(&[IMAGES, channels, side, side])
}

fn best(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..REPETITIONS {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Times an operation forward and backward; `operations` are those of the forward pass, backward has twice as many.
fn report(name: &str, operations: usize, run: impl Fn() -> Result<Tensor>) -> Result<()> {
    let forward = best(|| run().map(|output| drop(black_box(output))))?;
    let output = run()?;
    let backward = best(|| output.backward().map(|gradients| drop(black_box(gradients))))?;
    line(name, operations, forward, Some(backward));
    Ok(())
}

fn line(name: &str, operations: usize, forward: f64, backward: Option<f64>) {
    let cells = |seconds: f64, operations: usize| {
        let rate = operations as f64 / seconds / 1e9;
        let rate = if operations == 0 { String::new() } else { format!("{rate:.0}") };
        format!("{:>6.2} ms {rate:>8}", seconds * 1e3)
    };
    let backward = backward.map_or_else(String::new, |backward| cells(backward, 2 * operations));
    println!("{name:<34} {} {backward}", cells(forward, operations));
}
