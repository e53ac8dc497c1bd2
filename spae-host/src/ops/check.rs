//! What the tests of the operations share: random tensors, comparison of values and gradients, thread counts.

use candle_core::{Device, Result, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A variable with values in −1…1.
pub(super) fn variable(seed: u64, shape: &[usize]) -> Result<Var> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| random.random_range(-1.0..1.0)).collect();
    Var::from_vec(values, shape, &Device::Cpu)
}

/// A tensor outside any graph, with values in −1…1.
pub(super) fn random(seed: u64, shape: &[usize]) -> Result<Tensor> {
    Ok(variable(seed, shape)?.as_detached_tensor())
}

/// The values of a tensor.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// The gradients of `Σ output · probe` for a fixed random probe, one for each variable.
pub(super) fn gradients(output: &Tensor, variables: &[&Var]) -> Result<Vec<Vec<f32>>> {
    let gradients = (output * random(99, output.dims())?)?.sum_all()?.backward()?;
    let of = |variable: &&Var| values(gradients.get(variable).expect("every variable of the graph has a gradient"));
    variables.iter().map(of).collect()
}

/// Fails unless the two are equal to within `tolerance` of the largest value.
pub(super) fn assert_close(name: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{name}: lengths differ");
    let scale = expected.iter().fold(1e-3f32, |scale, value| scale.max(value.abs()));
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / scale;
        assert!(error <= tolerance, "{name}: value {index} is {got} instead of {expected} (error {error:e})");
    }
}

/// Fails unless two ways of computing an output agree in its value and in all gradients.
pub(super) fn assert_same(
    name: &str,
    got: &Tensor,
    expected: &Tensor,
    variables: &[&Var],
    tolerance: f32,
) -> Result<()> {
    assert_eq!(got.dims(), expected.dims(), "{name}: shapes differ");
    assert_close(&format!("{name}, value"), &values(got)?, &values(expected)?, tolerance);
    let (got, expected) = (gradients(got, variables)?, gradients(expected, variables)?);
    for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert_close(&format!("{name}, gradient {index}"), got, expected, tolerance);
    }
    Ok(())
}

/// Fails unless gradients along a random direction agree with central differences of step `step`.
pub(super) fn assert_finite_differences(
    name: &str,
    operation: impl Fn(&[Tensor]) -> Result<Tensor>,
    variables: &[&Var],
    step: f64,
    tolerance: f64,
) -> Result<()> {
    let inputs = |scale: f64, moved: usize, direction: &Tensor| -> Result<Vec<Tensor>> {
        let input = |(index, variable): (usize, &&Var)| {
            if index == moved { variable.as_tensor() + (direction * scale)? } else { Ok(variable.as_tensor().clone()) }
        };
        variables.iter().enumerate().map(input).collect()
    };
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let output = operation(&tensors)?;
    let probe = random(99, output.dims())?;
    let analytic = gradients(&output, variables)?;
    for (index, moved) in variables.iter().enumerate() {
        let direction = random(7 + index as u64, moved.dims())?;
        let loss = |scale: f64| -> Result<f64> {
            let output = values(&operation(&inputs(scale, index, &direction)?)?)?;
            Ok(output.iter().zip(values(&probe)?).map(|(&a, b)| f64::from(a) * f64::from(b)).sum())
        };
        let numeric = (loss(step)? - loss(-step)?) / (2.0 * step);
        let along: f64 =
            analytic[index].iter().zip(values(&direction)?).map(|(&a, b)| f64::from(a) * f64::from(b)).sum();
        let error = (numeric - along).abs() / numeric.abs().max(1.0);
        assert!(error <= tolerance, "{name}: along direction {index} {along} instead of {numeric}");
    }
    Ok(())
}

/// Fails unless `run` returns the same bits on 1, 2, 3 and 7 threads.
pub(super) fn assert_independent_of_threads(run: impl Fn() -> Result<Vec<Vec<f32>>> + Sync) -> Result<()> {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(candle_core::Error::wrap)?;
        let results = pool.install(&run)?;
        Ok::<_, candle_core::Error>(results.into_iter().flatten().map(f32::to_bits).collect::<Vec<_>>())
    };
    let single = on(1)?;
    for threads in [2, 3, 7] {
        assert!(on(threads)? == single, "{threads} threads give other bits than one");
    }
    Ok(())
}
