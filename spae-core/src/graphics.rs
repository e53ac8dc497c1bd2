//! A [`Canvas`] as an embedded-graphics image.

use core::cell::RefCell;
use core::marker::PhantomData;

use embedded_graphics::draw_target::DrawTargetExt;
use embedded_graphics::image::ImageDrawable;
use embedded_graphics::pixelcolor::{Gray8, Rgb888};
use embedded_graphics::prelude::{DrawTarget, OriginDimensions, PixelColor, Point, Size};
use embedded_graphics::primitives::Rectangle;

use crate::canvas::Canvas;
use crate::decoder::PixelRow;

/// The picture on a canvas, in any colour that grey and RGB convert into. It is decoded as it is drawn, row by row,
/// each row with one `fill_contiguous`; no frame buffer is needed.
#[derive(Debug)]
pub struct Picture<'c, 'm, 's, C> {
    canvas: RefCell<&'c mut Canvas<'m, 's>>,
    scale: u16,
    colour: PhantomData<C>,
}

impl<'c, 'm, 's, C> Picture<'c, 'm, 's, C> {
    /// The picture that `canvas` has at the time of drawing.
    pub fn new(canvas: &'c mut Canvas<'m, 's>) -> Self {
        Self { canvas: RefCell::new(canvas), scale: 1, colour: PhantomData }
    }

    /// Each pixel drawn as a square of `scale` × `scale` (at least 1).
    pub fn scaled(self, scale: u16) -> Self {
        Self { scale: scale.max(1), ..self }
    }
}

impl<C> OriginDimensions for Picture<'_, '_, '_, C> {
    fn size(&self) -> Size {
        let shape = self.canvas.try_borrow().map(|canvas| canvas.shape());
        shape.map_or(Size::zero(), |shape| Size::new(shape.width.into(), shape.height.into()) * u32::from(self.scale))
    }
}

/// Draws row `y` as `scale` rows. Not inlined: its stack is free again while rows are decoded.
#[inline(never)]
fn draw_row<D: DrawTarget<Color: From<Gray8> + From<Rgb888>>>(
    target: &mut D,
    scale: u16,
    y: u16,
    row: PixelRow<'_>,
) -> Result<(), D::Error> {
    let width = row.channel(0).len();
    let area = Rectangle::new(
        Point::new(0, i32::from(y) * i32::from(scale)),
        Size::new(width as u32 * u32::from(scale), scale.into()),
    );
    let [red, green, blue] = if row.channels() == 3 { [0, 1, 2] } else { [0; 3] };
    let pixels = || {
        let colours = row.channel(red).zip(row.channel(green)).zip(row.channel(blue)).map(|((r, g), b)| {
            if row.channels() == 3 { D::Color::from(Rgb888::new(r, g, b)) } else { D::Color::from(Gray8::new(r)) }
        });
        colours.flat_map(|colour| core::iter::repeat_n(colour, scale.into()))
    };
    target.fill_contiguous(&area, (0..scale).flat_map(|_| pixels()))
}

impl<C: PixelColor + From<Gray8> + From<Rgb888>> ImageDrawable for Picture<'_, '_, '_, C> {
    type Color = C;

    fn draw<D: DrawTarget<Color = C>>(&self, target: &mut D) -> Result<(), D::Error> {
        let Ok(mut canvas) = self.canvas.try_borrow_mut() else { return Ok(()) };
        let scale = self.scale;
        let mut result = Ok(());
        canvas.rows(|y, row| {
            if result.is_ok() {
                result = draw_row(target, scale, y, row);
            }
        });
        result
    }

    fn draw_sub_image<D: DrawTarget<Color = C>>(&self, target: &mut D, area: &Rectangle) -> Result<(), D::Error> {
        let mut translated = target.translated(-area.top_left);
        self.draw(&mut translated.clipped(area))
    }
}
