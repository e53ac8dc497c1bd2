//! How a convolution sees an image: as zero-padded planes, one for each residue of row and column modulo the stride, so
//! that every kernel tap reads consecutive values.

use std::ops::Range;

use rayon::prelude::*;

use super::contract::Gather;
use super::simd::{LANES, vectorised};

/// Zero-padded copies of an image's channels, one plane for each residue of row and column modulo the stride.
pub(super) struct Planes {
    pub(super) channels: usize,
    /// Height and width of a channel before padding.
    pub(super) source: (usize, usize),
    pub(super) stride: usize,
    /// Rows and columns of the kernel that reads them: residues beyond it are not filled.
    pub(super) taps: usize,
    /// Rows and columns of zeros above and to the left.
    pub(super) before: (usize, usize),
    /// Height and width of one plane.
    pub(super) size: (usize, usize),
}

impl Planes {
    /// Where the value at `row`, `column` of the padded channel lies.
    pub(super) fn offset(&self, channel: usize, row: usize, column: usize) -> u32 {
        let stride = self.stride;
        let plane = (channel * stride + row % stride) * stride + column % stride;
        ((plane * self.size.0 + row / stride) * self.size.1 + column / stride) as u32
    }

    fn len(&self) -> usize {
        self.channels * self.stride * self.stride * self.size.0 * self.size.1
    }

    /// Whether the image itself already is what [`Self::fill`] would write.
    fn is_identity(&self) -> bool {
        self.stride == 1 && self.before == (0, 0) && self.source == self.size
    }

    /// Copies `image` [channels, source] into `padded`, whose other values stay as they are (zero).
    pub(super) fn fill(&self, image: &[f32], padded: &mut [f32]) {
        match self.stride {
            1 => return fill_whole(self, image, padded),
            2 => return fill_halves(self, image, padded),
            _ => {}
        }
        let (height, width) = self.source;
        let stride = self.stride;
        let (rows, columns) = self.filled();
        for channel in 0..self.channels {
            for row in (0..rows).filter(|row| (row + self.before.0) % stride < self.taps) {
                let source = &image[(channel * height + row) * width..][..columns];
                for first in (0..stride.min(columns)).filter(|first| (first + self.before.1) % stride < self.taps) {
                    let start = self.offset(channel, row + self.before.0, first + self.before.1) as usize;
                    let source = source[first..].iter().step_by(stride);
                    padded[start..].iter_mut().zip(source).for_each(|(padded, &value)| *padded = value);
                }
            }
        }
    }

    /// Of the source's rows and columns, those with a place in the planes.
    fn filled(&self) -> (usize, usize) {
        let places = |side: usize, size: usize, before: usize| side.min((size * self.stride).saturating_sub(before));
        (places(self.source.0, self.size.0, self.before.0), places(self.source.1, self.size.1, self.before.1))
    }
}

vectorised! {
    /// [`Planes::fill`] where the stride is one. Short rows: a call to copy each, and divisions to find each one's place,
    /// would cost more than the copying.
    fn fill_whole(planes: &Planes, image: &[f32], padded: &mut [f32]) {
        let (height, width) = planes.source;
        let (rows, columns) = planes.filled();
        for channel in 0..planes.channels {
            let mut start = planes.offset(channel, planes.before.0, planes.before.1) as usize;
            for row in 0..rows {
                let (chunks, rest) = image[(channel * height + row) * width..][..columns].as_chunks::<LANES>();
                let (places, last) = padded[start..][..columns].as_chunks_mut::<LANES>();
                places.iter_mut().zip(chunks).for_each(|(place, chunk)| *place = *chunk);
                last.iter_mut().zip(rest).for_each(|(place, value)| *place = *value);
                start += planes.size.1;
            }
        }
    }
}

vectorised! {
    /// [`Planes::fill`] where the stride is two, even and odd columns in one go.
    fn fill_halves(planes: &Planes, image: &[f32], padded: &mut [f32]) {
        /// Values of a row that are parted together.
        const CHUNK: usize = 2 * LANES;
        let (height, width) = planes.source;
        let (rows, columns) = planes.filled();
        for (channel, first_row) in (0..planes.channels).flat_map(|channel| [(channel, 0), (channel, 1)]) {
            let padded_row = first_row + planes.before.0;
            if padded_row % 2 >= planes.taps {
                continue;
            }
            let start = |first| planes.offset(channel, padded_row, first + planes.before.1) as usize;
            let mut starts = [start(0), start(1)];
            for row in (first_row..rows).step_by(2) {
                let (chunks, rest) = image[(channel * height + row) * width..][..columns].as_chunks::<CHUNK>();
                for (first, start) in starts.iter_mut().enumerate() {
                    let (halves, last) = padded[*start..].as_chunks_mut::<LANES>();
                    for (half, chunk) in halves.iter_mut().zip(chunks) {
                        *half = std::array::from_fn(|pair| chunk[2 * pair + first]);
                    }
                    let last = halves.as_flattened_mut()[chunks.len() * LANES..].iter_mut().chain(last);
                    last.zip(rest[first.min(rest.len())..].iter().step_by(2)).for_each(|(place, &value)| *place = value);
                    *start += planes.size.1;
                }
            }
        }
    }
}

