//! How Z becomes words and words become Ẑ.

use serde::{Deserialize, Serialize};

/// How Z becomes words.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Quantizer {
    /// What a position's words give together.
    #[serde(default)]
    pub kind: QuantizerKind,
}

/// What a position's words give together.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum QuantizerKind {
    /// Their average (Streaming Average Quantization, Eqs. 2 and 3).
    #[default]
    Saq,
    /// Their sum (Residual Quantization): each word stands for what those before it left. For workstations alone.
    Rq,
}
