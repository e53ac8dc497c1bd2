//! One line served: bytes to events, events to pictures and reports.

use core::fmt::Result;

use embedded_graphics::pixelcolor::{Gray4, GrayColor};
use embedded_graphics::prelude::DrawTarget;
use spae_core::canvas::Canvas;
use spae_core::model::Model;
use spae_core::stream::{Event, Stream, Summary, UnknownPolicy};

use crate::board::{Board, Memory};
use crate::screen::{self, Status};
use crate::{Line, report, work};

const STOP: u8 = 0x03;
const END_OF_TEXT: u8 = 0x04;
const ENQUIRY: u8 = 0x05;
const MEASURE: u8 = 0x12;
const CANCEL: u8 = 0x18;

/// Reads the model in `file` into `place` and [serves](serve) `line` with it; says why if it does not read.
///
/// # Errors
/// If the model does not read, or the line cannot be written to.
pub fn run<'f, L: Line, D: DrawTarget<Color = Gray4>>(
    board: &Board<'_>,
    file: &'f [u8],
    place: &mut Option<Model<'f>>,
    scratch: &mut [u32],
    line: &mut L,
    screen: &mut D,
) -> Result {
    if let Err(error) = Model::read_in(place, file) {
        writeln!(line, "failed {error}")?;
    }
    match place {
        Some(model) => serve(board, model, scratch, line, screen),
        None => Err(core::fmt::Error),
    }
}

/// Serves `line` until it is closed or asks to stop. `scratch` has at least [`Model::scratch_len`] elements.
///
/// # Errors
/// If the line cannot be written to.
pub fn serve<L: Line, D: DrawTarget<Color = Gray4>>(
    board: &Board<'_>,
    model: &Model<'_>,
    scratch: &mut [u32],
    line: &mut L,
    screen: &mut D,
) -> Result {
    let canvas = match Canvas::with_kernel(model, scratch, board.kernel) {
        Ok(canvas) => canvas,
        Err(error) => return writeln!(line, "failed {error}"),
    };
    let scratch_bytes = model.scratch_len() * size_of::<u32>();
    introduce(board, model, scratch_bytes, line)?;
    let mut stream = Stream::new(canvas, UnknownPolicy::Hole);
    let mut session = Session { model, line, screen, text: Text::default() };
    session.greet()?;
    while let Some(byte) = session.line.read() {
        let mut result = Ok(());
        let on = |event, canvas: &mut Canvas<'_, '_>| result = result.and_then(|()| session.on(event, canvas));
        // `Hole` makes no word an error, so what push and finish return says nothing more than the events.
        match byte {
            STOP => break,
            ENQUIRY => session.text.audit = true,
            MEASURE => session.text.measure = true,
            CANCEL => {
                stream.clear();
                session.text = Text::default();
                result = writeln!(session.line, "ready");
            }
            END_OF_TEXT => {
                let _ = stream.finish(on);
                result?;
                let summary = stream.summary();
                result = session.end(summary, stream.canvas(), (board.memory)(), scratch_bytes);
                if session.text.measure {
                    result = result.and_then(|()| work::report(session.line, stream.canvas(), &board.clock));
                }
                result = result.and_then(|()| writeln!(session.line, "ready"));
                stream.clear();
                session.text = Text::default();
            }
            byte => {
                let _ = stream.push(&[byte], on);
                session.text.bytes += 1;
            }
        }
        result?;
    }
    Ok(())
}

/// Says what the board and its model are. (Not inlined: texts are read on top of the caller's stack.)
#[inline(never)]
fn introduce(board: &Board<'_>, model: &Model<'_>, scratch_bytes: usize, line: &mut impl Line) -> Result {
    writeln!(
        line,
        "board {} format {} words {} places {} picture {} scratch {scratch_bytes}",
        board.name,
        model.version(),
        model.lexicon().len(),
        model.pyramid().token_count(),
        model.decoder().picture_shape(),
    )
}

/// What is known of the text so far.
#[derive(Default)]
struct Text {
    /// Bytes taken in, control bytes apart.
    bytes: u32,
    /// The first word's id.
    title: Option<u32>,
    /// Places taken, holes included.
    places: usize,
    unknown: u32,
    /// Places taken when the picture was drawn last.
    shown: usize,
    /// A surplus word has been reported.
    surplus: bool,
    /// Pictures are reported pixel by pixel.
    audit: bool,
    /// The work of the last picture is reported.
    measure: bool,
}

struct Session<'a, 'm, L, D> {
    model: &'a Model<'m>,
    line: &'a mut L,
    screen: &'a mut D,
    text: Text,
}

impl<L: Line, D: DrawTarget<Color = Gray4>> Session<'_, '_, L, D> {
    fn greet(&mut self) -> Result {
        let drawn = self.screen.clear(Gray4::BLACK).and_then(|()| self.draw_panel(0));
        self.check(drawn)?;
        writeln!(self.line, "ready")
    }

    fn on(&mut self, event: Event, canvas: &mut Canvas<'_, '_>) -> Result {
        match event {
            Event::Token { id, .. } => {
                self.text.title.get_or_insert(id);
                self.text.places += 1;
            }
            Event::Hole { .. } => self.text.places += 1,
            Event::Unknown { offset } => {
                self.text.unknown += 1;
                writeln!(self.line, "unknown {offset}")?;
            }
            Event::Label { offset } => writeln!(self.line, "label {offset}")?,
            Event::Surplus { offset } => {
                if !core::mem::replace(&mut self.text.surplus, true) {
                    writeln!(self.line, "surplus {offset}")?;
                }
            }
            Event::LayerComplete { layer } => {
                self.show(canvas)?;
                let layers = self.model.pyramid().layers().len();
                writeln!(self.line, "layer {} of {layers}", layer + 1)?;
                self.audit(canvas)?;
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn end(&mut self, summary: Summary, canvas: &mut Canvas<'_, '_>, memory: Memory, scratch: usize) -> Result {
        if self.text.shown != self.text.places {
            self.show(canvas)?;
            writeln!(self.line, "partial")?;
            self.audit(canvas)?;
        }
        let Summary { tokens, unknown, surplus, layers_complete } = summary;
        let lost = self.line.take_lost();
        writeln!(
            self.line,
            "summary bytes {} tokens {tokens} unknown {unknown} surplus {surplus} layers {layers_complete} lost {lost}",
            self.text.bytes
        )?;
        let Memory { statics, stack } = memory;
        writeln!(self.line, "memory static {statics} scratch {scratch} stack {stack}")
    }

    fn audit(&mut self, canvas: &mut Canvas<'_, '_>) -> Result {
        if self.text.audit { report::pixels(self.line, canvas) } else { Ok(()) }
    }

    fn show(&mut self, canvas: &mut Canvas<'_, '_>) -> Result {
        self.text.shown = self.text.places;
        let drawn = screen::draw_picture(self.screen, canvas);
        let drawn = drawn.and_then(|()| self.draw_panel(canvas.layers_complete()));
        self.check(drawn)
    }

    fn draw_panel(&mut self, layers_complete: usize) -> core::result::Result<(), D::Error> {
        let Text { title, places, unknown, .. } = self.text;
        let title = title.and_then(|id| self.model.lexicon().word(id));
        let status = Status { title, places, layers_complete, unknown };
        screen::draw_panel(self.screen, self.model.pyramid(), &status)
    }

    fn check(&mut self, drawn: core::result::Result<(), D::Error>) -> Result {
        if drawn.is_err() { writeln!(self.line, "failed the screen does not answer") } else { Ok(()) }
    }
}
