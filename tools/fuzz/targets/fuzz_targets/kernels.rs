//! Processors' kernels against the portable one: see `fuzz::kernels`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::kernels::run(bytes);
});
