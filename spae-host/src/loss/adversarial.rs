//! The adversarial terms of Eq. 8: non-saturating losses of generator and discriminator, R1, and LeCAM on the
//! discriminator's side (Tseng et al., 2021).
//!
//! R1 is ‖∇D(x)‖², and its gradient needs a second derivative, which the operations here do not have. For v of
//! independent standard normal numbers `E_v[(∇D·v)²] = ‖∇D‖²`, and ∇D·v is the difference of two values of D: the penalty
//! is `((D(x + εv) − D(x)) / ε)²`, whose expectation is R1 up to D's curvature over a step of length ε a pixel.

use anyhow::Result;
use candle_core::Tensor;

/// ε: the standard deviation of a pixel's step, in the units of pictures in [−1, 1]. A few times what 8 bits tell apart:
/// far above the rounding of D's values, far below what a picture shows.
pub const PENALTY_STEP: f64 = 0.01;

/// −log σ(D(x̂)): what the generator pays for pictures with these logits, `[B]`.
///
/// # Errors
/// If a tensor cannot be made.
pub fn generator(of_drawn: &Tensor) -> Result<Tensor> {
    softplus(&of_drawn.neg()?)
}

/// −log σ(D(x)) − log(1 − σ(D(x̂))): what the discriminator pays, `[B]`.
///
/// # Errors
/// If the shapes differ.
pub fn discriminator(of_real: &Tensor, of_drawn: &Tensor) -> Result<Tensor> {
    Ok((softplus(&of_real.neg()?)? + softplus(of_drawn)?)?)
}

/// R1's estimate from D(x) and D(x + εv), `[B]` each: `[B]`.
///
/// # Errors
/// If the shapes differ.
pub fn gradient_penalty(at_real: &Tensor, beside_real: &Tensor) -> Result<Tensor> {
    Ok(((beside_real - at_real)? / PENALTY_STEP)?.sqr()?)
}

/// LeCAM: `relu(D(x) − m_drawn)² + relu(m_real − D(x̂))²` with the running means m of D's outputs, `[B]`.
///
/// # Errors
/// If the shapes differ.
pub fn lecam(of_real: &Tensor, of_drawn: &Tensor, mean_of_real: f64, mean_of_drawn: f64) -> Result<Tensor> {
    let real = (of_real - mean_of_drawn)?.relu()?.sqr()?;
    let drawn = (of_drawn.neg()? + mean_of_real)?.relu()?.sqr()?;
    Ok((real + drawn)?)
}

/// ln(1 + eˣ), from values of eˣ at most 1.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let magnitude = x.abs()?;
    let above = ((x + &magnitude)? * 0.5)?;
    Ok((above + (magnitude.neg()?.exp()? + 1.0)?.log()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::values;
    use crate::random::{generator as numbers, normal};
    use candle_core::{Device, Var};

    fn gradient(loss: &Tensor, variable: &Var) -> Option<Vec<f32>> {
        loss.sum_all().unwrap().backward().unwrap().get(variable).map(values)
    }

    fn assert_near(got: &[f32], expected: &[f32]) {
        assert!(got.len() == expected.len(), "{got:?} {expected:?}");
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5 * b.abs().max(1.0)), "{got:?} {expected:?}");
    }

    #[test]
    fn the_generator_saturates_nowhere_and_large_logits_stay_finite() {
        let logits = Var::new(&[0f32, 3.0, -100.0, 100.0], &Device::Cpu).unwrap();
        let loss = generator(&logits).unwrap();
        assert_near(&values(&loss), &[2f32.ln(), (1.0 + (-3f32).exp()).ln(), 100.0, 0.0]);
        // d/dx = −σ(−x): steepest where the discriminator is surest.
        assert_near(&gradient(&loss, &logits).unwrap(), &[-0.5, -1.0 / (1.0 + 3f32.exp()), -1.0, 0.0]);
    }

    #[test]
    fn the_discriminator_wants_real_up_and_drawn_down() {
        let real = Var::new(&[0f32, 2.0], &Device::Cpu).unwrap();
        let drawn = Var::new(&[0f32, 2.0], &Device::Cpu).unwrap();
        let loss = discriminator(&real, &drawn).unwrap();
        assert_near(&values(&loss), &[2.0 * 2f32.ln(), (1.0 + (-2f32).exp()).ln() + (1.0 + 2f32.exp()).ln()]);
        let sigma = 1.0 / (1.0 + (-2f32).exp());
        assert_near(&gradient(&loss, &real).unwrap(), &[-0.5, sigma - 1.0]);
        assert_near(&gradient(&loss, &drawn).unwrap(), &[0.5, sigma]);
    }

    #[test]
    fn lecam_by_hand_moves_what_lies_beyond_the_other_sides_mean() {
        let real = Var::new(&[1f32, -3.0], &Device::Cpu).unwrap();
        let drawn = Var::new(&[0f32, 4.0], &Device::Cpu).unwrap();
        let loss = lecam(&real, &drawn, 2.0, -1.0).unwrap();
        assert_near(&values(&loss), &[4.0 + 4.0, 0.0]);
        assert_near(&gradient(&loss, &real).unwrap(), &[4.0, 0.0]);
        assert_near(&gradient(&loss, &drawn).unwrap(), &[-4.0, 0.0]);
    }

    #[test]
    fn the_penalty_of_a_linear_discriminator_is_in_the_mean_the_square_of_its_slope() {
        // D(x) = w·x: (∇D·v)² has the mean ‖w‖² and the variance 2‖w‖⁴; its gradient has the mean 2w.
        let w = Var::new(&[0.5f32, -1.0, 2.0], &Device::Cpu).unwrap();
        let count = 40_000;
        let mut random = numbers(1, "penalty", [0; 2]);
        let steps: Vec<f32> = (0..3 * count).map(|_| (PENALTY_STEP * normal(&mut random)) as f32).collect();
        let steps = Tensor::from_vec(steps, (count, 3), &Device::Cpu).unwrap();
        let x = Tensor::new(&[0.25f32, 0.5, -0.125], &Device::Cpu).unwrap().broadcast_as((count, 3)).unwrap();
        let d = |x: &Tensor| x.broadcast_mul(&w).unwrap().sum(1).unwrap();
        let penalty = gradient_penalty(&d(&x), &d(&(&x + steps).unwrap())).unwrap().mean_all().unwrap();
        let got = values(&penalty)[0];
        assert!((got - 5.25).abs() < 5.0 * 5.25 * (2.0 / count as f32).sqrt(), "{got}");
        let slopes = gradient(&penalty, &w).unwrap();
        assert!(slopes.iter().zip([1.0, -2.0, 4.0]).all(|(got, expected)| (got - expected).abs() < 0.15), "{slopes:?}");
    }
}
