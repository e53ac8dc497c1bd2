//! Times whole decodes of the digits-like fixtures, in f32 and in integers: `cargo run --release -p spae-tests --example decode_speed`.

use std::hint::black_box;
use std::time::Instant;

use spae_core::canvas::Canvas;
use spae_core::model::Model;
use spae_core::stream::{Stream, UnknownPolicy};
use spae_host::picture::{self, Picture};
use spae_tests::fixtures;

fn main() -> anyhow::Result<()> {
    time("digits")?;
    time("integers: the digits' stages")
}

fn time(name: &str) -> anyhow::Result<()> {
    let fixture = fixtures::named(name);
    let file = fixture.file();
    let model = Model::read(&file)?;
    let mut scratch = vec![0; model.scratch_len()];
    let mut stream = Stream::new(Canvas::new(&model, &mut scratch)?, UnknownPolicy::Error);
    let ids: Vec<Option<usize>> = fixture.ids(1).into_iter().map(Some).collect();
    stream.push(fixture.text(&ids).as_bytes(), |_, _| ())?;
    let weights = picture::widened(model.decoder());
    let mut best = f64::INFINITY;
    for _ in 0..200 {
        let start = Instant::now();
        black_box(Picture::from_weights(stream.canvas(), &weights));
        best = best.min(start.elapsed().as_secs_f64());
    }
    let macs = model.decoder().multiply_accumulates();
    println!(
        "{name}: {macs} multiply-accumulates in {:.0} µs: {:.2} a nanosecond; {} bytes of scratch",
        best * 1e6,
        macs as f64 / best * 1e-9,
        4 * model.scratch_len()
    );
    Ok(())
}
