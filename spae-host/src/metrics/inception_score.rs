//! Inception score (Salimans et al., 2016): `exp E[KL(p(y|x) ‖ p(y))]` in each of ten parts of a set; their mean and
//! standard deviation.

use anyhow::{Result, ensure};
use candle_core::{D, DType, Tensor};
use candle_nn::ops::{log_softmax, softmax};
use rand::seq::SliceRandom as _;
use serde::Serialize;

use crate::random::generator;

/// Parts that a set is cut into; as many as it has pictures, if those are fewer.
const PARTS: usize = 10;

/// Mean and standard deviation over the parts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Over the parts.
    pub mean: f64,
    /// Over the parts, without Bessel's correction.
    pub deviation: f64,
}

/// A score in the making; logits come in batches and are not kept.
#[derive(Clone, Debug)]
pub struct InceptionScore {
    /// The place of each picture among all; parts are runs of places.
    places: Vec<u32>,
    added: usize,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Default)]
struct Part {
    count: usize,
    /// Σ over pictures and classes of p·ln p.
    negentropy: f64,
    /// Σ over pictures of p, [classes].
    sum: Vec<f64>,
}

impl InceptionScore {
    /// Of a set of `count` pictures, shuffled by a fixed seed: sets often come sorted by class.
    pub fn new(count: usize) -> Self {
        let mut score = Self::in_order(count);
        score.places.shuffle(&mut generator(0, "inception score", [0; 2]));
        score
    }

    /// Of a set that has no order.
    fn in_order(count: usize) -> Self {
        Self { places: (0..count as u32).collect(), added: 0, parts: vec![Part::default(); PARTS.min(count)] }
    }

    /// Takes in the next pictures' `logits` [N, classes].
    ///
    /// # Errors
    /// If there are more than were announced, or of other classes than before.
    pub fn add(&mut self, logits: &Tensor) -> Result<()> {
        let logits = logits.to_dtype(DType::F64)?;
        let probabilities: Vec<Vec<f64>> = softmax(&logits, D::Minus1)?.to_vec2()?;
        let logarithms: Vec<Vec<f64>> = log_softmax(&logits, D::Minus1)?.to_vec2()?;
        for (p, logarithms) in probabilities.iter().zip(&logarithms) {
            ensure!(self.added < self.places.len(), "more pictures than the {} announced", self.places.len());
            let place = self.places[self.added] as usize;
            self.added += 1;
            // Part i has the places from ⌊i·N/parts⌋ on.
            let part = ((place + 1) * self.parts.len() - 1) / self.places.len();
            let part = &mut self.parts[part];
            part.sum.resize(if part.count == 0 { p.len() } else { part.sum.len() }, 0.0);
            ensure!(part.sum.len() == p.len(), "logits of {} classes after some of {}", p.len(), part.sum.len());
            part.count += 1;
            part.negentropy += p.iter().zip(logarithms).map(|(p, logarithm)| p * logarithm).sum::<f64>();
            part.sum.iter_mut().zip(p).for_each(|(sum, p)| *sum += p);
        }
        Ok(())
    }

    /// The score.
    ///
    /// # Errors
    /// If pictures are missing.
    pub fn value(&self) -> Result<Score> {
        ensure!(self.added == self.places.len() && self.added > 0, "{} of {} pictures", self.added, self.places.len());
        let scores = self.parts.iter().map(|part| {
            let count = part.count as f64;
            let marginal: f64 = part.sum.iter().filter(|&&sum| sum > 0.0).map(|sum| sum * (sum / count).ln()).sum();
            ((part.negentropy - marginal) / count).exp()
        });
        let scores: Vec<f64> = scores.collect();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / scores.len() as f64;
        Ok(Score { mean, deviation: variance.sqrt() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{golden, units};
    use super::*;
    use candle_core::Device;

    fn rows(values: Vec<f64>, classes: usize) -> Tensor {
        Tensor::from_vec(values.clone(), (values.len() / classes, classes), &Device::Cpu).unwrap()
    }

    #[test]
    fn agrees_with_torch_fidelity() {
        let expected = &golden()["inception_score"];
        let [count, classes] = ["rows", "classes"].map(|name| expected[name].as_u64().unwrap() as usize);
        let logits = rows(units("logits", count * classes).map(|t| 8.0 * t - 4.0).collect(), classes);
        let mut score = InceptionScore::in_order(count);
        score.add(&logits.narrow(0, 0, 20).unwrap()).unwrap();
        score.add(&logits.narrow(0, 20, count - 20).unwrap()).unwrap();
        let score = score.value().unwrap();
        assert!((score.mean - expected["mean"].as_f64().unwrap()).abs() < 1e-9, "{score:?}");
        assert!((score.deviation - expected["deviation"].as_f64().unwrap()).abs() < 1e-9, "{score:?}");
    }

    #[test]
    fn pictures_all_alike_score_one_and_sure_ones_the_number_of_classes() {
        let mut alike = InceptionScore::new(30);
        alike.add(&rows([1.0, -2.0, 3.0].repeat(30), 3)).unwrap();
        assert!((alike.value().unwrap().mean - 1.0).abs() < 1e-9);
        let mut sure = InceptionScore::in_order(30);
        sure.add(&rows([100.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 100.0].repeat(10), 3)).unwrap();
        assert!((sure.value().unwrap().mean - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_sorted_set_is_shuffled() {
        let logits = (0..40).flat_map(|i| [if i < 20 { 50.0 } else { 0.0 }, if i < 20 { 0.0 } else { 50.0 }]);
        let mut score = InceptionScore::new(40);
        score.add(&rows(logits.collect(), 2)).unwrap();
        assert!(score.value().unwrap().mean > 1.5);
    }

    #[test]
    fn missing_and_surplus_pictures_are_refused() {
        let mut score = InceptionScore::new(2);
        assert!(score.value().is_err());
        assert!(score.add(&rows(vec![0.0; 9], 3)).unwrap_err().to_string().contains("2 announced"));
    }
}
