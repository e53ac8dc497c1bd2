//! What a board must report for a text: the same text through the same core, on the host.

use anyhow::{Result, anyhow};
use spae_core::canvas::Canvas;
use spae_core::format::crc32c;
use spae_core::model::Model;
use spae_core::stream::{Event, Stream, Summary, UnknownPolicy};

use super::picture::Picture;

/// The reports to come.
#[derive(Debug)]
pub(crate) struct Expected {
    /// One a layer, in order.
    pub(crate) layers: Vec<Layer>,
    /// Lines other than those about pictures, in order.
    pub(crate) remarks: Vec<String>,
    pub(crate) summary: Summary,
}

/// A layer that is complete.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Bytes of the text that complete it.
    pub(crate) typed: usize,
    pub(crate) picture: Picture,
}

impl Expected {
    /// Reads `text` to its end.
    pub(crate) fn new(model: &Model<'_>, text: &[u8]) -> Result<Self> {
        let mut scratch = vec![0; model.scratch_len()];
        let canvas = Canvas::new(model, &mut scratch)?;
        let mut stream = Stream::new(canvas, UnknownPolicy::Hole);
        let (mut layers, mut remarks) = (Vec::new(), Vec::new());
        let mut surplus = false;
        let mut on = |typed: usize, event, canvas: &mut Canvas<'_, '_>| match event {
            Event::LayerComplete { .. } => layers.push(Layer { typed, picture: Picture::new(canvas) }),
            Event::Unknown { offset } => remarks.push(format!("unknown {offset}")),
            Event::Label { offset } => remarks.push(format!("label {offset}")),
            Event::Surplus { offset } if !std::mem::replace(&mut surplus, true) => {
                remarks.push(format!("surplus {offset}"));
            }
            _ => {}
        };
        for (index, byte) in text.iter().enumerate() {
            stream.push(&[*byte], |event, canvas| on(index + 1, event, canvas))?;
        }
        let summary = stream.finish(|event, canvas| on(text.len(), event, canvas))?;
        let all = model.pyramid().layers().len();
        if layers.len() != all {
            return Err(anyhow!("the text has {} complete layers, the model {all}", layers.len()));
        }
        Ok(Self { layers, remarks, summary })
    }
}

/// The firmware's checksum of a picture: `c ← CRC-32C(c as four little-endian bytes, byte)` from c = 0.
pub(crate) fn checksum(picture: &Picture) -> u32 {
    picture.rows.iter().flatten().fold(0, |c: u32, byte| crc32c(&[&c.to_le_bytes(), &[*byte]]))
}
