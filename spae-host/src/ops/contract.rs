//! The two inner loops of every convolution here, over slices: no tensors, and no threads but for packing weights.
//!
//! Both see an image through a [`Gather`]: row k of the (never written) im2col matrix is the image itself, shifted by
//! `offsets[k]`, and column block g is the eight values at `bases[g]` from there. So
//! `column[k][8 g + lane] = image[offsets[k] + bases[g] + lane]`, and
//! - [`contract`] is `out = weights · column` (a forward pass, or a gradient with respect to an input),
//! - [`correlate`] is `out += rows · columnᵀ` (a gradient with respect to weights).
//!
//! Results do not depend on how the work is cut: each value is summed in the order of k (or of images and column
//! blocks) wherever it is computed.

use std::ops::Range;

use rayon::prelude::*;

use super::simd::{LANES, Lanes, Portable};

/// Rows of weights that one tile of [`contract`] holds in registers.
pub(super) const ROW_BLOCK: usize = 6;

/// Where the values of an im2col matrix lie in an image.
#[derive(Debug, Clone)]
pub(super) struct Gather {
    offsets: Vec<u32>,
    bases: Vec<u32>,
    extent: usize,
}

impl Gather {
    pub(super) fn new(offsets: Vec<u32>, bases: Vec<u32>) -> Self {
        let furthest = |of: &[u32]| of.iter().max().map_or(0, |&furthest| furthest as usize);
        let extent = furthest(&offsets) + furthest(&bases) + LANES;
        Self { offsets, bases, extent }
    }

    /// Rows of the matrix: the length of the sums in [`contract`].
    pub(super) fn depth(&self) -> usize {
        self.offsets.len()
    }

    /// Columns of the matrix: eight for each base.
    pub(super) fn columns(&self) -> usize {
        self.bases.len() * LANES
    }

    /// The same rows at some of the column blocks.
    pub(super) fn part(&self, blocks: Range<usize>) -> Self {
        Self::new(self.offsets.clone(), self.bases[blocks].to_vec())
    }

    /// How many values an image must have at least.
    pub(super) fn extent(&self) -> usize {
        self.extent
    }
}

/// A matrix [rows, depth] in blocks of [`ROW_BLOCK`] rows, each block stored depth-major.
#[derive(Debug, Clone)]
pub(super) struct PackedWeights {
    values: Vec<f32>,
    rows: usize,
    depth: usize,
}

impl PackedWeights {
    /// Packs the matrix whose value at row r, column k is `value(r, k)`.
    pub(super) fn new(rows: usize, depth: usize, value: impl Fn(usize, usize) -> f32 + Sync) -> Self {
        let [packed] = Self::many(rows, depth, |row, k| [value(row, k)]);
        packed
    }

    /// Packs `N` matrices of one size, whose values at row r, column k are `values(r, k)`.
    pub(super) fn many<const N: usize>(
        rows: usize,
        depth: usize,
        values: impl Fn(usize, usize) -> [f32; N] + Sync,
    ) -> [Self; N] {
        /// Values that are worth a thread's waking.
        const WORTH: usize = 1 << 13;
        let of_task = WORTH.div_ceil((N * depth).max(1)).next_multiple_of(ROW_BLOCK);
        let mut packed = [(); N].map(|()| Self { values: vec![0.0; rows * depth], rows, depth });
        let mut parts = packed.each_mut().map(|packed| packed.values.chunks_mut((of_task * depth).max(1)));
        let starts = (0..if depth == 0 { 0 } else { rows }).step_by(of_task);
        let mut next = |start| (start, parts.each_mut().map(|parts| parts.next().unwrap_or_default()));
        let tasks: Vec<(usize, [&mut [f32]; N])> = starts.map(&mut next).collect();
        tasks.into_par_iter().for_each(|(start, parts)| {
            let end = rows.min(start + of_task);
            let mut place = 0;
            for block in (start..end).step_by(ROW_BLOCK) {
                for k in 0..depth {
                    for row in block..end.min(block + ROW_BLOCK) {
                        let values = values(row, k);
                        for n in 0..N {
                            parts[n][place] = values[n];
                        }
                        place += 1;
                    }
                }
            }
        });
        packed
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }
}

