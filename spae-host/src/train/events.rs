//! TensorBoard event files: records of length, masked CRC-32C, protobuf message, masked CRC-32C.
//!
//! Only scalars and images are written, so the few protobuf fields stand here by hand; the crates that know them all need a
//! protobuf compiler on every machine that builds.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// An event file being written.
#[derive(Debug)]
pub(super) struct Events {
    file: File,
}

impl Events {
    /// A new file in `folder`; TensorBoard reads all of a folder's files as one run.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let (seconds, process) = (now() as u64, std::process::id());
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.spae.{process}"));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut events = Self { file: file.with_context(|| format!("cannot write {}", path.display()))? };
        // Event { wall_time = 1, file_version = 3 }
        let mut event = fixed64(1, now());
        event.extend(bytes(3, b"brain.Event:2"));
        events.record(&event)?;
        Ok(events)
    }

    /// One value at one step.
    pub(super) fn scalar(&mut self, step: u64, tag: &str, value: f32) -> Result<()> {
        // Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }
        let mut scalar = bytes(1, tag.as_bytes());
        scalar.push(2 << 3 | 5);
        scalar.extend(value.to_le_bytes());
        self.summary(step, &scalar)
    }

    /// A PNG file at one step.
    pub(super) fn image(&mut self, step: u64, tag: &str, sides: [usize; 2], png: &[u8]) -> Result<()> {
        // Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, image = 4 { height = 1, width = 2,
        // colorspace = 3, encoded_image_string = 4 } } } }; the colours are those of the PNG.
        let mut image = Vec::new();
        for (number, value) in [(1, sides[0] as u64), (2, sides[1] as u64), (3, 3)] {
            image.push(number << 3);
            image.extend(varint(value));
        }
        image.extend(bytes(4, png));
        let mut value = bytes(1, tag.as_bytes());
        value.extend(bytes(4, &image));
        self.summary(step, &value)
    }

    /// One value of a summary at one step.
    fn summary(&mut self, step: u64, value: &[u8]) -> Result<()> {
        let mut event = fixed64(1, now());
        event.push(2 << 3);
        event.extend(varint(step));
        event.extend(bytes(5, &bytes(1, value)));
        self.record(&event)
    }

    fn record(&mut self, event: &[u8]) -> Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked(&length).to_le_bytes());
        record.extend(event);
        record.extend(masked(event).to_le_bytes());
        self.file.write_all(&record).context("cannot write the TensorBoard events")
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The format's own variant of CRC-32C.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Field `number` of type double.
fn fixed64(number: u8, value: f64) -> Vec<u8> {
    let mut field = vec![number << 3 | 1];
    field.extend(value.to_le_bytes());
    field
}

/// Field `number` of a string or a message.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint(value.len() as u64));
    field.extend(value);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_and_a_scalar_has_its_fields() {
        let folder = tempfile::tempdir().unwrap();
        Events::create(folder.path()).unwrap().scalar(300, "loss", 0.5).unwrap();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let file = std::fs::read(path).unwrap();
        let mut rest = &file[..];
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked(&rest[..8]).to_le_bytes());
            let event = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked(event).to_le_bytes());
            events.push(event);
            rest = &rest[16 + length..];
        }
        assert_eq!(events.len(), 2);
        assert_eq!(events[0][9..], *b"\x1a\x0dbrain.Event:2");
        assert_eq!(events[1][9..], *b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x00\x3f");
    }

    #[test]
    fn an_image_has_its_sides_and_its_file() {
        let folder = tempfile::tempdir().unwrap();
        Events::create(folder.path()).unwrap().image(1, "grid", [2, 300], b"png!").unwrap();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let file = std::fs::read(path).unwrap();
        let image = b"\x0a\x04grid\x22\x0d\x08\x02\x10\xac\x02\x18\x03\x22\x04png!";
        assert!(file.windows(image.len()).any(|window| window == image));
    }

    #[test]
    fn the_mask_is_the_formats() {
        // CRC-32C of "123456789" is 0xE3069283.
        assert_eq!(masked(b"123456789"), 0xE306_9283u32.rotate_right(15).wrapping_add(0xA282_EAD8));
    }
}
