//! The screen: the picture on the left; on the right its first word, the counts, and the pyramid as it fills.
//!
//! Everything is handed to the display in whole rows at even columns, so that a controller with two pixels in a byte
//! needs no copy of its memory.

use core::fmt::Write;

use embedded_graphics::framebuffer::{Framebuffer, buffer_size};
use embedded_graphics::image::Image;
use embedded_graphics::mono_font::ascii::{FONT_5X8, FONT_7X13_BOLD};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::raw::{BigEndian, RawU4};
use embedded_graphics::pixelcolor::{Gray4, GrayColor};
use embedded_graphics::prelude::{DrawTarget, DrawTargetExt, Drawable, OriginDimensions, Point, Size};
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Baseline, Text};
use spae_core::canvas::Canvas;
use spae_core::graphics::Picture;
use spae_core::lexicon::Word;
use spae_core::pyramid::Pyramid;

/// Side of the square for the picture, and of the one for the panel beside it.
const HALF: u32 = 64;

/// Rows of the panel that are put together at a time.
const STRIP: usize = 8;

/// Free columns on both sides of the panel, and what is left between them.
const MARGIN: i32 = 3;
const ROOM: u32 = HALF - 2 * MARGIN as u32;

type Strip =
    Framebuffer<Gray4, RawU4, BigEndian, { HALF as usize }, STRIP, { buffer_size::<Gray4>(HALF as usize, STRIP) }>;

/// What the panel says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    /// The text's first word.
    pub(crate) title: Option<Word>,
    /// Places taken, holes included.
    pub(crate) places: usize,
    pub(crate) layers_complete: usize,
    pub(crate) unknown: u32,
}

/// Draws the picture as large as it fits. (Neither this nor the panel is inlined: they need the same stack in turn.)
#[inline(never)]
pub(crate) fn draw_picture<D: DrawTarget<Color = Gray4>>(
    target: &mut D,
    canvas: &mut Canvas<'_, '_>,
) -> Result<(), D::Error> {
    let longest = u32::from(canvas.shape().height.max(canvas.shape().width)).max(1);
    let picture = Picture::new(canvas).scaled((HALF / longest) as u16);
    let free = Size::new(HALF, HALF).saturating_sub(picture.size());
    // Even columns.
    let corner = Point::new((free.width / 4 * 2) as i32, (free.height / 2) as i32);
    let area = Rectangle::new(Point::zero(), Size::new(HALF, HALF));
    Image::new(&picture, corner).draw(&mut target.clipped(&area))
}

/// Draws the panel.
#[inline(never)]
pub(crate) fn draw_panel<D: DrawTarget<Color = Gray4>>(
    target: &mut D,
    pyramid: &Pyramid,
    status: &Status,
) -> Result<(), D::Error> {
    for top in (0..HALF as i32).step_by(STRIP) {
        let mut strip = Strip::new();
        let Ok(()) = panel(&mut strip.translated(Point::new(0, -top)), pyramid, status);
        Image::new(&strip.as_image(), Point::new(HALF as i32, top)).draw(target)?;
    }
    Ok(())
}

fn panel<D: DrawTarget<Color = Gray4>>(target: &mut D, pyramid: &Pyramid, status: &Status) -> Result<(), D::Error> {
    let title = status.title.as_ref().map_or("spae", Word::as_str);
    let fits = title.chars().count() as u32 * FONT_7X13_BOLD.character_size.width <= HALF - MARGIN as u32;
    let (font, y) = if fits { (&FONT_7X13_BOLD, 2) } else { (&FONT_5X8, 5) };
    text(target, font, Gray4::WHITE, y, format_args!("{title}"))?;
    target.fill_solid(&Rectangle::new(Point::new(MARGIN, 17), Size::new(ROOM, 1)), Gray4::new(4))?;
    let layers = pyramid.layers().len();
    let words = status.places - status.unknown as usize;
    let plural = if words == 1 { "" } else { "s" };
    text(target, &FONT_5X8, Gray4::new(11), 20, format_args!("layer {}/{layers}", status.layers_complete))?;
    text(target, &FONT_5X8, Gray4::new(11), 28, format_args!("{words} word{plural}"))?;
    if status.unknown > 0 {
        text(target, &FONT_5X8, Gray4::new(7), 36, format_args!("{} unknown", status.unknown))?;
    }
    draw_pyramid(target, pyramid, status.places)
}

/// One little grid a layer, side by side on a common base line; a cell lights up as its word comes.
fn draw_pyramid<D: DrawTarget<Color = Gray4>>(
    target: &mut D,
    pyramid: &Pyramid,
    places: usize,
) -> Result<(), D::Error> {
    const GAP: u32 = 3;
    let columns: u32 = pyramid.layers().iter().map(|layer| u32::from(layer.width)).sum();
    let gaps = GAP * (pyramid.layers().len() as u32 - 1);
    let cell = ROOM.saturating_sub(gaps).checked_div(columns).unwrap_or(0).clamp(1, 3);
    let mut left = MARGIN;
    let mut before = 0;
    for layer in pyramid.layers() {
        let (height, width) = (usize::from(layer.height), usize::from(layer.width));
        let top = HALF as i32 - MARGIN - (height as u32 * cell) as i32;
        for index in 0..layer.area() {
            let row = index.checked_div(width).unwrap_or(0);
            let column = index - row * width;
            let corner = Point::new(left, top) + Point::new(column as i32, row as i32) * cell as i32;
            let grey = if before + index < places { 13 } else { 3 };
            target.fill_solid(&Rectangle::new(corner, Size::new_equal(cell)), Gray4::new(grey))?;
        }
        before += layer.area();
        left += (width as u32 * cell + GAP) as i32;
    }
    Ok(())
}

fn text<D: DrawTarget<Color = Gray4>>(
    target: &mut D,
    font: &MonoFont<'_>,
    colour: Gray4,
    y: i32,
    content: core::fmt::Arguments<'_>,
) -> Result<(), D::Error> {
    let mut buffer = TextBuffer { bytes: [0; 16], length: 0 };
    // What does not fit the buffer does not fit the panel.
    let _ = buffer.write_fmt(content);
    let style = MonoTextStyle::new(font, colour);
    Text::with_baseline(buffer.as_str(), Point::new(MARGIN, y), style, Baseline::Top).draw(target)?;
    Ok(())
}

/// As many characters as the panel is wide.
struct TextBuffer {
    bytes: [u8; 16],
    length: usize,
}

impl TextBuffer {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Write for TextBuffer {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        // Character by character, so that a text too long ends with a whole one.
        for (at, c) in s.char_indices() {
            let bytes = s.as_bytes().iter().skip(at).take(c.len_utf8());
            let end = self.length + c.len_utf8();
            let room = self.bytes.get_mut(self.length..end).ok_or(core::fmt::Error)?;
            room.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            self.length = end;
        }
        Ok(())
    }
}
