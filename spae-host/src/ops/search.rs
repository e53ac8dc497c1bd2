//! The search for the nearest codeword: products, the least score and the log-sum-exp in one sweep over the table.
//!
//! Rows of z stand side by side in panels of [`PANEL`], transposed once for all codewords; codewords are read where they
//! are, [`WORDS`] at a time. So nothing of the table is copied, and of each panel the least score so far is kept, one
//! row a lane.

use rayon::prelude::*;

use super::nearest::Sizes;
use super::simd::{LANES, Lanes, Portable, exp, lane_sum, vectorised};

/// Rows of z that one tile holds in registers.
const PANEL: usize = 2 * LANES;
/// Codewords of a tile.
const WORDS: usize = 6;
/// Values of a vector that are multiplied between two visits to the scores: those of a panel and of a tile's codewords
/// stay in the first-level cache.
const DEPTH: usize = 256;
/// Codewords whose scores are held at a time, beside those of up to [`ROWS`] rows: in the second-level cache, with the
/// codewords themselves.
const BLOCK: usize = 8 * WORDS;
/// Rows of z that are searched together.
const ROWS: usize = 1024;

/// The nearest codeword of each row of `z`, and the log-sum-exp where a temperature is given. Threads share out the
/// codewords, so that each is fetched once for many rows.
///
/// Slower: the `gemm` crate's product of a block of codewords, by 1.2 at 1,536 values, since it packs both sides; and a
/// transpose of each block for [`contract`](super::contract), by 1.1 at 16 to 100 values.
pub(super) fn search(sizes: Sizes, z: &[f32], table: &[f32], temperature: Option<f32>) -> (Vec<u32>, Vec<f32>) {
    let width = sizes.width;
    // The parts do not depend on the number of threads.
    let part_words = sizes.words.div_ceil(16).next_multiple_of(BLOCK);
    let (mut ids, mut log_sum_exp) = (Vec::with_capacity(sizes.rows), Vec::new());
    for z in z.chunks(ROWS * width) {
        let rows = Rows::new(z, width);
        let part = |(part, table): (usize, &[f32])| {
            let mut nearest = vec![Nearest::default(); rows.panels];
            let mut scores = vec![0.0; rows.panels * BLOCK * PANEL];
            for (block, words) in table.chunks(BLOCK * width).enumerate() {
                let first = part * part_words + block * BLOCK;
                let norms = norms(words, width);
                let scores = &mut scores[..rows.panels * norms.len() * PANEL];
                rows.products(words, scores);
                for (nearest, scores) in nearest.iter_mut().zip(scores.chunks_exact(norms.len() * PANEL)) {
                    nearest.add(first as u32, scores, &norms, temperature);
                }
            }
            nearest
        };
        let parts: Vec<Vec<Nearest>> = table.par_chunks(part_words * width).enumerate().map(part).collect();
        for (row, z) in z.chunks_exact(width).enumerate() {
            let found = parts.iter().map(|part| part[row / PANEL].found(row % PANEL));
            let found = found.reduce(|found, later| found.merged(later, temperature)).unwrap_or(Found::NOTHING);
            ids.push(found.id);
            log_sum_exp.extend(temperature.map(|temperature| found.log_sum_exp(z, temperature)));
        }
    }
    (ids, log_sum_exp)
}

vectorised! {
    /// The squared lengths of the codewords.
    fn norms(words: &[f32], width: usize) -> Vec<f32> {
        words.chunks_exact(width).map(|word| lane_sum(word, |value| value * value)).collect()
    }
}

/// Some rows of −2 z, [blocks of DEPTH, panels, values of a block, PANEL]; rows after the last are zero.
struct Rows {
    width: usize,
    panels: usize,
    values: Vec<f32>,
}

