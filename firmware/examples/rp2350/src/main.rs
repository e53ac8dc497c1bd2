//! Words to pictures on a Raspberry Pi Pico 2: words come in on a serial line, and each time a layer of them is complete
//! the picture is drawn anew on an SPI display. `README.md` has the wiring.
#![no_std]
#![no_main]

mod line;

use defmt_rtt as _;
use panic_probe as _;
use rp235x_hal as hal;

use embedded_graphics::image::Image;
use embedded_graphics::pixelcolor::Rgb565;
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Point, RgbColor, Size};
use embedded_hal::spi::MODE_3;
use embedded_hal_bus::spi::ExclusiveDevice;
use hal::Clock;
use hal::fugit::RateExtU32;
use mipidsi::interface::SpiInterface;
use mipidsi::models::ST7789;
use mipidsi::options::ColorInversion;
use spae_core::canvas::Canvas;
use spae_core::graphics::Picture;
use spae_core::model::Model;
use spae_core::stream::{Event, Stream, UnknownPolicy};
use spae_model::SCRATCH_LEN;

use crate::line::Line;

/// Pixels of the display.
const WIDTH: u16 = 240;
const HEIGHT: u16 = 240;

/// The crystal on the board.
const CRYSTAL_HERTZ: u32 = 12_000_000;

/// On the line: the text ends here.
const END_OF_TEXT: u8 = 0x04;
/// On the line: forget this text.
const CANCEL: u8 = 0x18;

/// Tells the boot ROM that this is a program for the Arm cores.
#[unsafe(link_section = ".start_block")]
#[used]
static IMAGE: hal::block::ImageDef = hal::block::ImageDef::secure_exe();

#[hal::entry]
fn main() -> ! {
    // `entry` hands it out once, as `&'static mut`.
    static mut SCRATCH: [u32; SCRATCH_LEN] = [0; SCRATCH_LEN];

    // Clocks: 150 MHz from the crystal.
    let mut chip = defmt::unwrap!(hal::pac::Peripherals::take());
    let mut watchdog = hal::Watchdog::new(chip.WATCHDOG);
    let clocks = hal::clocks::init_clocks_and_plls(
        CRYSTAL_HERTZ,
        chip.XOSC,
        chip.CLOCKS,
        chip.PLL_SYS,
        chip.PLL_USB,
        &mut chip.RESETS,
        &mut watchdog,
    );
    let Ok(clocks) = clocks else { defmt::panic!("the clocks do not start") };
    let peripheral_clock = clocks.peripheral_clock.freq();
    let mut timer = hal::Timer::new_timer0(chip.TIMER0, &mut chip.RESETS, &clocks);
    let pins = hal::Sio::new(chip.SIO).gpio_bank0;
    let pins = hal::gpio::Pins::new(chip.IO_BANK0, chip.PADS_BANK0, pins, &mut chip.RESETS);

    // The display. Mode 3 also suits modules without a chip select.
    let wires = (pins.gpio19.into_function(), pins.gpio18.into_function());
    let spi = hal::Spi::<_, _, _, 8>::new(chip.SPI0, wires);
    let spi = spi.init(&mut chip.RESETS, peripheral_clock, 40.MHz(), MODE_3);
    let Ok(spi) = ExclusiveDevice::new_no_delay(spi, pins.gpio17.into_push_pull_output());
    let mut buffer = [0; 512];
    let interface = SpiInterface::new(spi, pins.gpio20.into_push_pull_output(), &mut buffer);
    let display = mipidsi::Builder::new(ST7789, interface)
        .reset_pin(pins.gpio21.into_push_pull_output())
        .display_size(WIDTH, HEIGHT)
        .invert_colors(ColorInversion::Inverted)
        .init(&mut timer);
    let Ok(mut display) = display else { defmt::panic!("the display does not start") };
    let Ok(()) = display.clear(Rgb565::BLACK);

    // The line.
    let wires = (pins.gpio0.into_function(), pins.gpio1.into_function());
    let line = Line::start(chip.UART0, wires, &mut chip.RESETS, peripheral_clock);

    // The model, in flash, and a canvas in the memory that it asks for.
    let model = defmt::unwrap!(Model::read(spae_model::file()));
    let canvas = defmt::unwrap!(Canvas::with_kernel(&model, SCRATCH, spae_kernels::best()));
    defmt::info!("{} words, {} a picture", model.lexicon().len(), model.pyramid().token_count());
    serve(canvas, Output { line, display, timer })
}

