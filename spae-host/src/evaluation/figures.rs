//! What an evaluation finds.

use serde::Serialize;

use crate::metrics::{Score, Usage};

/// The figures of a model on a set.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Pictures measured.
    pub images: usize,
    /// Words of the vocabulary.
    pub vocabulary: usize,
    /// Of the whole pyramid: mean over pictures, in dB.
    pub psnr: f64,
    /// Of the whole pyramid: mean over pictures. None for pictures smaller than SSIM's window.
    pub ssim: Option<f64>,
    /// Of each prefix of whole layers.
    pub layers: Vec<Layer>,
    /// Inception score of the originals.
    pub inception_score_of_originals: Option<Score>,
    /// Who found what.
    pub evaluators: Vec<Evaluator>,
}

/// The figures of the pictures drawn from the first layers up to this one, and of this layer's words. What no evaluator
/// was given for is none.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// Words up to here.
    pub words: usize,
    /// Mean over pictures, in dB.
    pub psnr: f64,
    /// Mean over pictures.
    pub ssim: Option<f64>,
    /// Mean over pictures.
    pub lpips: Option<f64>,
    /// Between originals and drawn pictures.
    pub fid: Option<f64>,
    /// Of the drawn pictures.
    pub inception_score: Option<Score>,
    /// Between originals and drawn pictures: the statistic of FID on another network's features, no FID.
    pub fd_darknet: Option<f64>,
    /// Mean cosine of originals and their words up to here.
    pub clip_score: Option<f64>,
    /// Bits of the words up to here, log₂ V each, by the picture's pixels.
    pub bits_per_pixel: f64,
    /// The same with each layer's words at their entropy: the least that a code of the words' frequencies reaches.
    pub bits_per_pixel_coded: f64,
    /// Of this layer alone.
    #[serde(flatten)]
    pub usage: LayerUsage,
}

/// How a layer uses the vocabulary, over the whole set.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LayerUsage {
    /// Different words.
    pub words_in_use: usize,
    /// The same as a share of the vocabulary.
    pub share_in_use: f64,
    /// exp of the entropy of the words' frequencies.
    pub perplexity: f64,
    /// That entropy, in bits a word.
    pub bits_per_word: f64,
}

impl From<&Usage> for LayerUsage {
    fn from(usage: &Usage) -> Self {
        Self {
            words_in_use: usage.in_use(),
            share_in_use: usage.share(),
            perplexity: usage.perplexity(),
            bits_per_word: usage.entropy(),
        }
    }
}

/// Whose figure one is: without this it compares with nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evaluator {
    /// The figures' names.
    pub figures: Vec<&'static str>,
    /// The measure or the network, in words.
    pub name: String,
    /// What pictures are compared with.
    pub reference: String,
    /// What becomes of pictures before they are measured.
    pub resizing: String,
    /// The weights.
    pub files: Vec<WeightsFile>,
}

/// A file that a figure depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WeightsFile {
    /// Where it lies.
    pub path: String,
    /// Of its bytes, in hexadecimal.
    pub sha256: String,
}
