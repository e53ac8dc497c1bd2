//! The picture through embedded-graphics: pixel for pixel what the decoder's rows say.

use anyhow::Result;
use embedded_graphics::draw_target::DrawTargetExt;
use embedded_graphics::image::{Image, ImageDrawableExt};
use embedded_graphics::mock_display::{ColorMapping, MockDisplay};
use embedded_graphics::pixelcolor::{Gray4, Gray8, Rgb565, Rgb888};
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use spae_core::canvas::Canvas;
use spae_core::graphics::Picture;
use spae_core::model::Model;
use spae_core::stream::{Stream, UnknownPolicy};
use spae_tests::fixtures;
use spae_tests::suites::decoding::{self, Picture as Expected};

/// Draws the whole text of a fixture onto a canvas and hands it out with the pixels that it must show.
fn with_canvas(name: &str, look: impl FnOnce(&mut Canvas<'_, '_>, &Expected)) -> Result<()> {
    let fixture = fixtures::named(name);
    let file = fixture.file();
    let model = Model::read(&file)?;
    let mut scratch = vec![0; model.scratch_len()];
    let mut stream = Stream::new(Canvas::new(&model, &mut scratch)?, UnknownPolicy::Error);
    stream.push(fixture.text(&fixture.ids(1).into_iter().map(Some).collect::<Vec<_>>()).as_bytes(), |_, _| ())?;
    let expected = decoding::picture(stream.canvas());
    look(stream.canvas(), &expected);
    Ok(())
}

const GREY: &str = "digits";
const COLOUR: &str = "residual behind upsampling";

/// The colour of a pixel.
fn colour<C: From<Gray8> + From<Rgb888>>(picture: &Expected, row: usize, column: usize) -> C {
    match picture.pixels[(row * picture.width + column) * picture.channels..][..picture.channels] {
        [grey] => Gray8::new(grey).into(),
        [red, green, blue] => Rgb888::new(red, green, blue).into(),
        _ => panic!("a picture is grey or has three colours"),
    }
}

/// Every pixel of a display must be what `expected` says of its place, and untouched where that is `None`.
fn assert_shows<C: PixelColor + ColorMapping>(display: &MockDisplay<C>, expected: impl Fn(usize, usize) -> Option<C>) {
    for row in 0..64 {
        for column in 0..64 {
            let got = display.get_pixel(Point::new(column as i32, row as i32));
            assert!(got == expected(row, column), "row {row}, column {column}");
        }
    }
}

/// At `corner`, each pixel a square of `scale`, nothing outside.
fn shown<C: PixelColor + From<Gray8> + From<Rgb888>>(
    picture: &Expected,
    corner: (usize, usize),
    scale: usize,
) -> impl Fn(usize, usize) -> Option<C> {
    move |row, column| {
        let (row, column) = (row.checked_sub(corner.0)? / scale, column.checked_sub(corner.1)? / scale);
        (row < picture.height && column < picture.width).then(|| colour(picture, row, column))
    }
}

fn draws_as<C: PixelColor + ColorMapping + From<Gray8> + From<Rgb888>>(name: &str) -> Result<()> {
    with_canvas(name, |canvas, expected| {
        let mut display = MockDisplay::<C>::new();
        Image::new(&Picture::new(canvas), Point::new(7, 3)).draw(&mut display).unwrap();
        assert_shows(&display, shown(expected, (3, 7), 1));
    })
}

#[test]
fn pictures_draw_in_every_colour_of_a_display() -> Result<()> {
    draws_as::<Gray8>(GREY)?;
    draws_as::<Gray4>(GREY)?;
    draws_as::<Rgb565>(GREY)?;
    draws_as::<Rgb888>(COLOUR)?;
    draws_as::<Rgb565>(COLOUR)?;
    draws_as::<Gray8>(COLOUR)
}

#[test]
fn the_size_is_the_pictures_times_the_scale() -> Result<()> {
    with_canvas(COLOUR, |canvas, expected| {
        let size = Size::new(expected.width as u32, expected.height as u32);
        assert_eq!(Picture::<Rgb888>::new(canvas).size(), size);
        assert_eq!(Picture::<Rgb888>::new(canvas).scaled(3).size(), size * 3);
        assert_eq!(Picture::<Rgb888>::new(canvas).scaled(0).size(), size);
    })
}

#[test]
fn a_scaled_picture_draws_squares() -> Result<()> {
    with_canvas(GREY, |canvas, expected| {
        let mut display = MockDisplay::<Gray8>::new();
        Image::new(&Picture::new(canvas).scaled(2), Point::zero()).draw(&mut display).unwrap();
        assert_shows(&display, shown(expected, (0, 0), 2));
    })?;
    with_canvas(COLOUR, |canvas, expected| {
        let mut display = MockDisplay::<Rgb888>::new();
        Image::new(&Picture::new(canvas).scaled(3), Point::new(5, 11)).draw(&mut display).unwrap();
        assert_shows(&display, shown(expected, (11, 5), 3));
    })
}

#[test]
fn a_sub_image_draws_its_part() -> Result<()> {
    with_canvas(GREY, |canvas, expected| {
        let picture = Picture::<Gray8>::new(canvas);
        let part = picture.sub_image(&Rectangle::new(Point::new(9, 4), Size::new(10, 13)));
        let mut display = MockDisplay::new();
        Image::new(&part, Point::new(20, 30)).draw(&mut display).unwrap();
        assert_shows(&display, |row, column| {
            let (row, column) = (row.checked_sub(30)?, column.checked_sub(20)?);
            (row < 13 && column < 10).then(|| colour(expected, row + 4, column + 9))
        });
    })
}

#[test]
fn a_clipped_target_gets_what_is_inside() -> Result<()> {
    with_canvas(GREY, |canvas, expected| {
        let mut display = MockDisplay::<Gray8>::new();
        let area = Rectangle::new(Point::new(10, 12), Size::new(6, 7));
        let mut clipped = display.clipped(&area);
        Image::new(&Picture::new(canvas), Point::new(-3, 2)).draw(&mut clipped).unwrap();
        assert_shows(&display, |row, column| {
            let inside = (12..19).contains(&row) && (10..16).contains(&column);
            inside.then(|| colour(expected, row - 2, column + 3))
        });
    })
}

#[test]
fn a_target_that_fails_passes_its_error_on() -> Result<()> {
    struct Broken;
    impl OriginDimensions for Broken {
        fn size(&self) -> Size {
            Size::new(64, 64)
        }
    }
    impl DrawTarget for Broken {
        type Color = Gray8;
        type Error = &'static str;
        fn draw_iter<I: IntoIterator<Item = Pixel<Gray8>>>(&mut self, _: I) -> Result<(), Self::Error> {
            Err("the cable is off")
        }
    }
    with_canvas(GREY, |canvas, _| {
        assert_eq!(Image::new(&Picture::new(canvas), Point::zero()).draw(&mut Broken), Err("the cable is off"));
    })
}
