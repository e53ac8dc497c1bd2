//! A served line on the host: what goes in, what is reported, what is on the screen.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::pixelcolor::{Gray4, GrayColor};
use embedded_graphics::prelude::{DrawTarget, OriginDimensions, PointsIter, Size};
use embedded_graphics::primitives::Rectangle;
use spae_app::{Board, Clock, Line, Memory, run, serve};
use spae_core::codebook::Rows;
use spae_core::decoder::{Operation, StageSpec, Weights};
use spae_core::error::EmitError;
use spae_core::kernel::Activation;
use spae_core::kernel::integer::Portable;
use spae_core::model::{Model, Parts, emit};
use spae_core::pyramid::{Pyramid, Shape};

/// A model whose picture, 2 × 2, has the words' values themselves: "dark" is −1, "grey" 0 and "light" 1.
fn model_file() -> Vec<u8> {
    let pyramid = Pyramid::new(Shape::new(2, 2), &[Shape::new(1, 1), Shape::new(2, 2)]).unwrap();
    let stage =
        StageSpec { operation: Operation::Input, activation: Activation::Identity, residual: None, channels: 1 };
    let parts = Parts {
        pyramid,
        words: &["dark", "grey", "light"],
        rows: Rows::F16 { width: 1, values: &[-1.0, 0.0, 1.0] },
        stages: &[stage],
        weights: Weights::F16(&[0.0; 4]),
        provenance: "",
    };
    let Err(EmitError::OutputTooSmall { needed, .. }) = emit(&parts, &mut []) else { panic!("no length") };
    let mut file = vec![0; needed];
    emit(&parts, &mut file).unwrap();
    file
}

struct Wire {
    input: VecDeque<u8>,
    output: String,
    lost: u32,
}

impl std::fmt::Write for Wire {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        self.output.push_str(s);
        Ok(())
    }
}

impl Line for Wire {
    fn read(&mut self) -> Option<u8> {
        self.input.pop_front()
    }

    fn take_lost(&mut self) -> u32 {
        std::mem::take(&mut self.lost)
    }
}

/// 128 × 64 greys, two to a byte as on a real controller: only areas of even left edge and width are allowed.
struct Screen(Vec<u8>);

impl OriginDimensions for Screen {
    fn size(&self) -> Size {
        Size::new(128, 64)
    }
}

impl DrawTarget for Screen {
    type Color = Gray4;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Gray4>>>(&mut self, _: I) -> Result<(), Infallible> {
        panic!("pixels one by one");
    }

    fn fill_contiguous<I: IntoIterator<Item = Gray4>>(&mut self, area: &Rectangle, greys: I) -> Result<(), Infallible> {
        assert!(area.top_left.x % 2 == 0 && area.size.width.is_multiple_of(2), "{area:?}");
        for (point, grey) in area.points().zip(greys) {
            self.0[point.y as usize * 128 + point.x as usize] = grey.luma();
        }
        Ok(())
    }
}

/// A clock that never moves, and the portable kernel.
fn board<'b>(name: &'b str, memory: &'b dyn Fn() -> Memory) -> Board<'b> {
    Board { name, kernel: &Portable, memory, clock: Clock { read: &|| 0, bits: 32, spin: &|_| () } }
}

/// What is reported for `input`, and the screen afterwards.
fn served(input: &[u8], lost: u32) -> (Vec<String>, Vec<u8>) {
    let file = model_file();
    let model = Model::read(&file).unwrap();
    let mut scratch = vec![0; model.scratch_len()];
    let mut wire = Wire { input: input.iter().copied().collect(), output: String::new(), lost };
    let mut screen = Screen(vec![9; 128 * 64]);
    let calls = Cell::new(0);
    let memory = || {
        calls.set(calls.get() + 1);
        Memory { statics: 100, stack: calls.get() }
    };
    serve(&board("bench", &memory), &model, &mut scratch, &mut wire, &mut screen).unwrap();
    (wire.output.lines().map(String::from).collect(), screen.0)
}