/// `out[r][column] = initial[r] + Σ_k weights[r][k] · column[k]` for the rows in `rows`.
///
/// `rows` starts at a multiple of [`ROW_BLOCK`] and ends at one or at the last row; `out` holds those rows only, each
/// `gather.columns()` long. `initial` is indexed like the weights.
pub(super) fn contract(
    gather: &Gather,
    weights: &PackedWeights,
    rows: Range<usize>,
    image: &[f32],
    initial: Option<&[f32]>,
    out: &mut [f32],
) {
    assert_eq!(gather.depth(), weights.depth);
    assert!(rows.end <= weights.rows && rows.start.is_multiple_of(ROW_BLOCK));
    assert!(rows.end == weights.rows || rows.end.is_multiple_of(ROW_BLOCK));
    assert!(image.len() >= gather.extent);
    assert!(initial.is_none_or(|initial| initial.len() >= rows.end));
    assert_eq!(out.len(), rows.len() * gather.columns());
    // SAFETY: the asserts above are what `contract_rows` asks for; the vector type is one the processor has.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if super::simd::avx2::available() {
            return contract_avx2(gather, weights, rows, image, initial, out);
        }
        contract_rows::<Portable>(gather, weights, rows, image, initial, out);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn contract_avx2(
    gather: &Gather,
    weights: &PackedWeights,
    rows: Range<usize>,
    image: &[f32],
    initial: Option<&[f32]>,
    out: &mut [f32],
) {
    // SAFETY: the caller's promises are passed on; AVX2 and FMA are there.
    unsafe { contract_rows::<super::simd::avx2::Avx2Fma>(gather, weights, rows, image, initial, out) }
}

/// # Safety
/// As asserted in [`contract`]; the processor has `L`.
#[inline(always)]
unsafe fn contract_rows<L: Lanes>(
    gather: &Gather,
    weights: &PackedWeights,
    rows: Range<usize>,
    image: &[f32],
    initial: Option<&[f32]>,
    out: &mut [f32],
) {
    let pitch = gather.columns();
    let full_end = rows.start + rows.len() / ROW_BLOCK * ROW_BLOCK;
    let initial = |row: usize| initial.map(|initial| &initial[row..]);
    let weights_of = |row: usize| &weights.values[row * weights.depth..];
    let (full, remainder) = out.split_at_mut((full_end - rows.start) * pitch);
    // SAFETY: the image is long enough for every offset and base, `weights_of(row)` holds the block of that row, and
    // the row's outputs begin where the slice passed begins.
    unsafe {
        if full_end > rows.start {
            // Column blocks outside: the image's values of one tile stay in the first-level cache for all rows.
            let (count, mut done) = (gather.bases.len(), 0);
            while done < count {
                let first = done.min(count.saturating_sub(2));
                for row in (rows.start..full_end).step_by(ROW_BLOCK) {
                    let out = &mut full[(row - rows.start) * pitch..];
                    if count >= 2 {
                        tile::<L, ROW_BLOCK, 2>(gather, first, weights_of(row), image, initial(row), out);
                    } else {
                        tile::<L, ROW_BLOCK, 1>(gather, first, weights_of(row), image, initial(row), out);
                    }
                }
                done = first + 2;
            }
        }
        let (weights, initial) = (weights_of(full_end), initial(full_end));
        match rows.end - full_end {
            1 => block::<L, 1, 8>(gather, weights, image, initial, remainder),
            2 => block::<L, 2, 5>(gather, weights, image, initial, remainder),
            3 => block::<L, 3, 4>(gather, weights, image, initial, remainder),
            4 => block::<L, 4, 3>(gather, weights, image, initial, remainder),
            5 => block::<L, 5, 2>(gather, weights, image, initial, remainder),
            _ => {}
        }
    }
}

