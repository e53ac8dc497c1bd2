//! Edits of a small model behind right checksums: see `fuzz::model_unsealed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::model_unsealed::run(bytes);
});