/// Draws one text after the other.
fn serve<D: DrawTarget<Color = Rgb565>>(canvas: Canvas<'_, '_>, mut output: Output<D>) -> ! {
    // A noisy line damages words rather than adding some: an unknown word keeps its place.
    let mut stream = Stream::new(canvas, UnknownPolicy::Hole);
    output.line.say(format_args!("ready"));
    let mut bytes = 0u32;
    loop {
        match output.line.read() {
            CANCEL => {}
            END_OF_TEXT => {
                // `Hole` makes no word an error, so the result says nothing more than the events.
                let _ = stream.finish(|event, canvas| output.on(event, canvas));
                output.end(&mut stream, bytes);
            }
            byte => {
                let _ = stream.push(&[byte], |event, canvas| output.on(event, canvas));
                bytes = bytes.wrapping_add(1);
                continue;
            }
        }
        stream.clear();
        bytes = 0;
        output.line.say(format_args!("ready"));
    }
}

/// Where pictures and reports go. The reports are those that `spae send` reads.
struct Output<D> {
    line: Line,
    display: D,
    timer: hal::Timer<hal::timer::CopyableTimer0>,
}

impl<D: DrawTarget<Color = Rgb565>> Output<D> {
    fn on(&mut self, event: Event, canvas: &mut Canvas<'_, '_>) {
        defmt::debug!("{}", event);
        match event {
            Event::LayerComplete { layer } => {
                self.draw(canvas);
                let layers = canvas.model().pyramid().layers().len();
                self.line.say(format_args!("layer {} of {layers}", layer + 1));
            }
            Event::Unknown { offset } => self.line.say(format_args!("unknown {offset}")),
            Event::Token { .. } | Event::Hole { .. } | Event::Label { .. } | Event::Surplus { .. } => {}
        }
    }

    /// The text has ended; `bytes` is how long it was.
    fn end(&mut self, stream: &mut Stream<'_, '_>, bytes: u32) {
        let summary = stream.summary();
        let canvas = stream.canvas();
        let complete = canvas.model().pyramid().layers().iter().take(canvas.layers_complete());
        let shown: usize = complete.map(|layer| layer.area()).sum();
        if (summary.tokens + summary.unknown) as usize > shown {
            self.draw(canvas);
            self.line.say(format_args!("partial"));
        }
        let lost = self.line.take_lost();
        defmt::info!("{}, {} of {} bytes lost", summary, lost, bytes);
        let (tokens, unknown, surplus) = (summary.tokens, summary.unknown, summary.surplus);
        self.line.say(format_args!(
            "summary bytes {bytes} tokens {tokens} unknown {unknown} surplus {surplus} layers {} lost {lost}",
            summary.layers_complete
        ));
    }

    /// Draws the picture in the middle, as large as it fits in whole steps. Nothing is kept of it: its rows are computed
    /// as they are sent.
    fn draw(&mut self, canvas: &mut Canvas<'_, '_>) {
        let start = self.timer.get_counter();
        let shape = canvas.shape();
        let scale = (WIDTH / shape.width.max(1)).min(HEIGHT / shape.height.max(1));
        let picture = Picture::<Rgb565>::new(canvas).scaled(scale);
        let free = Size::new(WIDTH.into(), HEIGHT.into()).saturating_sub(picture.size());
        let corner = Point::new(free.width as i32 / 2, free.height as i32 / 2);
        if Image::new(&picture, corner).draw(&mut self.display).is_err() {
            defmt::error!("the display does not answer");
        }
        let time = self.timer.get_counter() - start;
        defmt::info!("drawn with {} layers in {} ms", canvas.layers_complete(), time.to_millis());
    }
}
