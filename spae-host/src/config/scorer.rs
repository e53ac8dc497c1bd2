//! What says how alike an image and a word are, and the files that it needs.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What says how alike an image and a word are. Paths are relative to the configuration's folder; only training and
/// `spae features` read them.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Scorer {
    /// The sentence embedding of the caption of the image's label. May be written `"captions"`.
    Captions {},
    /// What a classifier takes the image for, in the sentence embeddings of its classes' names.
    Classifier {
        /// A convolutional classifier in safetensors. Not needed where `features` are given.
        network: PathBuf,
        /// What its file does not say.
        #[serde(default)]
        design: Design,
        /// Text features of its classes' names, in their order; from `spae features text`.
        names: PathBuf,
        /// Text features of the vocabulary by the same sentence encoder, where the codebook has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vocabulary: Option<PathBuf>,
        /// The side in pixels that images are resized to for the network; their own where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        side: Option<usize>,
        /// What the network made of the training images; from `spae features images`. Where absent, it runs in each step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        features: Option<PathBuf>,
    },
    /// CLIP's image features with its text features of the words, as in the paper.
    Clip {
        /// A Hugging Face style folder with the model. Not needed where `features` are given.
        folder: PathBuf,
        /// Text features of the vocabulary by the same model; from `spae features text`.
        vocabulary: PathBuf,
        /// What the model made of the training images; from `spae features images`. Where absent, it runs in each step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        features: Option<PathBuf>,
    },
}

/// What a classifier's file of weights does not say; by default, Tiny Darknet's.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Design {
    /// Numbers of the convolutions that are followed by 2×2 max pooling.
    pub pools: Vec<usize>,
    /// What the leaky ReLU multiplies negative values by.
    pub slope: f32,
    /// ε of the batch norms.
    pub epsilon: f64,
}

impl Default for Design {
    fn default() -> Self {
        Self { pools: vec![1, 2, 6, 10], slope: 0.1, epsilon: 1e-3 }
    }
}

impl Scorer {
    /// The scorer's name in a configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Captions {} => "captions",
            Self::Classifier { .. } => "classifier",
            Self::Clip { .. } => "clip",
        }
    }

    /// What the network made of the training images, where a file has it.
    pub fn features(&self) -> Option<&PathBuf> {
        match self {
            Self::Captions {} => None,
            Self::Classifier { features, .. } | Self::Clip { features, .. } => features.as_ref(),
        }
    }

    /// Every path that it names.
    pub(super) fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Captions {} => Vec::new(),
            Self::Classifier { network, names, vocabulary, features, .. } => {
                [Some(network), Some(names), vocabulary.as_mut(), features.as_mut()].into_iter().flatten().collect()
            }
            Self::Clip { folder, vocabulary, features } => {
                [Some(folder), Some(vocabulary), features.as_mut()].into_iter().flatten().collect()
            }
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if let Self::Classifier { side, design, .. } = self {
            ensure!(side.is_none_or(|side| (1..=2048).contains(&side)), "semantic.scorer.side can be 1 to 2048");
            design.check("semantic.scorer.design")?;
        }
        Ok(())
    }
}

impl Design {
    pub(super) fn check(&self, at: &str) -> Result<()> {
        ensure!(self.slope.is_finite(), "{at}.slope must be a number");
        ensure!(self.epsilon.is_finite() && self.epsilon >= 0.0, "{at}.epsilon must be a number of at least 0");
        Ok(())
    }
}

/// `"captions"` as well as tables.
pub(super) mod word_or_table {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(scorer: &Scorer, serializer: S) -> Result<S::Ok, S::Error> {
        match scorer {
            Scorer::Captions {} => serializer.serialize_str(scorer.name()),
            table => table.serialize(serializer),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scorer, D::Error> {
        deserializer.deserialize_any(WordOrTable)
    }

    struct WordOrTable;

    impl<'de> Visitor<'de> for WordOrTable {
        type Value = Scorer;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"captions\" or a table such as { kind = \"classifier\", … }")
        }

        fn visit_str<E: Error>(self, word: &str) -> Result<Scorer, E> {
            match word {
                "captions" => Ok(Scorer::Captions {}),
                other => Err(E::invalid_value(Unexpected::Str(other), &self)),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scorer, A::Error> {
            Scorer::deserialize(MapAccessDeserializer::new(map))
        }
    }
}