impl Rows {
    fn new(z: &[f32], width: usize) -> Self {
        let panels = (z.len() / width).div_ceil(PANEL);
        let mut values = vec![0.0; panels * PANEL * width];
        for (row, z) in z.chunks_exact(width).enumerate() {
            for (block, z) in z.chunks(DEPTH).enumerate() {
                let panel = block * DEPTH * panels + row / PANEL * z.len();
                let places = values[panel * PANEL + row % PANEL..].iter_mut().step_by(PANEL);
                places.zip(z).for_each(|(place, value)| *place = -2.0 * value);
            }
        }
        Self { width, panels, values }
    }

    /// `−2 z·e` of all rows and the codewords `words`, [panels, words, PANEL].
    fn products(&self, words: &[f32], out: &mut [f32]) {
        assert!(words.len().is_multiple_of(self.width));
        assert_eq!(out.len(), self.panels * (words.len() / self.width) * PANEL);
        // SAFETY: the lengths are those that `products_by` asks for; the vector type is one the processor has.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if super::simd::avx2::available() {
                return self.products_avx2(words, out);
            }
            self.products_by::<Portable>(words, out);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn products_avx2(&self, words: &[f32], out: &mut [f32]) {
        // SAFETY: the caller's promises are passed on; AVX2 and FMA are there.
        unsafe { self.products_by::<super::simd::avx2::Avx2Fma>(words, out) }
    }

    /// # Safety
    /// The lengths are those asserted in [`Self::products`]; the processor has `L`.
    #[inline(always)]
    unsafe fn products_by<L: Lanes>(&self, words: &[f32], out: &mut [f32]) {
        let (width, count) = (self.width, words.len() / self.width);
        for start in (0..width).step_by(DEPTH) {
            let depth = DEPTH.min(width - start);
            let block = &self.values[start * self.panels * PANEL..];
            for (panel, out) in block.chunks_exact(depth * PANEL).zip(out.chunks_exact_mut(count * PANEL)) {
                let mut word = 0;
                while word < count {
                    let (words, out) = (&words[word * width + start..], &mut out[word * PANEL..]);
                    let tile = Tile { panel, words, width, more: start > 0 };
                    // SAFETY: `min(WORDS, count − word)` codewords begin at `words`, each with `depth` values from
                    // there; `out` has a row for each.
                    unsafe {
                        match count - word {
                            1 => tile.add::<L, 1>(out),
                            2 => tile.add::<L, 2>(out),
                            3 => tile.add::<L, 3>(out),
                            4 => tile.add::<L, 4>(out),
                            5 => tile.add::<L, 5>(out),
                            _ => tile.add::<L, WORDS>(out),
                        }
                    }
                    word += WORDS;
                }
            }
        }
    }
}

/// What one tile multiplies.
struct Tile<'a> {
    /// [depth, PANEL]
    panel: &'a [f32],
    /// From the first value of the first codeword on.
    words: &'a [f32],
    /// From one codeword to the next.
    width: usize,
    /// Whether the products are added to what is there.
    more: bool,
}

impl Tile<'_> {
    /// # Safety
    /// `M` codewords of the panel's depth begin at `words`, `width` apart; `out` holds [M, PANEL]; the processor has `L`.
    #[inline(always)]
    unsafe fn add<L: Lanes, const M: usize>(&self, out: &mut [f32]) {
        debug_assert!(self.words.len() >= (M - 1) * self.width + self.panel.len() / PANEL && out.len() >= M * PANEL);
        // SAFETY: reads and writes are those that the caller vouches for.
        unsafe {
            let out = out.as_mut_ptr();
            let mut sums = [[L::splat(0.0); 2]; M];
            if self.more {
                for m in 0..M {
                    sums[m] = [L::load(out.add(m * PANEL)), L::load(out.add(m * PANEL + LANES))];
                }
            }
            let words = self.words.as_ptr();
            for (k, z) in self.panel.as_chunks::<PANEL>().0.iter().enumerate() {
                let z = [L::load(z.as_ptr()), L::load(z.as_ptr().add(LANES))];
                for m in 0..M {
                    let value = L::splat(*words.add(m * self.width + k));
                    sums[m] = [z[0].mul_add(value, sums[m][0]), z[1].mul_add(value, sums[m][1])];
                }
            }
            for m in 0..M {
                sums[m][0].store(out.add(m * PANEL));
                sums[m][1].store(out.add(m * PANEL + LANES));
            }
        }
    }
}

