//! Armv8.1-M with integer vectors (MVE, "Helium"): sixteen products an instruction for a convolution, eight for an
//! upsampling.
//!
//! A tile is four columns. Of a convolution `work` holds bytes, one column after the other: activations less 128, since
//! both factors of a product must have signs; 128 times the sum of the weights makes up for that. Of an upsampling it
//! holds 16-bit lanes, segment after segment. Where segments are whole vectors, the columns' lie side by side, so that
//! one pointer and eight sums in registers serve all of them; elsewhere it is one column after the other.
//!
//! Loops over bytes, and those of segments that are no whole vectors, are tail-predicated (DLSTP, LETP): the last turn
//! reads and writes only what is left.

mod products;
mod rounding;

use spae_core::kernel::integer::{Added, CHANNELS, Kernel, MAX_COLUMNS, Portable, Quad, SEGMENTS, Scale, Sums};

use crate::tile::{Shape, reach};
use products::{bytes_of_one, bytes_of_two, lanes_of_one, lanes_of_two};
use rounding::{round_four, round_four_blocks};

const COLUMNS: usize = MAX_COLUMNS;

/// Words of a quad of all columns, where it takes most.
const WORDS: usize = 4 * COLUMNS / 2;

/// 16-bit lanes of a vector.
const LANES: usize = 8;

/// Lanes from one vector of a column to the next, where columns lie side by side.
const TOGETHER: usize = COLUMNS * LANES;

/// Where the lanes of an upsampling are.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Lanes from one column to the next.
    column: usize,
    /// Lanes from one segment of a column to the next.
    segment: usize,
}

impl Layout {
    /// Of segments of `length`.
    fn of(length: usize) -> Self {
        if length.is_multiple_of(LANES) {
            Self { column: LANES, segment: COLUMNS * length }
        } else {
            Self { column: SEGMENTS * length, segment: length }
        }
    }
}

/// Loops for Armv8.1-M with MVE.
#[derive(Clone, Copy, Debug, Default)]
pub struct Helium;

impl Kernel for Helium {
    fn columns(&self) -> usize {
        COLUMNS
    }

    fn widen(&self, rows: &[&[Quad]], span: usize, step: usize, columns: usize, work: &mut [u32]) {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(work);
        let (length, step) = (4 * span, 4 * step);
        let depth = rows.len() * length;
        if columns == COLUMNS {
            return centre_all(rows, length, step, bytes);
        }
        for (index, row) in rows.iter().enumerate() {
            for (x, column) in bytes.chunks_exact_mut(depth.max(1)).enumerate().take(columns.min(COLUMNS)) {
                let out = column.get_mut(index * length..).and_then(|rest| rest.get_mut(..length)).unwrap_or(&mut []);
                centre(row.as_flattened().get(x * step..).unwrap_or(&[]), out);
            }
        }
    }

    fn differences(&self, rows: [&[Quad]; 3], quads: usize, columns: usize, work: &mut [u32]) {
        let lanes: &mut [i16] = bytemuck::try_cast_slice_mut(work).unwrap_or(&mut []);
        let length = 4 * quads;
        let layout = Layout::of(length);
        for x in 0..columns.min(COLUMNS) {
            let [Some(upper), Some(row), Some(lower)] = rows.map(|row| three_pixels(row, x, length)) else { return };
            let column = lanes.get_mut(x * layout.column..).unwrap_or(&mut []);
            let Some((above, rest)) = column.split_at_mut_checked(3 * layout.segment) else { return };
            let Some((at, below)) = rest.split_at_mut_checked(3 * layout.segment) else { return };
            if length.is_multiple_of(LANES) {
                beside::<TOGETHER>(row, layout.segment, at);
                beyond::<TOGETHER>(upper, layout.segment, at, above);
                beyond::<TOGETHER>(lower, layout.segment, at, below);
            } else {
                beside::<LANES>(row, layout.segment, at);
                beyond::<LANES>(upper, layout.segment, at, above);
                beyond::<LANES>(lower, layout.segment, at, below);
            }
        }
    }

    fn multiply(&self, weights: &[Quad], channels: usize, segments: usize, work: &[u32], sums: &mut Sums) {
        match Shape::new(weights, channels, segments, work, WORDS) {
            Some(Shape { segments: 1, quads }) => {
                bytes(weights.as_flattened(), channels, 4 * quads, bytemuck::cast_slice(work), &mut sums[0]);
            }
            Some(Shape { segments: SEGMENTS, quads }) => {
                let columns = bytemuck::try_cast_slice(work).unwrap_or(&[]);
                lanes(weights.as_flattened(), channels, 4 * quads, columns, sums);
            }
            _ => {}
        }
    }