/// A [`Gather`] over [`Planes`] and where its columns go in the output.
pub(super) struct Windows {
    pub(super) planes: Planes,
    pub(super) gather: Gather,
    /// Height and width of the outputs.
    pub(super) size: (usize, usize),
    /// Columns of the gather from one output row to the next; more than the width where a row is no multiple of the
    /// vector: then rows run on through the padding and the values between them mean nothing.
    pub(super) pitch: usize,
}

impl Windows {
    /// Outputs at `rows` × `columns` of the planes.
    pub(super) fn new(planes: Planes, offsets: Vec<u32>, rows: Range<usize>, columns: Range<usize>) -> Self {
        let size = (rows.len(), columns.len());
        let plane_width = planes.size.1;
        let start = |row: usize| (row * plane_width + columns.start) as u32;
        let (bases, pitch) = if size.1.is_multiple_of(LANES) {
            let lanes = (0..size.1).step_by(LANES);
            (rows.flat_map(|row| lanes.clone().map(move |x| start(row) + x as u32)).collect(), size.1)
        } else {
            let values = (size.0.max(1) - 1) * plane_width + size.1;
            let first = start(rows.start);
            ((0..values).step_by(LANES).map(|value| first + value as u32).collect(), plane_width)
        };
        Self { planes, gather: Gather::new(offsets, bases), size, pitch }
    }

    /// Whether the gather's columns are exactly the outputs in row-major order.
    pub(super) fn is_dense(&self) -> bool {
        self.gather.columns() == self.size.0 * self.size.1
    }

    pub(super) fn padded_len(&self) -> usize {
        self.planes.len().max(self.gather.extent())
    }

    /// A buffer for [`Self::padded`]; empty where the image is used as it is.
    pub(super) fn padded_buffer(&self) -> Vec<f32> {
        if self.borrows() { Vec::new() } else { vec![0.0; self.padded_len()] }
    }

    pub(super) fn borrows(&self) -> bool {
        self.planes.is_identity() && self.planes.len() >= self.gather.extent()
    }

    /// The padded image: written into `buffer`, or the image itself.
    pub(super) fn padded<'a>(&self, image: &'a [f32], buffer: &'a mut [f32]) -> &'a [f32] {
        if self.borrows() {
            return image;
        }
        self.planes.fill(image, buffer);
        buffer
    }

    /// As [`Self::padded`], with the channels shared out among all threads.
    pub(super) fn padded_by_all<'a>(&self, image: &'a [f32], buffer: &'a mut [f32]) -> &'a [f32] {
        /// Channels that are worth a thread's waking.
        const TOGETHER: usize = 16;
        if self.borrows() {
            return image;
        }
        let planes = &self.planes;
        let of_channel = planes.len() / planes.channels.max(1);
        let image_parts = image.par_chunks(TOGETHER * planes.source.0 * planes.source.1);
        let buffer_parts = buffer[..planes.len()].par_chunks_mut(TOGETHER * of_channel);
        buffer_parts.zip(image_parts).for_each(|(buffer, image)| {
            let channels = buffer.len() / of_channel;
            Planes { channels, ..*planes }.fill(image, buffer);
        });
        buffer
    }

    /// Dense outputs from rows of the gather's columns.
    pub(super) fn compact(&self, columns: &[f32], outputs: &mut [f32]) {
        let (height, width) = self.size;
        for (columns, outputs) in
            columns.chunks_exact(self.gather.columns()).zip(outputs.chunks_exact_mut(height * width))
        {
            for (row, outputs) in outputs.chunks_exact_mut(width).enumerate() {
                outputs.copy_from_slice(&columns[row * self.pitch..][..width]);
            }
        }
    }

    /// Rows of the gather's columns from dense outputs; columns that are no output become zero.
    pub(super) fn spread(&self, outputs: &[f32], columns: &mut [f32]) {
        let (height, width) = self.size;
        for (outputs, columns) in
            outputs.chunks_exact(height * width).zip(columns.chunks_exact_mut(self.gather.columns()))
        {
            columns.fill(0.0);
            for (row, outputs) in outputs.chunks_exact(width).enumerate() {
                columns[row * self.pitch..][..width].copy_from_slice(outputs);
            }
        }
    }
}
