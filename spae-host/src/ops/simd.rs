//! Eight f32 values at a time: the vector type of the loops in [`super::contract`].
//!
//! AVX2 with FMA where the processor has them (asked at run time), plain Rust elsewhere. Knows nothing of tensors.

/// Values in one vector.
pub(super) const LANES: usize = 8;

/// Eight f32 values.
///
/// # Safety
/// The methods of an implementation may only run on a processor that has the instructions it is made of.
pub(super) trait Lanes: Copy {
    unsafe fn splat(value: f32) -> Self;
    /// Reads `LANES` values; `from` may have any alignment.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes `LANES` values; `to` may have any alignment.
    unsafe fn store(self, to: *mut f32);
    /// `self · factor + addend`.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The sum over the lanes, in a fixed order.
    unsafe fn sum(self) -> f32;
}

/// Plain Rust; the compiler vectorises it as far as the target allows.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; LANES]);

impl Lanes for Portable {
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for LANES readable values; `[f32; LANES]` asks for no more than f32's alignment.
        Self(unsafe { from.cast::<[f32; LANES]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for LANES writable values; the alignment is that of f32.
        unsafe { to.cast::<[f32; LANES]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        let mut result = addend.0;
        for lane in 0..LANES {
            result[lane] += self.0[lane] * factor.0[lane];
        }
        Self(result)
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use std::arch::x86_64::*;

    use super::Lanes;

    /// Whether this processor runs [`Avx2Fma`].
    pub(in crate::ops) fn available() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }

    /// One 256-bit register.
    #[derive(Clone, Copy)]
    pub(in crate::ops) struct Avx2Fma(__m256);

    // SAFETY of every body below: the trait's contract says that the processor has AVX2 and FMA, and that pointers
    // are good for LANES values; the unaligned forms of load and store are used.
    impl Lanes for Avx2Fma {
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Self(unsafe { _mm256_loadu_ps(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self.0) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
        }

        #[inline(always)]
        unsafe fn sum(self) -> f32 {
            unsafe {
                let halves = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
                let pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
                _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)))
            }
        }
    }
}

/// Defines a function whose body is compiled twice, once for AVX2, and calls the form that the processor runs. The body
/// is plain Rust that the compiler vectorises; both forms give the same bits.
macro_rules! vectorised {
    ($(#[$attribute:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$attribute])*
        fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn portable($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($argument: $type),*) $(-> $result)? {
                    portable($($argument),*)
                }
                if $crate::ops::simd::avx2::available() {
                    // SAFETY: the processor has AVX2.
                    return unsafe { wide($($argument),*) };
                }
            }
            portable($($argument),*)
        }
    };
}
pub(super) use vectorised;

/// eˣ to about 1 part in 10⁷ (Cephes' polynomial), without branches, so that loops over it vectorise. Below −87 the
/// result stays at e⁻⁸⁷, above 88 at e⁸⁸; not-a-number stays what it is.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: adding it rounds to the nearest integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let exponent = rounded - ROUND;
    // ln 2 in two parts, the first with few bits: the product is exact.
    let r = (x - exponent * 0.693_359_4) + exponent * 2.121_944_4e-4;
    let mut p = 1.987_569_2e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let mantissa = p * (r * r) + r + 1.0;
    let power = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32).wrapping_add(127);
    mantissa * f32::from_bits((power as u32) << 23)
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Running parts of [`lane_sum`]: enough to keep the adders busy.
const PARTS: usize = 4 * LANES;

/// Σ f(values), in an order that depends on the length alone.
#[inline(always)]
pub(super) fn lane_sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut parts = [0.0f32; PARTS];
    let chunks = values.chunks_exact(PARTS);
    let rest: f32 = chunks.remainder().iter().map(|&value| f(value)).sum();
    for chunk in chunks {
        for (part, &value) in parts.iter_mut().zip(chunk) {
            *part += f(value);
        }
    }
    parts.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_exact_one() {
        for step in -8700..=8800 {
            let x = step as f32 * 0.01;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.5e-7, "e^{x}: {} instead of {exact}", exp(x));
        }
        assert!(exp(-1e30) < 2e-38 && exp(1e30) > 1e38 && exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }
}