    fn round(
        &self,
        sums: &[[i32; COLUMNS]; CHANNELS],
        scales: &[Scale],
        added: Option<Added<'_>>,
        columns: usize,
        pitch: usize,
        out: &mut [u8],
    ) {
        // What is added makes sums of 64 bits, which vectors do not have.
        if added.is_some() || columns != COLUMNS || !reach(out.len(), COLUMNS - 1, pitch, scales.len()) {
            return Portable.round(sums, scales, added, columns, pitch, out);
        }
        for (channel, (scale, sums)) in scales.iter().zip(sums).enumerate() {
            round_four(sums, *scale, pitch, out.get_mut(channel..).unwrap_or(&mut []));
        }
    }

    fn round_blocks(&self, sums: &Sums, scales: &[Scale], columns: usize, pitch: usize, out: [&mut [u8]; 2]) {
        let [upper, lower] = out;
        let length = upper.len().min(lower.len());
        if columns != COLUMNS || !reach(length, 2 * COLUMNS - 1, pitch, scales.len()) {
            return Portable.round_blocks(sums, scales, columns, pitch, [upper, lower]);
        }
        for (channel, scale) in scales.iter().enumerate().take(CHANNELS) {
            let rows = [&mut *upper, &mut *lower].map(|row| row.get_mut(channel..).unwrap_or(&mut []));
            round_four_blocks(sums, channel, *scale, pitch, rows);
        }
    }
}

/// A convolution's sums, `[channel][column]`. The shape has been checked: `weights` is [channels × length], `work` at
/// least [columns × length], and `length` is not 0.
fn bytes(weights: &[u8], channels: usize, length: usize, work: &[u8], sums: &mut [[i32; COLUMNS]; CHANNELS]) {
    if channels == CHANNELS {
        bytes_of_two(weights, length, work, sums);
    } else {
        sums[0] = bytes_of_one(weights, length, work);
    }
}

/// An upsampling's sums. The shape has been checked: `weights` is [channels × segments × length], `work` at least
/// [columns × segments × length], and `length` is not 0.
fn lanes(weights: &[u8], channels: usize, length: usize, work: &[i16], sums: &mut Sums) {
    if !length.is_multiple_of(LANES) {
        lanes_of_each::<LANES>(weights, channels, length, work, sums);
    } else if channels == CHANNELS {
        lanes_of_two(weights, length, work, sums);
    } else {
        lanes_of_each::<TOGETHER>(weights, channels, length, work, sums);
    }
}

/// As [`lanes`], one channel and one segment after the other. `STEP`: lanes from one vector of a column to the next.
#[inline(never)]
fn lanes_of_each<const STEP: usize>(weights: &[u8], channels: usize, length: usize, work: &[i16], sums: &mut Sums) {
    let layout = Layout::of(length);
    for channel in 0..channels.min(CHANNELS) {
        for (segment, sums) in sums.iter_mut().enumerate() {
            let row = weights.get((channel * SEGMENTS + segment) * length..).and_then(|rest| rest.get(..length));
            let (Some(row), Some(work)) = (row, work.get(segment * layout.segment..)) else { return };
            sums[channel] = lanes_of_one::<STEP>(row, work, layout.column);
        }
    }
}

/// Three neighbouring pixels from pixel `x` on, of `length` channels each.
#[inline(always)]
fn three_pixels(row: &[Quad], x: usize, length: usize) -> Option<&[u8]> {
    row.as_flattened().get(x * length..)?.get(..3 * length)
}

/// Activations less 128.
fn centre(activations: &[u8], out: &mut [u8]) {
    let length = activations.len().min(out.len());
    if length == 0 {
        return;
    }
    #[cfg(processor = "armv8.1m")]
    {
        // SAFETY: `length` is not 0 and at most that of either slice; the loop reads that many bytes of `activations` and
        // writes that many of `out`. All registers that are written are operands (q0 and q1 are d0 to d3).
        unsafe {
            core::arch::asm!(
                "vmov.i8 q1, #0x80",
                "dlstp.8 lr, {length}",
                "2:",
                "vldrb.u8 q0, [{from}], #16",
                "veor q0, q0, q1",
                "vstrb.8 q0, [{to}], #16",
                "letp lr, 2b",
                length = in(reg) length,
                from = inout(reg) activations.as_ptr() => _,
                to = inout(reg) out.as_mut_ptr() => _,
                out("lr") _,
                out("d0") _,
                out("d1") _,
                out("d2") _,
                out("d3") _,
                options(nostack),
            );
        }
    }
    #[cfg(not(processor = "armv8.1m"))]
    out[..length].iter_mut().zip(activations).for_each(|(out, value)| *out = value ^ 0x80);
}