/// One block of `M` rows over all columns, `V` column blocks at a time; the last tile moves back over its neighbour
/// where it would not fit. Safety: as [`tile`], for every tile.
#[inline(always)]
unsafe fn block<L: Lanes, const M: usize, const V: usize>(
    gather: &Gather,
    weights: &[f32],
    image: &[f32],
    initial: Option<&[f32]>,
    out: &mut [f32],
) {
    let (count, mut done) = (gather.bases.len(), 0);
    while done < count {
        // SAFETY: the tiles lie within the column blocks; the rest is the caller's promise.
        unsafe {
            if count >= V {
                let first = done.min(count - V);
                tile::<L, M, V>(gather, first, weights, image, initial, out);
                done = first + V;
            } else {
                tile::<L, M, 1>(gather, done, weights, image, initial, out);
                done += 1;
            }
        }
    }
}

/// `M` rows by `V` column blocks from `first` on, held in registers.
///
/// # Safety
/// `first + V` column blocks exist, `weights` holds `depth · M` values, `image` has `gather.extent` values and `out`
/// `M` rows; the processor has `L`.
#[inline(always)]
unsafe fn tile<L: Lanes, const M: usize, const V: usize>(
    gather: &Gather,
    first: usize,
    weights: &[f32],
    image: &[f32],
    initial: Option<&[f32]>,
    out: &mut [f32],
) {
    let pitch = gather.columns();
    debug_assert!(weights.len() >= gather.depth() * M && out.len() >= M * pitch);
    // SAFETY: offset + base + LANES ≤ extent ≤ image.len() for every pair; the weights are read in order, M for each
    // offset; the stores lie in rows 0..M and column blocks first..first + V.
    unsafe {
        let mut sums = [[L::splat(0.0); V]; M];
        if let Some(initial) = initial {
            for m in 0..M {
                sums[m] = [L::splat(*initial.get_unchecked(m)); V];
            }
        }
        let mut starts = [image.as_ptr(); V];
        for v in 0..V {
            starts[v] = image.as_ptr().add(*gather.bases.get_unchecked(first + v) as usize);
        }
        let mut weight = weights.as_ptr();
        for &offset in &gather.offsets {
            let mut values = [L::splat(0.0); V];
            for v in 0..V {
                values[v] = L::load(starts[v].add(offset as usize));
            }
            for m in 0..M {
                let factor = L::splat(*weight.add(m));
                for v in 0..V {
                    sums[m][v] = values[v].mul_add(factor, sums[m][v]);
                }
            }
            weight = weight.add(M);
        }
        for m in 0..M {
            for v in 0..V {
                sums[m][v].store(out.as_mut_ptr().add(m * pitch + (first + v) * LANES));
            }
        }
    }
}

/// `out[r][k] += Σ_images Σ_columns rows[image][r][column] · column[image][k][column]`.
///
/// `rows` holds one matrix [row_count, gather.columns()] per image, `images` one image of `image_pitch` values each;
/// `out` is [row_count, gather.depth()].
pub(super) fn correlate(
    gather: &Gather,
    row_count: usize,
    rows: &[f32],
    images: &[f32],
    image_pitch: usize,
    out: &mut [f32],
) {
    let matrix = row_count * gather.columns();
    if matrix == 0 || gather.depth() == 0 {
        return;
    }
    let count = rows.len() / matrix;
    assert_eq!(rows.len(), count * matrix);
    assert!(count == 0 || images.len() >= (count - 1) * image_pitch + gather.extent);
    assert_eq!(out.len(), row_count * gather.depth());
    // SAFETY: the asserts above are what `correlate_rows` asks for; the vector type is one the processor has.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if super::simd::avx2::available() {
            return correlate_avx2(gather, row_count, rows, images, image_pitch, out);
        }
        correlate_rows::<Portable>(gather, row_count, rows, images, image_pitch, out);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn correlate_avx2(
    gather: &Gather,
    row_count: usize,
    rows: &[f32],
    images: &[f32],
    image_pitch: usize,
    out: &mut [f32],
) {
    // SAFETY: the caller's promises are passed on; AVX2 and FMA are there.
    unsafe {
        correlate_rows::<super::simd::avx2::Avx2Fma>(gather, row_count, rows, images, image_pitch, out);
    }
}

