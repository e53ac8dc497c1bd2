//! Words to pictures without a heap or an operating system: the decoder of SPAE (Yu et al., 2023).
//!
//! A picture is a pyramid of words. Few at the top say what it is, many below say how it looks; any prefix gives a
//! picture. This crate reads such words one byte at a time and draws the picture row by row, with memory that the
//! caller lends.
//!
//! | module | what it is | in the paper |
//! |---|---|---|
//! | [`pyramid`] | which words sit where | §3.1, Eq. 1 |
//! | [`lexicon`] | the vocabulary T, ids and words | §3.1 |
//! | [`codebook`] | one vector a word | e(k), §3.1 |
//! | [`saq`] | nearest words and their running average | Eqs. 2 and 3 |
//! | [`decoder`] | from Ẑ to pixels, over [`kernel`]'s arithmetic | §3.1 |
//! | [`format`](mod@format), [`model`] | the model file, read in place | – |
//! | [`canvas`], [`stream`] | words in, picture out | §3.1: "progressively reconstruct" |
//! | [`graphics`] | the picture as an embedded-graphics image | – |
//!
//! No function panics on any input, none allocates, and the same words give the same picture, bit for bit, on every
//! processor.
//!
//! ```
//! use spae_core::{canvas::Canvas, model::Model, stream::{Event, Stream, UnknownPolicy}};
//!
//! fn draw(file: &[u8], text: &str) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
//!     let model = Model::read(file)?;
//!     let mut scratch = vec![0; model.scratch_len()];
//!     let canvas = Canvas::new(&model, &mut scratch)?;
//!     let mut stream = Stream::new(canvas, UnknownPolicy::Hole);
//!     stream.push(text.as_bytes(), |event, _| {
//!         if let Event::LayerComplete { layer } = event {
//!             println!("layer {} is complete", layer + 1);
//!         }
//!     })?;
//!     stream.finish(|_, _| ())?;
//!     let mut picture = Vec::new();
//!     stream.canvas().rows(|_, row| picture.push(row.channel(0).collect()));
//!     Ok(picture)
//! }
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod canvas;
pub mod codebook;
pub mod decoder;
pub mod error;
pub mod format;
#[cfg(feature = "graphics")]
pub mod graphics;
pub mod kernel;
pub mod lexicon;
pub mod model;
pub mod places;
pub mod pyramid;
pub mod quant;
pub mod saq;
pub mod stream;