#[test]
fn each_layer_is_drawn_when_it_is_complete_and_the_text_summed_up() {
    let (lines, screen) = served(b"light\ndark grey light dark\n\x04", 0);
    let scratch = 4 * Model::read(&model_file()).unwrap().scratch_len();
    assert_eq!(
        lines,
        [
            &format!("board bench format 2 words 3 places 5 picture 2×2 scratch {scratch}")[..],
            "ready",
            "layer 1 of 2",
            "layer 2 of 2",
            "summary bytes 27 tokens 5 unknown 0 surplus 0 layers 2 lost 0",
            &format!("memory static 100 scratch {scratch} stack 1"),
            "ready",
        ]
    );
    // Place (1, 1) of a 1×1 layer on a 2×2 grid holds the first word too, so its mean is grey.
    let quarter = |row: usize, column: usize| screen[(32 * row + 16) * 128 + 32 * column + 16];
    assert_eq!([quarter(0, 0), quarter(0, 1), quarter(1, 0), quarter(1, 1)], [0, 8, 15, 8]);
    assert!(screen.iter().enumerate().any(|(at, &grey)| at % 128 >= 64 && grey == 15), "no title");
}

#[test]
fn pixels_are_reported_on_request_and_for_that_text_alone() {
    let (lines, _) = served(b"\x05light\n\x04light\n\x04", 0);
    let rows: Vec<_> = lines.iter().filter(|line| line.starts_with("row")).collect();
    assert_eq!(rows, ["row 0 ffff", "row 1 ffff"]);
    assert_eq!(lines.iter().filter(|line| line.starts_with("checksum")).count(), 1);
}

#[test]
fn a_model_that_does_not_read_is_reported() {
    let mut wire = Wire { input: VecDeque::new(), output: String::new(), lost: 0 };
    let memory = || Memory { statics: 0, stack: 0 };
    let (file, board, mut place) = (model_file(), board("bench", &memory), None);
    let result = run(&board, &file[1..], &mut place, &mut [0; 64], &mut wire, &mut Screen(Vec::new()));
    assert!(result.is_err());
    assert!(wire.output.starts_with("failed starts with "), "{}", wire.output);
}

#[test]
fn work_is_reported_on_request_stage_by_stage() {
    let (lines, _) = served(b"\x12light\n\x04light\n\x04", 0);
    let work: Vec<_> = lines.iter().filter(|line| line.starts_with("work")).collect();
    assert_eq!(work, ["work spin 4000000 0", "work stage 0 0", "work picture 0", "work lookup 0"]);
}

#[test]
fn faults_are_reported_and_unknown_words_keep_their_places() {
    let (lines, _) = served(b"Layer 1: LIGHT,\n1. dark 2. dirk 3. \xFF 4. grey\ndark dark\x04", 7);
    let remarks: Vec<_> = lines[2..lines.len() - 3].iter().map(String::as_str).collect();
    assert_eq!(remarks, ["label 0", "layer 1 of 2", "unknown 27", "unknown 35", "layer 2 of 2", "surplus 45"]);
    assert_eq!(lines[lines.len() - 3], "summary bytes 54 tokens 3 unknown 2 surplus 2 layers 2 lost 7");
}

#[test]
fn a_text_that_ends_inside_a_layer_is_drawn_with_all_its_words() {
    let (lines, screen) = served(b"grey\nlight\x04", 0);
    assert_eq!(lines[2..4], ["layer 1 of 2", "partial"]);
    assert_eq!([screen[0], screen[63 * 128]], [15, 8]);
}

#[test]
fn a_cancelled_text_leaves_nothing_behind() {
    let (lines, _) = served(b"dark\nlight\x18grey\n\x04", 0);
    assert_eq!(lines[2..4], ["layer 1 of 2", "ready"]);
    assert_eq!(lines[4..6], ["layer 1 of 2", "summary bytes 5 tokens 1 unknown 0 surplus 0 layers 1 lost 0"]);
}

#[test]
fn nothing_is_served_after_a_stop_or_with_too_little_memory() {
    assert_eq!(served(b"\x03light\n\x04", 0).0.len(), 2);
    let file = model_file();
    let model = Model::read(&file).unwrap();
    let mut wire = Wire { input: VecDeque::new(), output: String::new(), lost: 0 };
    let memory = || Memory { statics: 0, stack: 0 };
    serve(&board("bench", &memory), &model, &mut [0; 3], &mut wire, &mut Screen(Vec::new())).unwrap();
    assert_eq!(wire.output, format!("failed scratch memory of 3 words; the model needs {}\n", model.scratch_len()));
}