/// # Safety
/// As asserted in [`correlate`]; the processor has `L`.
#[inline(always)]
unsafe fn correlate_rows<L: Lanes>(
    gather: &Gather,
    row_count: usize,
    rows: &[f32],
    images: &[f32],
    image_pitch: usize,
    out: &mut [f32],
) {
    let side = Side { gather, row_count, rows, images, image_pitch };
    let mut row = 0;
    while row < row_count {
        // SAFETY: rows row..row + M exist.
        unsafe {
            match row_count - row {
                1 => side.rows::<L, 1, 6>(row, out),
                2 => side.rows::<L, 2, 4>(row, out),
                3 => side.rows::<L, 3, 3>(row, out),
                _ => side.rows::<L, 4, 3>(row, out),
            }
        }
        row += (row_count - row).min(4);
    }
}

/// What [`correlate`] was given.
struct Side<'a> {
    gather: &'a Gather,
    row_count: usize,
    rows: &'a [f32],
    images: &'a [f32],
    image_pitch: usize,
}

impl Side<'_> {
    /// `M` rows of `out` from `row` on, in tiles of `T` offsets.
    #[inline(always)]
    unsafe fn rows<L: Lanes, const M: usize, const T: usize>(&self, row: usize, out: &mut [f32]) {
        let depth = self.gather.depth();
        let mut done = 0;
        while done < depth {
            // SAFETY: the offsets first..first + T (or the one at `done`) exist; rows as the caller promises.
            unsafe {
                if depth < T {
                    let sums = self.tile::<L, M, 1>(row, done);
                    (0..M).for_each(|m| out[(row + m) * depth + done] += sums[m][0]);
                    done += 1;
                } else {
                    // The last tile moves back over its neighbour; what that one has done is not added again.
                    let first = done.min(depth - T);
                    let sums = self.tile::<L, M, T>(row, first);
                    for (m, sums) in sums.iter().enumerate() {
                        let out = &mut out[(row + m) * depth + first..][..T];
                        (done - first..T).for_each(|t| out[t] += sums[t]);
                    }
                    done = first + T;
                }
            }
        }
    }

    /// # Safety
    /// Rows `row..row + M` and offsets `first..first + T` exist; the asserts of [`correlate`] hold.
    #[inline(always)]
    unsafe fn tile<L: Lanes, const M: usize, const T: usize>(&self, row: usize, first: usize) -> [[f32; T]; M] {
        let columns = self.gather.columns();
        let matrix = self.row_count * columns;
        // SAFETY: rows are read at blocks below `columns` of rows below `row_count` of images below the count; image
        // reads end at offset + base + LANES ≤ extent within each image.
        unsafe {
            let mut sums = [[L::splat(0.0); T]; M];
            for image in 0..self.rows.len() / matrix {
                let mut left = self.rows.as_ptr().add(image * matrix + row * columns);
                let image = self.images.as_ptr().add(image * self.image_pitch);
                let mut right = [image; T];
                for t in 0..T {
                    right[t] = image.add(*self.gather.offsets.get_unchecked(first + t) as usize);
                }
                for &base in &self.gather.bases {
                    let mut values = [L::splat(0.0); T];
                    for t in 0..T {
                        values[t] = L::load(right[t].add(base as usize));
                    }
                    for m in 0..M {
                        let factor = L::load(left.add(m * columns));
                        for t in 0..T {
                            sums[m][t] = values[t].mul_add(factor, sums[m][t]);
                        }
                    }
                    left = left.add(LANES);
                }
            }
            let mut totals = [[0.0; T]; M];
            for m in 0..M {
                for t in 0..T {
                    totals[m][t] = sums[m][t].sum();
                }
            }
            totals
        }
    }
}