/// Activations less 128 for all columns: `length` of each and each row, `step` apart in a row. A row that is too short is
/// left out, and so is what has no room.
fn centre_all(rows: &[&[Quad]], length: usize, step: usize, out: &mut [u8]) {
    let reach = |pitch: usize| pitch.checked_mul(COLUMNS - 1)?.checked_add(length);
    let depth = rows.len() * length;
    let (Some(read), Some(written)) = (reach(step), reach(depth)) else { return };
    if length == 0 {
        return;
    }
    for (row, at) in rows.iter().zip((0..).step_by(length)) {
        let Some(out) = out.get_mut(at..) else { return };
        let row = row.as_flattened();
        if row.len() >= read && out.len() >= written {
            centre_four(row, length, step, out, depth);
        }
    }
}

/// Activations less 128: `length` of each column, `step` apart in `row`, `depth` in `out`, which have that many. `length`
/// is not 0.
#[inline(always)]
fn centre_four(row: &[u8], length: usize, step: usize, out: &mut [u8], depth: usize) {
    #[cfg(processor = "armv8.1m")]
    {
        // SAFETY: `centre_all` has found that `length` is not 0, 3·step + length ≤ row.len() and 3·depth + length ≤
        // out.len(); the loop reads `length` bytes of `row` from 0, 1, 2 and 3 times `step` on, and writes as many of
        // `out` from 0, 1, 2 and 3 times `depth` on. All registers that are written are operands (q0 to q3 are d0 to d7).
        unsafe {
            core::arch::asm!(
                "add {b}, {a}, {d}",
                "add {c}, {b}, {d}",
                "add {d}, {c}, {d}",
                "add {f}, {e}, {h}",
                "add {g}, {f}, {h}",
                "add {h}, {g}, {h}",
                "vmov.i8 q3, #0x80",
                "dlstp.8 lr, {length}",
                "2:",
                "vldrb.u8 q0, [{a}], #16",
                "vldrb.u8 q1, [{b}], #16",
                "veor q0, q0, q3",
                "vldrb.u8 q2, [{c}], #16",
                "veor q1, q1, q3",
                "vstrb.8 q0, [{e}], #16",
                "vldrb.u8 q0, [{d}], #16",
                "veor q2, q2, q3",
                "vstrb.8 q1, [{f}], #16",
                "veor q0, q0, q3",
                "vstrb.8 q2, [{g}], #16",
                "vstrb.8 q0, [{h}], #16",
                "letp lr, 2b",
                length = in(reg) length,
                a = inout(reg) row.as_ptr() => _,
                b = out(reg) _,
                c = out(reg) _,
                d = inout(reg) step => _,
                e = inout(reg) out.as_mut_ptr() => _,
                f = out(reg) _,
                g = out(reg) _,
                h = inout(reg) depth => _,
                out("lr") _,
                out("d0") _,
                out("d1") _,
                out("d2") _,
                out("d3") _,
                out("d4") _,
                out("d5") _,
                out("d6") _,
                out("d7") _,
                options(nostack),
            );
        }
    }
    #[cfg(not(processor = "armv8.1m"))]
    for x in 0..COLUMNS {
        centre(&row[x * step..], &mut out[x * depth..][..length]);
    }
}

/// Whether three segments of `length` lanes, `pitch` apart, of which one vector is `STEP` lanes behind the other, are
/// something and lie in a slice of `len`.
#[inline(always)]
fn fit<const STEP: usize>(length: usize, pitch: usize, len: usize) -> bool {
    let Some(last) = length.checked_sub(1) else { return false };
    // No sum overflows: a slice has less than 2³⁰ lanes.
    length <= len / (STEP / LANES) && pitch <= len && 2 * pitch + last / LANES * STEP + last % LANES < len
}

