//! The screen of a board that has none.

use core::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::pixelcolor::Gray4;
use embedded_graphics::prelude::{DrawTarget, OriginDimensions, Size};

/// Takes every pixel and shows none.
#[derive(Clone, Copy, Debug)]
pub struct NoScreen;

impl OriginDimensions for NoScreen {
    fn size(&self) -> Size {
        Size::new(128, 64)
    }
}

impl DrawTarget for NoScreen {
    type Color = Gray4;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Gray4>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        pixels.into_iter().for_each(drop);
        Ok(())
    }
}
