//! What the fuzz targets do with their bytes. Each target's body stands here once: `targets/` hands it what libFuzzer
//! invents, `tests/replay.rs` the committed inputs, `tests/mutations.rs` seeded random ones.
//!
//! | module | what it does |
//! |---|---|
//! | [`model_file`] | bytes as they are, as a model file |
//! | [`model_unsealed`] | edits of a small model behind right checksums |
//! | [`text_stream`] | bytes as text, over a small model |
//! | [`kernels`] | processors' kernels against the portable one |
//! | [`models`] | the small models that edits and texts start from |
//! | [`exercise`] | draws with a model that reads, and holds it to its promises |
//! | [`input`] | choices out of bytes |
//!
//! A broken promise is a panic.

pub mod exercise;
pub mod input;
pub mod kernels;
pub mod model_file;
pub mod model_unsealed;
pub mod models;
pub mod text_stream;

/// How far an input came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It was refused with an error, or there was nothing to compare.
    Refused,
    /// It is sound, but drawing it would take longer than a fuzzer waits.
    TooMuchWork,
    /// It drew pictures, or sums were compared.
    Drawn,
}

/// A target's body.
pub type Body = fn(&[u8]) -> Outcome;

/// Every target, by the name of its program and of its folder in `corpus/`.
pub const TARGETS: [(&str, Body); 4] = [
    ("kernels", kernels::run),
    ("model_file", model_file::run),
    ("model_unsealed", model_unsealed::run),
    ("text_stream", text_stream::run),
];
