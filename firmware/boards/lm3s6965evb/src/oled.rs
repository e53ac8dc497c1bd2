//! The board's OLED: an SSD0323 with 128 × 64 pixels of 16 greys on SSI0, with its data/command line on PC7.

use core::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::pixelcolor::{Gray4, GrayColor};
use embedded_graphics::prelude::{Dimensions, DrawTarget, OriginDimensions, PointsIter, Size};
use embedded_graphics::primitives::Rectangle;
use spae_runtime::{Peripheral, wait_while};

// SAFETY: the data sheet's memory map has SSI0 and ports A, C and D here, all clocked once `clock::start` has returned,
// which `main` calls first; none accesses memory.
const SSI0: Peripheral = unsafe { Peripheral::new(0x4000_8000) };
// SAFETY: as above.
const PORT_A: Peripheral = unsafe { Peripheral::new(0x4000_4000) };
// SAFETY: as above.
const PORT_C: Peripheral = unsafe { Peripheral::new(0x4000_6000) };
// SAFETY: as above.
const PORT_D: Peripheral = unsafe { Peripheral::new(0x4000_7000) };

const CONTROL_0: usize = 0x000;
/// Eight bits, clock idle high, sampled on its first edge.
const EIGHT_BITS_MODE_2: u32 = 1 << 6 | 7;
const CONTROL_1: usize = 0x004;
const ENABLE: u32 = 1 << 1;
const DATA: usize = 0x008;
const STATUS: usize = 0x00C;
const TRANSMITTER_NOT_FULL: u32 = 1 << 1;
const RECEIVER_NOT_EMPTY: u32 = 1 << 2;
const BUSY: u32 = 1 << 4;
const PRESCALE: usize = 0x010;
/// 50 MHz / 14 = 3.6 MHz; the controller takes 4 MHz.
const PRESCALE_14: u32 = 14;

const DIRECTION: usize = 0x400;
const ALTERNATE_FUNCTION: usize = 0x420;
const DIGITAL_ENABLE: usize = 0x51C;
/// Clock, frame and transmit of SSI0 on port A.
const SSI_PINS: u32 = 1 << 2 | 1 << 3 | 1 << 5;
const DATA_COMMAND: u32 = 1 << 7;
/// The SD card's chip select on port D; the card shares SSI0.
const CARD_SELECT: u32 = 1 << 0;
/// A port's data register takes the pins to change from the address: `mask << 2`.
const DATA_COMMAND_DATA: usize = (DATA_COMMAND as usize) << 2;
const CARD_SELECT_DATA: usize = (CARD_SELECT as usize) << 2;

const COLUMNS: u8 = 0x15;
const ROWS: u8 = 0x75;
const DISPLAY_ON: u8 = 0xAF;

/// The controller's commands (its data sheet, chapter 8) with the values that suit this panel.
#[rustfmt::skip]
const SET_UP: [&[u8]; 16] = [
    &[0x81, 0x32],       // contrast
    &[0x85],             // half the current range
    &[0xA0, 0x52],       // columns first; lines and halves of bytes in the panel's order
    &[0xA1, 0x00],       // start line
    &[0xA2, 0x4C],       // offset
    &[0xA4],             // normal display
    &[0xA8, 63],         // lines less one
    &[0xB1, 0x22],       // phase lengths
    &[0xB2, 70],         // row period
    &[0xB3, 0xF1],       // clock divider
    &[0xBF, 0x0D],       // low level of segments
    &[0xBE, 0x02],       // high level of common lines
    &[0xBC, 0x10],       // precharge
    &[0xB8, 0x01, 0x11, 0x22, 0x32, 0x43, 0x54, 0x65, 0x76], // steps between greys
    &[0xAD, 0x03],       // the controller's own converter supplies the panel
    &[0xE3],             // nothing
];

const SIZE: Size = Size::new(128, 64);

/// The display.
///
/// Its memory holds two pixels in a byte and cannot be read, and no copy is kept here: what is drawn blackens a
/// neighbour that shares a byte with its left or right edge. Areas of even left edge and width are exact.
#[derive(Debug)]
pub(crate) struct Oled(());

impl Oled {
    pub(crate) fn start() -> Self {
        PORT_A.set::<ALTERNATE_FUNCTION>(SSI_PINS);
        PORT_A.set::<DIGITAL_ENABLE>(SSI_PINS);
        PORT_C.set::<DIRECTION>(DATA_COMMAND);
        PORT_C.set::<DIGITAL_ENABLE>(DATA_COMMAND);
        PORT_D.set::<DIRECTION>(CARD_SELECT);
        PORT_D.set::<DIGITAL_ENABLE>(CARD_SELECT);
        PORT_D.write::<CARD_SELECT_DATA>(CARD_SELECT);
        SSI0.write::<CONTROL_1>(0);
        SSI0.write::<CONTROL_0>(EIGHT_BITS_MODE_2);
        SSI0.write::<PRESCALE>(PRESCALE_14);
        SSI0.write::<CONTROL_1>(ENABLE);
        let mut oled = Self(());
        SET_UP.iter().for_each(|command| oled.command(command));
        let Ok(()) = oled.clear(Gray4::BLACK);
        oled.command(&[DISPLAY_ON]);
        oled
    }

    fn command(&mut self, bytes: &[u8]) {
        select(0);
        bytes.iter().for_each(|&byte| send(byte));
    }
}

/// Chooses what the next bytes are, once those on their way have left.
fn select(data: u32) {
    wait_while(|| SSI0.read::<STATUS>() & BUSY != 0);
    PORT_C.write::<DATA_COMMAND_DATA>(data);
}

fn send(byte: u8) {
    wait_while(|| SSI0.read::<STATUS>() & TRANSMITTER_NOT_FULL == 0);
    SSI0.write::<DATA>(byte.into());
    // What comes back means nothing, but fills the receiver.
    while SSI0.read::<STATUS>() & RECEIVER_NOT_EMPTY != 0 {
        SSI0.read::<DATA>();
    }
}

impl OriginDimensions for Oled {
    fn size(&self) -> Size {
        SIZE
    }
}

impl DrawTarget for Oled {
    type Color = Gray4;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Gray4>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        pixels.into_iter().try_for_each(|Pixel(point, grey)| {
            self.fill_contiguous(&Rectangle::new(point, Size::new_equal(1)), core::iter::once(grey))
        })
    }

    fn fill_contiguous<I: IntoIterator<Item = Gray4>>(&mut self, area: &Rectangle, greys: I) -> Result<(), Infallible> {
        let visible = area.intersection(&self.bounding_box());
        let Some(last) = visible.bottom_right() else { return Ok(()) };
        let first = visible.top_left;
        // Both corners lie on the screen, so the coordinates fit a byte.
        self.command(&[COLUMNS, (first.x / 2) as u8, (last.x / 2) as u8]);
        self.command(&[ROWS, first.y as u8, last.y as u8]);
        select(DATA_COMMAND);
        let mut left = 0;
        for (point, grey) in area.points().zip(greys).filter(|&(point, _)| visible.contains(point)) {
            if point.x % 2 == 0 {
                left = grey.luma() << 4;
                if point.x == last.x {
                    send(left);
                }
            } else {
                send(left | grey.luma());
                left = 0;
            }
        }
        Ok(())
    }
}
