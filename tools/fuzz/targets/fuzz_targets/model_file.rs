//! Bytes as a model file: see `fuzz::model_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::model_file::run(bytes);
});
