//! Sums over images that threads share without depending on how many threads there are.

use rayon::prelude::*;

/// Images that share one partial sum of a weight gradient, and those of them that are correlated together; neither
/// depends on the number of threads.
pub(super) fn image_chunks(images: usize, column_blocks: usize) -> (usize, usize) {
    // Enough columns to outweigh the sums over lanes; no more partial sums than 16.
    let together = (128 / column_blocks.max(1)).clamp(1, 16);
    (images.div_ceil(16).next_multiple_of(together), together)
}

/// The sum of equally long vectors, in their order.
pub(super) fn sum_partials(partials: Vec<Vec<f32>>) -> Vec<f32> {
    let mut partials = partials.into_iter();
    let mut total = partials.next().unwrap_or_default();
    let rest: Vec<_> = partials.collect();
    total.par_chunks_mut(4096).enumerate().for_each(|(block, total)| {
        for partial in &rest {
            total.iter_mut().zip(&partial[block * 4096..]).for_each(|(total, value)| *total += value);
        }
    });
    total
}
