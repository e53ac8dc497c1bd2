//! The workstation's side of SPAE: frozen language codebooks, training, encoding, metrics and export.

pub mod ablation;
pub mod board;
pub mod checkpoint;
pub mod codebook;
pub mod config;
pub mod data;
pub mod download;
pub mod drawing;
pub mod evaluation;
pub mod export;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod model_file;
pub mod networks;
pub mod ops;
pub mod optimizer;
pub mod picture;
pub mod quantizer;
pub mod random;
pub mod semantic;
pub mod serial;
pub mod tensor_file;
pub mod text;
pub mod tokenizer;
pub mod train;
