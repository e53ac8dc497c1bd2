//! spae-core as a WebAssembly module that imports nothing.
//!
//! The caller asks for [`input`], writes a model file and a text there, one behind the other, calls [`draw`] and reads
//! [`output`]. The module does one call at a time.

use std::fmt::Display;
use std::sync::Mutex;

use spae_core::canvas::Canvas;
use spae_core::model::Model;
use spae_core::stream::{Stream, UnknownPolicy};

static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static OUTPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Where `length` bytes may be written.
#[unsafe(no_mangle)]
pub extern "C" fn input(length: usize) -> *mut u8 {
    with(&INPUT, |input| {
        *input = vec![0; length];
        input.as_mut_ptr()
    })
}

/// Draws the text behind a model file of `file_length` bytes; words that the model does not have keep their place and leave it
/// uncovered. 0, and the output is the picture: height, width and channels, two bytes each, and the pixels [height × width ×
/// channels]. Or 1, and it is what is wrong, as text.
#[unsafe(no_mangle)]
pub extern "C" fn draw(file_length: usize) -> u32 {
    let drawn = with(&INPUT, |input| match input.split_at_checked(file_length) {
        Some((file, text)) => picture(file, text),
        None => Err(format!("there are {} bytes, less than {file_length}", input.len())),
    });
    let (output, status) = match drawn {
        Ok(picture) => (picture, 0),
        Err(message) => (message.into_bytes(), 1),
    };
    with(&OUTPUT, |slot| *slot = output);
    status
}

/// Where the output of the last [`draw`] lies.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    with(&OUTPUT, |output| output.as_ptr())
}

/// Bytes of the output of the last [`draw`].
#[unsafe(no_mangle)]
pub extern "C" fn output_length() -> usize {
    with(&OUTPUT, |output| output.len())
}

fn picture(file: &[u8], text: &[u8]) -> Result<Vec<u8>, String> {
    let model = Model::read(file).map_err(message)?;
    let mut scratch = vec![0; model.scratch_len()];
    let canvas = Canvas::new(&model, &mut scratch).map_err(message)?;
    let mut stream = Stream::new(canvas, UnknownPolicy::Hole);
    stream.push(text, |_, _| ()).map_err(message)?;
    stream.finish(|_, _| ()).map_err(message)?;
    let (shape, channels) = (stream.canvas().shape(), model.decoder().picture_channels());
    let mut picture: Vec<u8> =
        [shape.height, shape.width, channels as u16].iter().flat_map(|size| size.to_le_bytes()).collect();
    stream.canvas().rows(|_, row| {
        let start = picture.len();
        picture.resize(start + usize::from(shape.width) * channels, 0);
        for channel in 0..channels {
            let pixels = picture[start..].iter_mut().skip(channel).step_by(channels);
            pixels.zip(row.channel(channel)).for_each(|(pixel, value)| *pixel = value);
        }
    });
    Ok(picture)
}

fn message(error: impl Display) -> String {
    error.to_string()
}

/// There is one thread, and a module whose call has trapped is not called again: the lock is free.
fn with<T>(slot: &Mutex<Vec<u8>>, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    work(&mut slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}
