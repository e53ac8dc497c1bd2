//! Similarity through the caption of an image's label: s′(I, k) = f_T(caption of I) · f′_T(k).

use anyhow::{Result, bail, ensure};
use candle_core::Tensor;

use super::{Scorer, Scores};
use crate::data::Batch;

/// Scores by caption. A word leads with a caption only if it does so under templates and bare.
#[derive(Clone, Debug)]
pub struct Captions {
    words: usize,
    captions: usize,
    /// [C × V].
    similarity: Vec<f32>,
    /// Over every other caption, [C × V].
    lead: Vec<f32>,
}

impl Captions {
    /// From unit rows: `caption` [C, F] and `text` [V, F] over templates, and the same for bare words.
    ///
    /// # Errors
    /// If the shapes do not fit each other.
    pub fn new(caption: &Tensor, text: &Tensor, caption_plain: &Tensor, text_plain: &Tensor) -> Result<Self> {
        let (captions, words) = (caption.dim(0)?, text.dim(0)?);
        let table = |caption: &Tensor, text: &Tensor| -> Result<Vec<f32>> {
            Ok(caption.matmul(&text.t()?)?.flatten_all()?.to_vec1()?)
        };
        let similarity = table(caption, text)?;
        let plain = table(caption_plain, text_plain)?;
        ensure!(similarity.len() == plain.len(), "features over templates and bare ones have different shapes");
        let lead =
            leads(&similarity, words).zip(leads(&plain, words)).map(|(first, second)| first.min(second)).collect();
        Ok(Self { words, captions, similarity, lead })
    }
}

/// By how much each value of a [C × V] table exceeds the largest other one of its column.
fn leads(table: &[f32], words: usize) -> impl Iterator<Item = f32> + '_ {
    table.iter().enumerate().map(move |(place, value)| {
        let (caption, word) = (place / words, place % words);
        let others = table.iter().skip(word).step_by(words).enumerate().filter(|&(other, _)| other != caption);
        value - others.map(|(_, &other)| other).fold(f32::NEG_INFINITY, f32::max)
    })
}

impl Scorer for Captions {
    fn score(&self, batch: &Batch) -> Result<Scores> {
        let labels = &batch.labels;
        let mut similarity = Vec::with_capacity(labels.len() * self.words);
        let mut lead = Vec::with_capacity(labels.len() * self.words);
        for label in labels {
            let Some(label) = label.map(|label| label as usize) else {
                bail!(
                    "semantic.scorer = \"captions\" needs labels, which this set does not have; empty semantic.pools"
                );
            };
            if label >= self.captions {
                bail!("label {label} has no caption: the codebook has {} of them", self.captions);
            }
            let row = label * self.words..(label + 1) * self.words;
            similarity.extend_from_slice(&self.similarity[row.clone()]);
            lead.extend_from_slice(&self.lead[row]);
        }
        Ok(Scores { words: self.words, similarity, lead: Some(lead) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn rows(values: &[[f32; 2]]) -> Tensor {
        Tensor::from_vec(values.concat(), (values.len(), 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_label_scores_as_its_caption_and_leads_under_both_features() {
        let caption = rows(&[[1.0, 0.0], [0.0, 1.0]]);
        let text = rows(&[[0.8, 0.6], [0.6, 0.8], [1.0, 0.0]]);
        let plain = rows(&[[0.6, 0.8], [0.6, 0.8], [1.0, 0.0]]);
        let captions = Captions::new(&caption, &text, &caption, &plain).unwrap();
        let score = |labels: &[Option<u32>]| {
            captions.score(&Batch { images: caption.clone(), labels: labels.to_vec(), numbers: Vec::new() })
        };
        let scores = score(&[Some(1), Some(0)]).unwrap();
        assert_eq!(scores.similarity, [0.6, 0.8, 0.0, 0.8, 0.6, 1.0]);
        let lead = scores.lead.unwrap();
        let expected = [-0.2, 0.2, -1.0, -0.2, -0.2, 1.0];
        assert!(lead.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-6), "{lead:?}");
        for labels in [[None], [Some(2)]] {
            assert!(score(&labels).is_err());
        }
    }
}
