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