/// What is known of a panel's rows after some codewords, one row a lane.
#[derive(Clone, Copy)]
struct Nearest {
    score: [f32; PANEL],
    id: [u32; PANEL],
    /// Σ exp(−(s − score) / τ) over the codewords so far.
    sum: [f32; PANEL],
}

impl Default for Nearest {
    fn default() -> Self {
        Self { score: [f32::INFINITY; PANEL], id: [0; PANEL], sum: [0.0; PANEL] }
    }
}

impl Nearest {
    fn add(&mut self, first: u32, products: &[f32], norms: &[f32], temperature: Option<f32>) {
        let before = self.score;
        find_least(self, first, products, norms);
        if let Some(temperature) = temperature {
            add_exponentials(self, &before, products, norms, temperature);
        }
    }

    fn found(&self, row: usize) -> Found {
        Found { score: self.score[row], id: self.id[row], sum: self.sum[row] }
    }
}

vectorised! {
    /// The least of `products` [words, PANEL] with the codewords' `norms`; not-a-number is never it.
    fn find_least(nearest: &mut Nearest, first: u32, products: &[f32], norms: &[f32]) {
        let (mut score, mut id) = (nearest.score, nearest.id);
        for ((word, products), norm) in (first..).zip(products.as_chunks::<PANEL>().0).zip(norms) {
            for lane in 0..PANEL {
                let candidate = products[lane] + norm;
                let less = candidate < score[lane];
                score[lane] = if less { candidate } else { score[lane] };
                id[lane] = if less { word } else { id[lane] };
            }
        }
        (nearest.score, nearest.id) = (score, id);
    }
}

vectorised! {
    /// Adds the codewords' part to the sums, whose least score was `before`.
    fn add_exponentials(nearest: &mut Nearest, before: &[f32; PANEL], products: &[f32], norms: &[f32], temperature: f32) {
        let inverse = 1.0 / temperature;
        for lane in 0..PANEL {
            // Nothing was there before the first codeword, whose score is infinite.
            let scale = exp((nearest.score[lane] - before[lane]) * inverse);
            nearest.sum[lane] = if nearest.sum[lane] > 0.0 { nearest.sum[lane] * scale } else { nearest.sum[lane] };
        }
        let mut sum = [0.0; PANEL];
        for (products, norm) in products.as_chunks::<PANEL>().0.iter().zip(norms) {
            for lane in 0..PANEL {
                sum[lane] += exp((nearest.score[lane] - (products[lane] + norm)) * inverse);
            }
        }
        for lane in 0..PANEL {
            nearest.sum[lane] += sum[lane];
        }
    }
}

/// What is known of one row.
#[derive(Clone, Copy)]
struct Found {
    score: f32,
    id: u32,
    /// Σ exp(−(s − score) / τ).
    sum: f32,
}

impl Found {
    const NOTHING: Self = Self { score: f32::INFINITY, id: 0, sum: 0.0 };

    /// Together with what is known of later codewords.
    fn merged(self, later: Self, temperature: Option<f32>) -> Self {
        let nearer = if later.score < self.score { later } else { self };
        let sum = temperature.map_or(0.0, |temperature| {
            let part =
                |of: Self| if of.sum > 0.0 { of.sum * ((nearer.score - of.score) / temperature).exp() } else { 0.0 };
            part(self) + part(later)
        });
        Self { sum, ..nearer }
    }

    /// log Σ exp(−(s + ‖z‖²) / τ).
    fn log_sum_exp(self, z: &[f32], temperature: f32) -> f32 {
        self.sum.ln() - (self.score + lane_sum(z, |value| value * value)) / temperature
    }
}
