//! The codebook's rows in int8 or int4: one scale a column, chosen for the least squared error.

use spae_core::quant;

/// Rows in integers and their scales.
#[derive(Clone, Debug)]
pub(super) struct IntegerRows {
    /// One a column.
    pub scales: Vec<f32>,
    /// [V × width], row-major.
    pub values: Vec<i8>,
}

/// How far below the scale that holds the largest magnitude others are tried: its shares 1, 63/64, … 32/64. Clipping a
/// few large values can leave less error than a coarser step for all.
const SHARES: std::ops::RangeInclusive<u32> = 32..=64;

/// Quantises `rows` [V × width] to integers of at most `limit`.
pub(super) fn integers(rows: &[f32], width: usize, limit: f32) -> IntegerRows {
    let column = |column: usize| rows.iter().skip(column).step_by(width);
    let scales: Vec<f32> = (0..width).map(|index| best_scale(column(index), limit)).collect();
    let quantise = |(&value, &scale): (&f32, &f32)| quant::integer(value, scale, limit);
    let values = rows.iter().zip(scales.iter().cycle()).map(quantise).collect();
    IntegerRows { scales, values }
}

fn best_scale<'v>(column: impl Iterator<Item = &'v f32> + Clone, limit: f32) -> f32 {
    let largest = column.clone().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let error = |scale: f32| -> f64 {
        let miss = |&value: &f32| f64::from(f32::from(quant::integer(value, scale, limit)) * scale - value);
        column.clone().map(|value| miss(value).powi(2)).sum()
    };
    let scales = SHARES.rev().map(|share| largest / limit * share as f32 / 64.0);
    scales.map(|scale| (error(scale), scale)).min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |(_, scale)| scale)
}

#[cfg(test)]
mod tests {
    use spae_core::quant::INT8_LIMIT;

    use super::*;

    #[test]
    fn a_column_of_steps_is_exact_and_columns_do_not_mix() {
        let rows: Vec<f32> = (-127..=127).flat_map(|i| [i as f32 * 0.5, 0.0, i as f32 * -8.0]).collect();
        let quantised = integers(&rows, 3, INT8_LIMIT);
        assert_eq!(quantised.scales, [0.5, 0.0, 8.0]);
        for (value, (got, scale)) in rows.iter().zip(quantised.values.iter().zip(quantised.scales.iter().cycle())) {
            assert_eq!(f32::from(*got) * scale, *value);
        }
    }

    #[test]
    fn one_outlier_is_clipped_where_that_costs_less() {
        let mut column: Vec<f32> = (0..40_000).map(|i| ((i * 37) % 1001) as f32 / 1000.0 - 0.5).collect();
        column.push(1.0);
        let scale = integers(&column, 1, INT8_LIMIT).scales[0];
        assert!(scale < 1.0 / INT8_LIMIT, "{scale}");
        let miss = |scale: f32| -> f32 {
            column.iter().map(|&v| (f32::from(quant::int8(v, scale)) * scale - v).powi(2)).sum()
        };
        assert!(miss(scale) < miss(1.0 / INT8_LIMIT));
    }
}
