//! The Fréchet distance of two Gaussians that have the moments of two sets of features:
//! `‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2·tr (Σ₁Σ₂)^½`. On Inception's features it is FID (Heusel et al., 2017).
//!
//! `tr (Σ₁Σ₂)^½ = tr (Σ₁^½·Σ₂·Σ₁^½)^½`, whose matrix is symmetric: two symmetric eigendecompositions, no root of a general
//! matrix, and nothing imaginary. Sets of fewer pictures than features need no special care.

use anyhow::{Result, anyhow, ensure};
use candle_core::{DType, Tensor};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, MatRef, Par, Side};

/// Mean and covariance of features that come in batches; memory is d², whatever their number.
#[derive(Clone, Debug)]
pub struct Moments {
    count: usize,
    /// The mean of the first batch; sums are of what is left of it, which loses fewer digits.
    offset: Vec<f64>,
    sum: Vec<f64>,
    /// Σ x·xᵀ, [d, d]; the lower triangle.
    products: Mat<f64>,
}

impl Default for Moments {
    fn default() -> Self {
        Self { count: 0, offset: Vec::new(), sum: Vec::new(), products: Mat::new() }
    }
}

impl Moments {
    /// Takes in `features` [N, d].
    ///
    /// # Errors
    /// If they have another width than those before, or are not finite.
    pub fn add(&mut self, features: &Tensor) -> Result<()> {
        let (rows, width) = features.dims2()?;
        let mut values: Vec<f64> = features.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        if rows == 0 {
            return Ok(());
        }
        ensure!(values.iter().all(|value| value.is_finite()), "a picture's features are not all finite numbers");
        if self.count == 0 {
            self.offset = vec![0.0; width];
            for row in values.chunks_exact(width) {
                self.offset.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / rows as f64);
            }
            self.sum = vec![0.0; width];
            self.products = Mat::zeros(width, width);
        }
        ensure!(self.offset.len() == width, "features of {width} values after some of {}", self.offset.len());
        for row in values.chunks_exact_mut(width) {
            for ((value, offset), sum) in row.iter_mut().zip(&self.offset).zip(&mut self.sum) {
                *value -= offset;
                *sum += *value;
            }
        }
        let batch = MatRef::from_row_major_slice(&values, rows, width);
        triangular::matmul(
            self.products.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Add,
            batch.transpose(),
            BlockStructure::Rectangular,
            batch,
            BlockStructure::Rectangular,
            1.0,
            Par::rayon(0),
        );
        self.count += rows;
        Ok(())
    }

    /// Features taken in.
    pub const fn count(&self) -> usize {
        self.count
    }

    fn mean(&self) -> Vec<f64> {
        self.offset.iter().zip(&self.sum).map(|(offset, sum)| offset + sum / self.count as f64).collect()
    }

    /// With Bessel's correction, [d, d].
    fn covariance(&self) -> Result<Mat<f64>> {
        ensure!(self.count >= 2, "{} picture has no covariance; a Fréchet distance needs two", self.count);
        let (count, width) = (self.count as f64, self.sum.len());
        Ok(Mat::from_fn(width, width, |row, column| {
            let product = self.products[(row.max(column), row.min(column))];
            (product - self.sum[row] * self.sum[column] / count) / (count - 1.0)
        }))
    }
}

/// A set that others are compared with.
#[derive(Debug)]
pub struct Reference {
    mean: Vec<f64>,
    trace: f64,
    /// Σ^½
    root: Mat<f64>,
}

impl Reference {
    /// From its moments.
    ///
    /// # Errors
    /// If they are of fewer than two pictures.
    pub fn new(moments: &Moments) -> Result<Self> {
        let covariance = moments.covariance()?;
        let eigen = covariance.self_adjoint_eigen(Side::Lower).map_err(|_| not_found())?;
        let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();
        let (vectors, least) = (eigen.U(), least(&values));
        // V·diag(λ^¼)
        let half = Mat::from_fn(values.len(), values.len(), |row, column| {
            vectors[(row, column)] * positive(values[column], least).sqrt().sqrt()
        });
        Ok(Self { mean: moments.mean(), trace: trace(&covariance), root: &half * half.transpose() })
    }

