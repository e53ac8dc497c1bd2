//! The codebook's rows in int8: one scale a column, chosen for the least squared error.

use spae_core::quant::{self, INT8_LIMIT};

/// Int8 rows and their scales.
#[derive(Clone, Debug)]
pub(super) struct Int8Rows {
    /// One a column.
    pub scales: Vec<f32>,
    /// [V × width], row-major.
    pub values: Vec<i8>,
}

/// How far below the scale that holds the largest magnitude others are tried: its shares 1, 63/64, … 32/64. Clipping a
/// few large values can leave less error than a coarser step for all.
const SHARES: std::ops::RangeInclusive<u32> = 32..=64;

/// Quantises `rows` [V × width].
pub(super) fn int8(rows: &[f32], width: usize) -> Int8Rows {
    let scales: Vec<f32> = (0..width).map(|column| best_scale(rows.iter().skip(column).step_by(width))).collect();
    let values = rows.iter().zip(scales.iter().cycle()).map(|(&value, &scale)| quant::int8(value, scale)).collect();
    Int8Rows { scales, values }
}

fn best_scale<'v>(column: impl Iterator<Item = &'v f32> + Clone) -> f32 {
    let largest = column.clone().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let error = |scale: f32| -> f64 {
        let miss = |&value: &f32| f64::from(f32::from(quant::int8(value, scale)) * scale - value);
        column.clone().map(|value| miss(value).powi(2)).sum()
    };
    let scales = SHARES.rev().map(|share| largest / INT8_LIMIT * share as f32 / 64.0);
    scales.map(|scale| (error(scale), scale)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |(_, scale)| scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_steps_is_exact_and_columns_do_not_mix() {
        let rows: Vec<f32> = (-127..=127).flat_map(|i| [i as f32 * 0.5, 0.0, i as f32 * -8.0]).collect();
        let quantised = int8(&rows, 3);
        assert_eq!(quantised.scales, [0.5, 0.0, 8.0]);
        for (value, (got, scale)) in rows.iter().zip(quantised.values.iter().zip(quantised.scales.iter().cycle())) {
            assert_eq!(f32::from(*got) * scale, *value);
        }
    }

    #[test]
    fn one_outlier_is_clipped_where_that_costs_less() {
        let mut column: Vec<f32> = (0..40_000).map(|i| ((i * 37) % 1001) as f32 / 1000.0 - 0.5).collect();
        column.push(1.0);
        let scale = int8(&column, 1).scales[0];
        assert!(scale < 1.0 / INT8_LIMIT, "{scale}");
        let miss = |scale: f32| -> f32 {
            column.iter().map(|&v| (f32::from(quant::int8(v, scale)) * scale - v).powi(2)).sum()
        };
        assert!(miss(scale) < miss(1.0 / INT8_LIMIT));
    }
}
