//! The roundings, each defined once: pixels, int8 rows, integer activations and f16 weights. The host calls these too.

use half::f16;

/// Largest magnitude of a stored int8 value; −128 is not used, so that negation is exact.
pub const INT8_LIMIT: f32 = 127.0;

/// Largest magnitude of a stored int4 value.
pub const INT4_LIMIT: f32 = 7.0;

/// A pixel from a decoder output in [−1, 1]: `⌊127.5·(v + 1) + ½⌋`, values outside clamped. Not-a-number gives 0.
pub fn pixel(value: f32) -> u8 {
    // `as` saturates, and takes not-a-number to 0.
    ((value + 1.0) * 127.5 + 0.5) as u8
}

/// The decoder's scale of a pixel: `p / 127.5 − 1`, in [−1, 1].
pub fn from_pixel(pixel: u8) -> f32 {
    f32::from(pixel) / 127.5 - 1.0
}

/// `value / scale` rounded half away from zero and clamped to ±127. A scale of 0 gives 0.
pub fn int8(value: f32, scale: f32) -> i8 {
    integer(value, scale, INT8_LIMIT)
}

/// As [`int8`], clamped to ±`limit`, which is at most 127.
pub fn integer(value: f32, scale: f32, limit: f32) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    let steps = (value / scale).max(-limit).min(limit);
    (steps + if steps < 0.0 { -0.5 } else { 0.5 }) as i8
}

/// An activation from a stage's sum: `(((sum << shift)·multiplier + addend + 2³¹) >> 32`, clamped to 0 … 255: one rounding.
/// The shift wraps around at 32 bits, sums and products at 64.
#[inline]
pub fn requantise(sum: i32, shift: u8, multiplier: i32, addend: i64) -> u8 {
    const HALF: i64 = 1 << 31;
    let product = i64::from(sum.wrapping_shl(shift.into())) * i64::from(multiplier);
    let rounded = (product.wrapping_add(addend).wrapping_add(HALF) >> 32) as i32;
    rounded.clamp(0, 255) as u8
}

/// The addend of [`requantise`] that a value of at most 9 bits and its own multiplier make: `(value << 16)·multiplier`.
#[inline]
pub const fn addend(value: i16, multiplier: i32) -> i64 {
    ((value as i32) << 16) as i64 * multiplier as i64
}

/// The f32 that two little-endian bytes hold as an IEEE 754 binary16; exact.
///
/// Without calls or branches: loops over weights become vectors on a host, and a chip that has no instruction for it
/// needs few. (`half` asks at run time what the processor can do, or branches; decoding took twice as long with it.)
#[inline]
pub const fn f16_le(bytes: [u8; 2]) -> f32 {
    let infinite_or_none = if u16::from_le_bytes(bytes) & 0x7C00 == 0x7C00 { 0x7F80_0000 } else { 0 };
    f32::from_bits(finite_f16_le(bytes).to_bits() | infinite_or_none)
}

/// [`f16_le`] of what is neither infinite nor no number.
#[inline(always)]
const fn finite_f16_le(bytes: [u8; 2]) -> f32 {
    /// 2¹¹², which turns binary16's exponent bias of 15 into binary32's 127, for subnormal numbers too.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u16::from_le_bytes(bytes) as u32;
    let magnitude = f32::from_bits((bits & 0x7FFF) << 13) * REBIAS;
    f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
}

/// [`f16_le`] of each, which must be finite; what else there is gives some number. In place, since an array that is
/// returned is copied.
#[inline(always)]
pub fn widen<const N: usize>(stored: &[[u8; 2]; N], widened: &mut [f32; N]) {
    for (widened, stored) in widened.iter_mut().zip(stored) {
        *widened = finite_f16_le(*stored);
    }
}

/// The two little-endian bytes of `value` as binary16, rounded to nearest, ties to even.
pub fn to_f16_le(value: f32) -> [u8; 2] {
    f16::from_f32(value).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_is_exact_for_all_65536_binary16() {
        for bits in 0..=u16::MAX {
            let (ours, expected) = (f16_le(bits.to_le_bytes()), f16::from_bits(bits).to_f32());
            assert!(ours.to_bits() == expected.to_bits() || (ours.is_nan() && expected.is_nan()), "{bits:#06x}");
        }
    }

    #[test]
    fn every_pixel_survives_the_round_trip() {
        for p in 0..=255 {
            assert_eq!(pixel(from_pixel(p)), p);
        }
    }

    #[test]
    fn pixels_clamp_and_not_a_number_is_black() {
        assert_eq!([-9.0, -1.0, 0.0, 1.0, 9.0, f32::INFINITY, f32::NAN].map(pixel), [0, 0, 128, 255, 255, 255, 0]);
    }

    #[test]
    fn int8_rounds_half_away_from_zero_and_never_reaches_minus_128() {
        assert_eq!([2.5, -2.5, 2.4, 900.0, -900.0].map(|v| int8(v, 1.0)), [3, -3, 2, 127, -127]);
        assert_eq!(int8(1.0, 0.0), 0);
    }
}
