//! The nearest codeword among long vectors: scores by a general matrix product, a block of codewords at a time.

use rayon::prelude::*;

use super::nearest::{Found, Sizes};
use super::simd::lane_sum;

/// From this width on a general matrix product is faster than [`contract`](super::contract), whose block of codewords no longer stays in
/// the first-level cache.
pub(super) const WIDTH: usize = 128;
/// Rows of z, and codewords, whose scores a wide search holds at a time: 2 MiB a thread.
const BLOCK: [usize; 2] = [1024, 512];

/// The search for long vectors: threads share out the codewords, so that each is fetched once for many rows.
pub(super) fn search(sizes: Sizes, z: &[f32], table: &[f32], temperature: Option<f32>) -> (Vec<u32>, Vec<f32>) {
    let width = sizes.width;
    let [block_rows, block_words] = BLOCK;
    // The parts do not depend on the number of threads.
    let part_words = sizes.words.div_ceil(16).next_multiple_of(block_words);
    let (mut ids, mut log_sum_exp) = (Vec::with_capacity(sizes.rows), Vec::new());
    for z in z.chunks(block_rows * width) {
        let part = |(part, table): (usize, &[f32])| {
            let mut found = vec![Found::default(); z.len() / width];
            let mut scores = vec![0.0; found.len() * block_words.min(table.len() / width)];
            for (block, table) in table.chunks(block_words * width).enumerate() {
                let first = part * part_words + block * block_words;
                let words = table.len() / width;
                let norms: Vec<f32> =
                    table.chunks_exact(width).map(|word| lane_sum(word, |value| value * value)).collect();
                let scores = &mut scores[..found.len() * words];
                products(z, table, width, scores);
                for (found, scores) in found.iter_mut().zip(scores.chunks_exact_mut(words)) {
                    found.add(first, scores, &norms, temperature);
                }
            }
            found
        };
        let parts: Vec<Vec<Found>> = table.par_chunks(part_words * width).enumerate().map(part).collect();
        for (row, z) in z.chunks_exact(width).enumerate() {
            let found = parts.iter().fold(Found::default(), |found, part| found.merged(part[row], temperature));
            ids.push(found.id);
            log_sum_exp
                .extend(temperature.map(|temperature| found.sum.log(lane_sum(z, |value| value * value), temperature)));
        }
    }
    (ids, log_sum_exp)
}

/// `−2 z·e` of all rows of `z` and all codewords of `table`, [rows, words].
fn products(z: &[f32], table: &[f32], width: usize, out: &mut [f32]) {
    let (rows, words) = (z.len() / width, table.len() / width);
    assert_eq!((z.len(), table.len(), out.len()), (rows * width, words * width, rows * words));
    // SAFETY: z is [rows, width], the table's transpose [width, words] and the output [rows, words], with the strides
    // given and the lengths just asserted; the output is borrowed alone.
    unsafe {
        gemm::gemm(
            rows,
            words,
            width,
            out.as_mut_ptr(),
            1,
            words as isize,
            false,
            z.as_ptr(),
            1,
            width as isize,
            table.as_ptr(),
            width as isize,
            1,
            0.0,
            -2.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
