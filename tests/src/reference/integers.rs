//! The integer decoder in the plainest way: whole feature maps in i128, real upsampling, each equation as FORMAT.md states
//! it.

use spae_core::decoder::Operation;
use spae_core::kernel::Activation;

use crate::fixtures::{Fixture, StoredRows, StoredStage, StoredWeights};

/// Activations, `[channels][height][width]`.
type Map = Vec<Vec<Vec<i128>>>;

/// The picture's channels from an integer fixture. `ids`: the words in reading order, `None` for a hole; where they end
/// the text ends.
///
/// # Panics
/// If the fixture computes in f32.
pub fn decode(fixture: &Fixture, ids: &[Option<usize>]) -> Vec<Vec<Vec<u8>>> {
    let StoredWeights::Int8(stages) = &fixture.weights else { panic!("{} computes in f32", fixture.name) };
    let mut maps: Vec<Map> = Vec::new();
    for (index, (spec, stage)) in fixture.stages.iter().zip(stages).enumerate() {
        let Some(source) = index.checked_sub(1) else {
            maps.push(input(fixture, stage, ids));
            continue;
        };
        let residual = spec.residual.map(|residual| (&maps[usize::from(residual)], &stages[usize::from(residual)]));
        let sums = sums(spec.operation, stage, &maps[source], stages[source].zero_point.into());
        let mut map = sums.clone();
        for (channel, plane) in map.iter_mut().enumerate() {
            for (y, row) in plane.iter_mut().enumerate() {
                for (x, value) in row.iter_mut().enumerate() {
                    let earlier = residual.map_or(0, |(map, earlier)| {
                        ((map[channel][y][x] - i128::from(earlier.zero_point)) << 16) * i128::from(stage.residual)
                    });
                    *value = requantise(sums[channel][y][x], stage, channel, earlier);
                }
            }
        }
        assert!(spec.activation == Activation::Identity || stage.zero_point == 0, "a ReLU's 0 is its lowest value");
        maps.push(map);
    }
    let last = maps.pop().expect("a stage");
    last.into_iter()
        .map(|plane| plane.into_iter().map(|row| row.into_iter().map(|v| v as u8).collect()).collect())
        .collect()
}

fn requantise(sum: i128, stage: &StoredStage, channel: usize, addend: i128) -> i128 {
    let product = (sum << stage.shift) * i128::from(stage.multipliers[channel]) + addend;
    // ⌊x/2³² + ½⌋
    (product + (1 << 31)).div_euclid(1 << 32).clamp(0, 255)
}

/// Ẑ plus the grid bias.
fn input(fixture: &Fixture, stage: &StoredStage, ids: &[Option<usize>]) -> Map {
    let (StoredRows::Int8 { values, .. } | StoredRows::Int4 { values, .. }) = &fixture.rows else {
        panic!("{} has rows in f16", fixture.name)
    };
    let (height, width) = (usize::from(fixture.pyramid.grid().height), usize::from(fixture.pyramid.grid().width));
    let mut words = vec![vec![Vec::new(); width]; height];
    let mut complete = Vec::new();
    let mut rest = ids.iter();
    'layers: for layer in fixture.pyramid.layers() {
        let (r, s) = (height / usize::from(layer.height), width / usize::from(layer.width));
        for i in 0..usize::from(layer.height) {
            for j in 0..usize::from(layer.width) {
                let Some(id) = rest.next() else { break 'layers };
                words[r * i + r / 2][s * j + s / 2].extend(*id);
            }
        }
        complete.push((r, s));
    }
    let mut map = vec![vec![vec![0; width]; height]; fixture.width];
    for y in 0..height {
        for x in 0..width {
            let cells = complete.iter().rev().map(|&(r, s)| (y / r * r + r / 2, x / s * s + s / 2));
            let source = std::iter::once((y, x)).chain(cells).find(|&(y, x)| !words[y][x].is_empty());
            let source = source.map_or(&[][..], |(y, x)| &words[y][x]);
            for (channel, plane) in map.iter_mut().enumerate() {
                let sum: i128 = source.iter().map(|id| i128::from(values[id * fixture.width + channel])).sum();
                let mean = if source.is_empty() { 0 } else { sum * 27_720 / source.len() as i128 };
                let bias = i128::from(stage.weights[(y * width + x) * fixture.width + channel]);
                let addend = (bias << 16) * i128::from(stage.biases[channel]);
                plane[y][x] = requantise(mean, stage, channel, addend);
            }
        }
    }
    map
}

/// A convolution's sums with bias; the source is padded with its zero point.
fn sums(operation: Operation, stage: &StoredStage, source: &Map, zero_point: i128) -> Map {
    let inputs = source.len();
    let doubled = operation == Operation::UpsampleConvolve3x3;
    let source: Map = if doubled { source.iter().map(|plane| twice(plane)).collect() } else { source.clone() };
    let (height, width) = (source[0].len(), source[0][0].len());
    let taps = if operation == Operation::Convolve1x1 { 1 } else { 9 };
    let kernels = stage.weights.chunks_exact(taps * inputs);
    let planes = kernels.zip(&stage.biases).map(|(kernel, &bias)| {
        let mut plane = vec![vec![i128::from(bias); width]; height];
        for (input, map) in source.iter().enumerate() {
            let stored: Vec<i128> = (0..taps).map(|tap| i128::from(kernel[tap * inputs + input])).collect();
            let weights = match (taps, doubled) {
                (1, _) => [[0, 0, 0], [0, stored[0], 0], [0, 0, 0]],
                (_, true) => original(&stored),
                _ => [0, 3, 6].map(|row| [stored[row], stored[row + 1], stored[row + 2]]),
            };
            for (y, row) in plane.iter_mut().enumerate() {
                for (x, value) in row.iter_mut().enumerate() {
                    for (p, weights) in weights.iter().enumerate() {
                        for (q, weight) in weights.iter().enumerate() {
                            let from = (y + p).checked_sub(1).and_then(|y| map.get(y));
                            let pixel = from.zip((x + q).checked_sub(1)).and_then(|(row, x)| row.get(x));
                            *value += weight * pixel.unwrap_or(&zero_point);
                        }
                    }
                }
            }
        }
        plane
    });
    planes.collect()
}

fn twice(plane: &[Vec<i128>]) -> Vec<Vec<i128>> {
    let row = |row: &Vec<i128>| row.iter().flat_map(|&value| [value; 2]).collect::<Vec<i128>>();
    plane.iter().flat_map(|plane_row| [row(plane_row), row(plane_row)]).collect()
}

/// w of `t = T·w·Tᵀ`.
fn original(t: &[i128]) -> [[i128; 3]; 3] {
    let undo = |[a, b, c]: [i128; 3]| [a, b - a - c, c];
    let rows = [0, 3, 6].map(|start| undo([t[start], t[start + 1], t[start + 2]]));
    let columns = [0, 1, 2].map(|q| undo([rows[0][q], rows[1][q], rows[2][q]]));
    [0, 1, 2].map(|p| [columns[0][p], columns[1][p], columns[2][p]])
}
