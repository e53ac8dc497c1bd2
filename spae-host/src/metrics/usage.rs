//! How much of the vocabulary a layer uses, and what its words cost in bits.

/// How often each word of a vocabulary was taken.
#[derive(Clone, Debug)]
pub struct Usage {
    counts: Vec<u64>,
    total: u64,
}

impl Usage {
    /// Of a vocabulary of so many words; nothing counted yet.
    pub fn new(words: usize) -> Self {
        Self { counts: vec![0; words], total: 0 }
    }

    /// Takes in ids; those outside the vocabulary do not count.
    pub fn add(&mut self, ids: &[u32]) {
        for &id in ids {
            if let Some(count) = self.counts.get_mut(id as usize) {
                *count += 1;
                self.total += 1;
            }
        }
    }

    /// Different words that were taken.
    pub fn in_use(&self) -> usize {
        self.counts.iter().filter(|&&count| count > 0).count()
    }

    /// [`in_use`](Self::in_use) as a share of the vocabulary.
    pub fn share(&self) -> f64 {
        self.in_use() as f64 / self.counts.len().max(1) as f64
    }

    /// `−Σ p·log₂ p` over the words' frequencies, in bits a word: what a coder that knows the frequencies, and nothing of
    /// the words before, cannot go below.
    pub fn entropy(&self) -> f64 {
        let probabilities = self.counts.iter().filter(|&&count| count > 0).map(|&c| c as f64 / self.total as f64);
        // From 0, for the empty sum of floats is −0.
        probabilities.fold(0.0, |sum, p| sum - p * p.log2()).max(0.0)
    }

    /// `exp` of the entropy in nats: of so many words, all alike in frequency, the entropy would be the same.
    pub fn perplexity(&self) -> f64 {
        self.entropy().exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_alike_in_frequency_have_their_number_as_perplexity() {
        let mut usage = Usage::new(16);
        usage.add(&[0, 3, 3, 0, 9, 15, 15, 9]);
        assert_eq!((usage.in_use(), usage.share()), (4, 0.25));
        assert!((usage.entropy() - 2.0).abs() < 1e-12 && (usage.perplexity() - 4.0).abs() < 1e-12);
    }

    #[test]
    fn entropy_by_hand() {
        let mut usage = Usage::new(3);
        usage.add(&[0, 0, 0, 1]);
        // −(3/4)·log₂(3/4) − (1/4)·log₂(1/4)
        assert!((usage.entropy() - 0.811_278_124_459_132_8).abs() < 1e-12);
    }

    #[test]
    fn one_word_and_none_cost_nothing() {
        let mut usage = Usage::new(3);
        assert_eq!((usage.in_use(), usage.entropy(), usage.perplexity()), (0, 0.0, 1.0));
        usage.add(&[2, 2]);
        assert_eq!((usage.in_use(), usage.entropy(), usage.perplexity()), (1, 0.0, 1.0));
    }
}
