//! Bytes as text: see `fuzz::text_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::text_stream::run(bytes);
});