    /// The distance to another set; never negative.
    ///
    /// # Errors
    /// As for [`new`](Self::new), or if the two have features of different widths.
    pub fn distance(&self, moments: &Moments) -> Result<f64> {
        let (mean, covariance) = (moments.mean(), moments.covariance()?);
        ensure!(mean.len() == self.mean.len(), "features of {} and {} values", self.mean.len(), mean.len());
        let shift: f64 = self.mean.iter().zip(&mean).map(|(a, b)| (a - b).powi(2)).sum();
        let product = &self.root * &covariance * &self.root;
        let values = product.self_adjoint_eigenvalues(Side::Lower).map_err(|_| not_found())?;
        let least = least(&values);
        let root: f64 = values.iter().map(|&value| positive(value, least).sqrt()).sum();
        Ok((shift + self.trace + trace(&covariance) - 2.0 * root).max(0.0))
    }
}

fn trace(matrix: &Mat<f64>) -> f64 {
    (0..matrix.nrows()).map(|i| matrix[(i, i)]).sum()
}

/// What an eigenvalue that ought to be 0 may come out as: its square root would not be small.
fn least(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most: f64, value| most.max(value.abs())) * values.len() as f64 * f64::EPSILON
}

fn positive(value: f64, least: f64) -> f64 {
    if value > least { value } else { 0.0 }
}

fn not_found() -> anyhow::Error {
    anyhow!("the eigenvalues of the features' covariance were not found")
}

#[cfg(test)]
mod tests {
    use super::super::golden::{golden, units};
    use super::*;
    use candle_core::Device;

    /// Set `index` of a golden entry: [rows, dimension].
    fn features(index: usize, rows: usize, dimension: usize) -> Tensor {
        let signed = |name: &str, count| units(name, count).map(|t| 2.0 * t - 1.0).collect::<Vec<_>>();
        let tensor = |values: Vec<f64>, rows: usize| Tensor::from_vec(values, (rows, dimension), &Device::Cpu).unwrap();
        let values = signed(&format!("features.{index}"), rows * dimension).into_iter().map(|v| v + 0.1 * index as f64);
        let mut mix = signed("mix", dimension * dimension);
        (0..dimension).for_each(|i| mix[i * (dimension + 1)] += index as f64);
        tensor(values.collect(), rows).matmul(&tensor(mix, dimension)).unwrap()
    }

    fn moments(features: &Tensor, batch: usize) -> Moments {
        let mut moments = Moments::default();
        for start in (0..features.dim(0).unwrap()).step_by(batch) {
            let rows = batch.min(features.dim(0).unwrap() - start);
            moments.add(&features.narrow(0, start, rows).unwrap()).unwrap();
        }
        moments
    }

    #[test]
    fn agrees_with_pytorch_fid_whatever_the_rank_and_the_batches() {
        for case in golden()["frechet"].as_array().unwrap() {
            let number = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
            let dimension = number(&case["dimension"]);
            let [a, b] = [0, 1].map(|index| features(index, number(&case["rows"][index]), dimension));
            let expected = case["distance"].as_f64().unwrap();
            for batch in [7, 1000] {
                let (a, b) = (moments(&a, batch), moments(&b, batch));
                for (a, b) in [(&a, &b), (&b, &a)] {
                    let distance = Reference::new(a).unwrap().distance(b).unwrap();
                    assert!((distance / expected - 1.0).abs() < 1e-4, "{}: {distance}, {expected}", case["name"]);
                }
            }
        }
    }

    #[test]
    fn a_set_has_no_distance_to_itself() {
        for rows in [5, 60] {
            let moments = moments(&features(1, rows, 24), 16);
            let distance = Reference::new(&moments).unwrap().distance(&moments).unwrap();
            assert!(distance < 1e-6, "{rows}: {distance}");
        }
    }

    #[test]
    fn one_picture_and_features_that_do_not_fit_are_refused() {
        let one = moments(&features(0, 1, 4), 8);
        assert!(Reference::new(&one).unwrap_err().to_string().contains("1 picture"));
        let [four, five] = [4, 5].map(|dimension| moments(&features(0, 9, dimension), 8));
        assert!(Reference::new(&four).unwrap().distance(&five).unwrap_err().to_string().contains("4 and 5"));
        assert!(four.clone().add(&features(0, 2, 5)).is_err());
        let wrong = Tensor::full(f64::NAN, (1, 4), &Device::Cpu).unwrap();
        assert!(four.clone().add(&wrong).unwrap_err().to_string().contains("finite"));
    }
}