/// With k to the left and right of c: `k − c`, c, `k − c`. `row` is [3 × length]; segments of `out` are `pitch` apart, and
/// vectors of a segment `STEP` lanes. If `out` is too short, nothing is written.
fn beside<const STEP: usize>(row: &[u8], pitch: usize, out: &mut [i16]) {
    let length = row.len() / 3;
    if !fit::<STEP>(length, pitch, out.len()) {
        return;
    }
    #[cfg(processor = "armv8.1m")]
    {
        // SAFETY: `row` is [3 × length], and `fit` has found that `length` is not 0 and that `out` has all lanes of three
        // segments. The loop reads `length` bytes from each third of `row` on, and writes as many lanes of each segment.
        // All registers that are written are operands (q0 to q2 are d0 to d5).
        unsafe {
            let (from, to) = (row.as_ptr(), out.as_mut_ptr());
            core::arch::asm!(
                "dlstp.16 lr, {length}",
                "2:",
                "vldrb.u16 q0, [r0], #8",
                "vldrb.u16 q1, [r1], #8",
                "vldrb.u16 q2, [r2], #8",
                "vsub.i16 q0, q0, q1",
                "vsub.i16 q2, q2, q1",
                "vstrh.16 q0, [{a}], #{step}",
                "vstrh.16 q1, [{b}], #{step}",
                "vstrh.16 q2, [{c}], #{step}",
                "letp lr, 2b",
                step = const 2 * STEP,
                length = in(reg) length,
                a = inout(reg) to => _,
                b = inout(reg) to.add(pitch) => _,
                c = inout(reg) to.add(2 * pitch) => _,
                inout("r0") from => _,
                inout("r1") from.add(length) => _,
                inout("r2") from.add(2 * length) => _,
                out("lr") _,
                out("d0") _,
                out("d1") _,
                out("d2") _,
                out("d3") _,
                out("d4") _,
                out("d5") _,
                options(nostack),
            );
        }
    }
    #[cfg(not(processor = "armv8.1m"))]
    for i in 0..length {
        let o = i / LANES * STEP + i % LANES;
        let [left, at, right] = [0, 1, 2].map(|third| i16::from(row[third * length + i]));
        (out[o], out[pitch + o], out[2 * pitch + o]) = (left - at, at, right - at);
    }
}

/// With r above or below c and corners d beside it: `(d − r) − (k − c)`, `r − c`, `(d − r) − (k − c)`. `row` is [3 ×
/// length]; `at` is what [`beside`] has made of c's row, and `out` is laid out as that. If one of them is too short,
/// nothing is written.
fn beyond<const STEP: usize>(row: &[u8], pitch: usize, at: &[i16], out: &mut [i16]) {
    let length = row.len() / 3;
    if !fit::<STEP>(length, pitch, at.len()) || !fit::<STEP>(length, pitch, out.len()) {
        return;
    }
    #[cfg(processor = "armv8.1m")]
    {
        // SAFETY: `row` is [3 × length], and `fit` has found that `length` is not 0 and that `at` and `out` have all
        // lanes of three segments. The loop reads `length` bytes from each third of `row` on, and reads or writes as many
        // lanes of each segment. All registers that are written are operands (q0 to q3 are d0 to d7).
        unsafe {
            let (from, centre, to) = (row.as_ptr(), at.as_ptr(), out.as_mut_ptr());
            core::arch::asm!(
                "dlstp.16 lr, {length}",
                "2:",
                "vldrb.u16 q0, [r0], #8",
                "vldrb.u16 q1, [r1], #8",
                "vldrb.u16 q2, [r2], #8",
                "vldrh.u16 q3, [{left}], #{step}",
                "vsub.i16 q0, q0, q1",
                "vsub.i16 q0, q0, q3",
                "vldrh.u16 q3, [{right}], #{step}",
                "vsub.i16 q2, q2, q1",
                "vsub.i16 q2, q2, q3",
                "vldrh.u16 q3, [{centre}], #{step}",
                "vsub.i16 q1, q1, q3",
                "vstrh.16 q0, [{a}], #{step}",
                "vstrh.16 q1, [{b}], #{step}",
                "vstrh.16 q2, [{c}], #{step}",
                "letp lr, 2b",
                step = const 2 * STEP,
                length = in(reg) length,
                left = inout(reg) centre => _,
                centre = inout(reg) centre.add(pitch) => _,
                right = inout(reg) centre.add(2 * pitch) => _,
                a = inout(reg) to => _,
                b = inout(reg) to.add(pitch) => _,
                c = inout(reg) to.add(2 * pitch) => _,
                inout("r0") from => _,
                inout("r1") from.add(length) => _,
                inout("r2") from.add(2 * length) => _,
                out("lr") _,
                out("d0") _,
                out("d1") _,
                out("d2") _,
                out("d3") _,
                out("d4") _,
                out("d5") _,
                out("d6") _,
                out("d7") _,
                options(nostack),
            );
        }
    }
    #[cfg(not(processor = "armv8.1m"))]
    for i in 0..length {
        let o = i / LANES * STEP + i % LANES;
        let [left, r, right] = [0, 1, 2].map(|third| i16::from(row[third * length + i]));
        out[o] = left - r - at[o];
        out[pitch + o] = r - at[pitch + o];
        out[2 * pitch + o] = right - r - at[2 * pitch + o];
    }
}
