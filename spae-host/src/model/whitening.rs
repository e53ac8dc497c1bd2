//! An initialisation that depends on data: Z starts spread over all directions, so that it meets many words.
//!
//! A fresh network maps all pictures to nearly the same direction; the few words that lie there are then the only ones
//! that training moves. So the encoder's last layer starts as `L⁻¹·(W·x + b − m)`, with m the mean and `L·Lᵀ` the
//! covariance (Cholesky) of what it gives on the first batch.

use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

/// The 1×1 layer `weight` `[d, c, 1, 1]` and `bias` `[d]` changed so that `outputs` [N, d], which it gave, would have had
/// zero mean and unit covariance.
///
/// # Errors
/// If there are no more rows than columns, or columns that say the same.
pub(super) fn whitened(weight: &Tensor, bias: &Tensor, outputs: &Tensor) -> Result<(Tensor, Tensor)> {
    let (rows, width) = outputs.dims2()?;
    ensure!(rows > width, "{rows} vectors do not tell how {width} values vary together; take a larger train.batch");
    let outputs = outputs.to_dtype(DType::F64)?;
    let mean = outputs.mean_keepdim(0)?;
    let centred = outputs.broadcast_sub(&mean)?;
    let covariance = (centred.t()?.matmul(&centred)? / rows as f64)?.to_vec2::<f64>()?;
    let inverse = inverse_root(&covariance)?;
    let inverse = Tensor::from_vec(inverse.concat(), (width, width), outputs.device())?;
    let weight_rows = weight.flatten_from(1)?.to_dtype(DType::F64)?;
    let shifted = (bias.to_dtype(DType::F64)?.unsqueeze(0)? - mean)?;
    Ok((
        inverse.matmul(&weight_rows)?.to_dtype(DType::F32)?.reshape(weight.shape())?,
        shifted.matmul(&inverse.t()?)?.squeeze(0)?.to_dtype(DType::F32)?,
    ))
}

/// L⁻¹ of `matrix` = L·Lᵀ, L lower triangular.
fn inverse_root(matrix: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
    let size = matrix.len();
    let mut root = vec![vec![0.0; size]; size];
    let mut inverse = root.clone();
    for row in 0..size {
        for column in 0..=row {
            let known: f64 = (0..column).map(|k| root[row][k] * root[column][k]).sum();
            let rest = matrix[row][column] - known;
            if column < row {
                root[row][column] = rest / root[column][column];
            } else {
                ensure!(
                    rest > 1e-12 * matrix[row][row] && rest.is_finite(),
                    "value {row} of the vectors says nothing that the others do not"
                );
                root[row][row] = rest.sqrt();
            }
        }
        for column in 0..=row {
            let identity = f64::from(u8::from(row == column));
            let known: f64 = (column..row).map(|k| root[row][k] * inverse[k][column]).sum();
            inverse[row][column] = (identity - known) / root[row][row];
        }
    }
    Ok(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use rand::RngExt as _;

    #[test]
    fn the_changed_layer_gives_uncorrelated_values_around_zero() {
        let mut random = crate::random::generator(1, "whitening", [0; 2]);
        let mut draw = |count: usize| (0..count).map(|_| random.random_range(-1f32..1.0)).collect::<Vec<_>>();
        let inputs = Tensor::from_vec(draw(600), (200, 3), &Device::Cpu).unwrap();
        let weight = Tensor::from_vec(draw(6), (2, 3, 1, 1), &Device::Cpu).unwrap();
        let bias = Tensor::new(&[5f32, -2.0], &Device::Cpu).unwrap();
        let apply = |weight: &Tensor, bias: &Tensor| {
            let rows = weight.flatten_from(1).unwrap().t().unwrap();
            inputs.matmul(&rows).unwrap().broadcast_add(bias).unwrap()
        };
        let (weight, bias) = whitened(&weight, &bias, &apply(&weight, &bias)).unwrap();
        let outputs = apply(&weight, &bias);
        let mean = outputs.mean(0).unwrap().to_vec1::<f32>().unwrap();
        let covariance = (outputs.t().unwrap().matmul(&outputs).unwrap() / 200.0).unwrap().to_vec2::<f32>().unwrap();
        assert!(mean.iter().all(|value| value.abs() < 1e-4), "{mean:?}");
        for (row, values) in covariance.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                assert!((value - f32::from(u8::from(row == column))).abs() < 1e-3, "{covariance:?}");
            }
        }
    }

    #[test]
    fn vectors_that_cannot_be_whitened_are_refused() {
        let layer = (Tensor::zeros((2, 3, 1, 1), DType::F32, &Device::Cpu), Tensor::zeros(2, DType::F32, &Device::Cpu));
        let (weight, bias) = (layer.0.unwrap(), layer.1.unwrap());
        let twins = Tensor::new(&[[1f32, 1.0], [2.0, 2.0], [4.0, 4.0]], &Device::Cpu).unwrap();
        assert!(whitened(&weight, &bias, &twins).unwrap_err().to_string().contains("value 1"));
        assert!(whitened(&weight, &bias, &twins.narrow(0, 0, 2).unwrap()).unwrap_err().to_string().contains("batch"));
    }
}
