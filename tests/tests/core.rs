//! spae-core as the host runs it, held to the plain reference.

use spae_core::canvas::Canvas;
use spae_core::model::Model;
use spae_core::stream::{Event, Stream, UnknownPolicy};
use spae_tests::fixtures;
use spae_tests::suites::decoding::{self, Core, Picture, Tolerance};

/// Cases that spae-core does not run: none.
const IGNORE: &[&str] = &[];

#[test]
fn pictures_equal_the_plain_reference() -> anyhow::Result<()> {
    decoding::check(&mut Core, Tolerance::Output(1e-4), IGNORE)
}

#[test]
fn bytes_one_at_a_time_give_the_same_picture_bit_for_bit() -> anyhow::Result<()> {
    for fixture in fixtures::all() {
        let file = fixture.file();
        let model = Model::read(&file)?;
        for case in decoding::cases(&fixture) {
            let mut scratch = vec![0; model.scratch_len()];
            let mut stream = Stream::new(Canvas::new(&model, &mut scratch)?, UnknownPolicy::Hole);
            // Drawing in between must leave no trace in the next picture.
            for byte in case.text.bytes() {
                stream.push(&[byte], |event, canvas| {
                    if matches!(event, Event::LayerComplete { .. }) {
                        decoding::picture(canvas);
                    }
                })?;
            }
            stream.finish(|_, _| ())?;
            let whole = decoding::Runtime::picture(&mut Core, &file, &case.text)?;
            assert_eq!(decoding::picture(stream.canvas()), whole, "{}", case.name);
        }
    }
    Ok(())
}

#[test]
fn the_picture_at_a_layers_end_is_that_of_the_text_up_to_there() -> anyhow::Result<()> {
    for fixture in fixtures::all() {
        let file = fixture.file();
        let model = Model::read(&file)?;
        let ids: Vec<Option<usize>> = fixture.ids(1).into_iter().map(Some).collect();
        let mut scratch = vec![0; model.scratch_len()];
        let mut stream = Stream::new(Canvas::new(&model, &mut scratch)?, UnknownPolicy::Error);
        let mut seen: Vec<Picture> = Vec::new();
        stream.push(fixture.text(&ids).as_bytes(), |event, canvas| {
            if matches!(event, Event::LayerComplete { .. }) {
                seen.push(decoding::picture(canvas));
            }
        })?;
        assert_eq!(seen.len(), fixture.pyramid.layers().len(), "{}", fixture.name);
        for (layer, seen) in seen.iter().enumerate() {
            let prefix = fixture.text(&ids[..fixture.pyramid.tokens_before(layer + 1)]);
            let alone = decoding::Runtime::picture(&mut Core, &file, &prefix)?;
            assert_eq!(*seen, alone, "{}, layer {}", fixture.name, layer + 1);
        }
    }
    Ok(())
}

#[test]
fn a_canvas_that_was_cleared_draws_as_a_new_one() -> anyhow::Result<()> {
    for fixture in fixtures::all() {
        let file = fixture.file();
        let model = Model::read(&file)?;
        let mut scratch = vec![0; model.scratch_len()];
        let mut stream = Stream::new(Canvas::new(&model, &mut scratch)?, UnknownPolicy::Hole);
        for case in decoding::cases(&fixture) {
            stream.clear();
            stream.push(case.text.as_bytes(), |_, _| ())?;
            stream.finish(|_, _| ())?;
            let fresh = decoding::Runtime::picture(&mut Core, &file, &case.text)?;
            assert_eq!(decoding::picture(stream.canvas()), fresh, "{}", case.name);
        }
    }
    Ok(())
}

#[test]
fn fixtures_are_worth_comparing_most_pixels_are_neither_black_nor_white_nor_alike() -> anyhow::Result<()> {
    for fixture in fixtures::all().into_iter().filter(|fixture| fixture.pyramid.grid().area() > 1) {
        let text = fixture.text(&fixture.ids(1).into_iter().map(Some).collect::<Vec<_>>());
        let mut pixels = decoding::Runtime::picture(&mut Core, &fixture.file(), &text)?.pixels;
        let inside = pixels.iter().filter(|&&pixel| pixel != 0 && pixel != 255).count();
        assert!(2 * inside > pixels.len(), "{}: {inside} of {}", fixture.name, pixels.len());
        pixels.sort_unstable();
        pixels.dedup();
        assert!(pixels.len() > 5, "{}: only {pixels:?}", fixture.name);
    }
    Ok(())
}
