//! From words to pixels in the plainest way: whole feature maps in f64, upsampling and convolving as two steps, each
//! equation as the design states it. Shares no arithmetic and no geometry with spae-core.

use spae_core::decoder::{Operation, StageSpec};
use spae_core::kernel::Activation;

use crate::fixtures::{Fixture, StoredWeights};

mod integers;

pub use integers::decode as decode_integers;

/// A feature map, `[channels][height][width]`.
pub type Map = Vec<Vec<Vec<f64>>>;

/// Decoder output before it is rounded to pixels. `ids`: the words in reading order, `None` for a hole; where they end
/// the text ends.
///
/// # Panics
/// If the fixture computes in integers; see [`decode_integers`].
pub fn decode(fixture: &Fixture, ids: &[Option<usize>]) -> Map {
    let grid = fixture.pyramid.grid();
    let StoredWeights::F16(weights) = &fixture.weights else { panic!("{} computes in integers", fixture.name) };
    let mut weights = weights.iter().map(|&weight| f64::from(weight));
    let mut maps: Vec<Map> = Vec::new();
    for spec in &fixture.stages {
        let mut out = match maps.last() {
            None => {
                let mut map = average(fixture, ids);
                for row in 0..usize::from(grid.height) {
                    for column in 0..usize::from(grid.width) {
                        for channel in &mut map {
                            channel[row][column] += weights.next().expect("a bias");
                        }
                    }
                }
                map
            }
            Some(map) => convolve(spec, map, &mut weights),
        };
        if let Some(residual) = spec.residual {
            let earlier = &maps[usize::from(residual)];
            for (out, earlier) in values(&mut out).zip(earlier.iter().flatten().flatten()) {
                *out += earlier;
            }
        }
        if spec.activation == Activation::Relu {
            values(&mut out).for_each(|value| *value = value.max(0.0));
        }
        maps.push(out);
    }
    assert_eq!(weights.count(), 0, "weights are left over");
    maps.pop().expect("a stage")
}

fn values(map: &mut Map) -> impl Iterator<Item = &mut f64> {
    map.iter_mut().flatten().flatten()
}

/// Ẑ (Eqs. 1 and 3, and the rule for prefixes), `[d][h][w]`.
fn average(fixture: &Fixture, ids: &[Option<usize>]) -> Map {
    let (height, width) = (usize::from(fixture.pyramid.grid().height), usize::from(fixture.pyramid.grid().width));
    let mut sums = vec![vec![vec![0.0; fixture.width]; width]; height];
    let mut counts = vec![vec![0.0; width]; height];
    let mut complete = Vec::new();
    let mut ids = ids.iter();
    'layers: for layer in fixture.pyramid.layers() {
        let (r, s) = (height / usize::from(layer.height), width / usize::from(layer.width));
        for i in 0..usize::from(layer.height) {
            for j in 0..usize::from(layer.width) {
                let Some(id) = ids.next() else { break 'layers };
                let Some(id) = id else { continue };
                let (y, x) = (r * i + r / 2, s * j + s / 2);
                counts[y][x] += 1.0;
                for (sum, e) in sums[y][x].iter_mut().zip(fixture.row(*id)) {
                    *sum += f64::from(e);
                }
            }
        }
        complete.push((r, s));
    }
    let mut map = vec![vec![vec![0.0; width]; height]; fixture.width];
    for y in 0..height {
        for x in 0..width {
            let cells = complete.iter().rev().map(|&(r, s)| (y / r * r + r / 2, x / s * s + s / 2));
            let source = std::iter::once((y, x)).chain(cells).find(|&(y, x)| counts[y][x] > 0.0);
            if let Some((from_y, from_x)) = source {
                for (channel, sum) in map.iter_mut().zip(&sums[from_y][from_x]) {
                    channel[y][x] = sum / counts[from_y][from_x];
                }
            }
        }
    }
    map
}

fn convolve(spec: &StageSpec, map: &Map, weights: &mut impl Iterator<Item = f64>) -> Map {
    let (inputs, outputs) = (map.len(), usize::from(spec.channels));
    let mut take = |count: usize| -> Vec<f64> { (0..count).map(|_| weights.next().expect("a weight")).collect() };
    let bias = take(outputs);
    // kernels[output][input][3][3]
    let mut kernels = vec![vec![[[0.0; 3]; 3]; inputs]; outputs];
    let source = match spec.operation {
        Operation::Input => unreachable!("the input stands first"),
        Operation::Convolve1x1 => {
            for row in &mut kernels {
                for kernel in row {
                    kernel[1][1] = take(1)[0];
                }
            }
            map.clone()
        }
        Operation::Convolve3x3 => {
            for row in &mut kernels {
                for kernel in row {
                    kernel.as_flattened_mut().copy_from_slice(&take(9));
                }
            }
            map.clone()
        }
        Operation::UpsampleConvolve3x3 => {
            for input in 0..inputs {
                for row in &mut kernels {
                    row[input] = original_taps(&take(9));
                }
            }
            doubled(map)
        }
    };
    let (height, width) = (source[0].len(), source[0][0].len());
    let mut out = vec![vec![vec![0.0; width]; height]; outputs];
    for (output, channel) in out.iter_mut().enumerate() {
        for (y, row) in channel.iter_mut().enumerate() {
            for (x, value) in row.iter_mut().enumerate() {
                *value = bias[output];
                for (input, map) in source.iter().enumerate() {
                    for (p, taps) in kernels[output][input].iter().enumerate() {
                        for (q, tap) in taps.iter().enumerate() {
                            // Zero padding: what lies outside adds nothing.
                            let from_y = (y + p).checked_sub(1).and_then(|y| map.get(y));
                            let pixel = from_y.zip((x + q).checked_sub(1)).and_then(|(row, x)| row.get(x));
                            *value += tap * pixel.unwrap_or(&0.0);
                        }
                    }
                }
            }
        }
    }
    out
}

/// Nearest ×2.
fn doubled(map: &Map) -> Map {
    let twice = |row: &Vec<f64>| row.iter().flat_map(|&value| [value; 2]).collect::<Vec<f64>>();
    map.iter().map(|channel| channel.iter().flat_map(|row| [twice(row), twice(row)]).collect()).collect()
}

/// w of `t = T·w·Tᵀ`, `T = [[1,0,0],[1,1,1],[0,0,1]]`: the inverse takes the two outer rows off the middle one.
fn original_taps(t: &[f64]) -> [[f64; 3]; 3] {
    let undo = |[a, b, c]: [f64; 3]| [a, b - a - c, c];
    let rows = [0, 3, 6].map(|start| undo([t[start], t[start + 1], t[start + 2]]));
    let columns = [0, 1, 2].map(|q| undo([rows[0][q], rows[1][q], rows[2][q]]));
    [0, 1, 2].map(|p| [columns[0][p], columns[1][p], columns[2][p]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use spae_core::kernel::transform_taps;

    #[test]
    fn original_taps_undoes_the_transform() {
        let w = [1.0, -2.0, 3.0, 0.5, 4.0, -1.0, 2.0, 7.0, -3.0];
        let back = original_taps(&transform_taps(w).map(f64::from));
        assert_eq!(back.as_flattened(), w.map(f64::from));
    }
}
