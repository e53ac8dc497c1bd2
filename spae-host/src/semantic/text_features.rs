//! Text features f′_T of names, made once and kept in a file, so that training needs no language model at hand.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::codebook::{over_templates, unit_rows};
use crate::tensor_file::{self, Tensors};

/// The kind that the file's metadata names.
const KIND: &str = "spae-text-features";
/// The tensor's name.
const ROWS: &str = "text";

/// Features of names.
#[derive(Clone, Debug)]
pub struct TextFeatures {
    /// What they are made from.
    pub document: TextDocument,
    /// f′_T (Eq. 5), [names, F], f32 rows of unit length.
    pub rows: Tensor,
}

/// What text features are made from: the same document, the same features.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TextDocument {
    /// Words, or what classes are called, in their order.
    pub names: Vec<String>,
    /// p of Eq. 5.
    pub templates: Vec<String>,
    /// SHA-256 of the encoder's tokenizer and of its weights, in hexadecimal.
    pub source: [String; 2],
}

impl TextFeatures {
    /// What `encode`, the text encoder that `document` names, makes of the names.
    ///
    /// # Errors
    /// If there is no name or no template, or a text cannot be encoded.
    pub fn build(document: TextDocument, encode: impl FnMut(&[String]) -> Result<Tensor>) -> Result<Self> {
        ensure!(!document.names.is_empty(), "there are no names");
        let rows = over_templates(&document.names, &document.templates, encode)?;
        Self { document, rows }.rounded()
    }

    /// Rounds the values to what the file holds, so that features just made equal those read back.
    fn rounded(self) -> Result<Self> {
        let rows = unit_rows(&self.rows.to_dtype(DType::F16)?.to_dtype(DType::F32)?)?;
        Ok(Self { rows, ..self })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it is missing, damaged or of another kind.
    pub fn load(path: &Path) -> Result<Self> {
        let (tensors, document): (_, TextDocument) = tensor_file::read(path, KIND)?;
        let rows = tensors.get(ROWS).with_context(|| format!("{} has no tensor `{ROWS}`", path.display()))?;
        let fits = rows.rank() == 2 && rows.dims()[0] == document.names.len();
        ensure!(fits, "{}: `{ROWS}` is {:?} for {} names", path.display(), rows.dims(), document.names.len());
        Self { rows: rows.to_dtype(DType::F32)?, document }.rounded()
    }

    /// Those at `path`, if they are made from `document`.
    pub fn current(path: &Path, document: &TextDocument) -> Option<Self> {
        Self::load(path).ok().filter(|there| there.document == *document)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let tensors = Tensors::from([(ROWS.to_owned(), self.rows.to_dtype(DType::F16)?)]);
        tensor_file::write(path, KIND, &tensors, &self.document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// The text's length and 1.
    fn encode(texts: &[String]) -> Result<Tensor> {
        let rows: Vec<f32> = texts.iter().flat_map(|text| [text.len() as f32, 1.0]).collect();
        unit_rows(&Tensor::from_vec(rows, (texts.len(), 2), &Device::Cpu)?)
    }

    #[test]
    fn features_are_kept_for_what_they_were_made_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/text.safetensors");
        let document = TextDocument {
            names: vec!["a".to_owned(), "bb".to_owned()],
            templates: vec!["{}".to_owned(), "a {}.".to_owned()],
            source: ["t".to_owned(), "w".to_owned()],
        };
        assert!(TextFeatures::current(&path, &document).is_none());
        let made = TextFeatures::build(document.clone(), encode).unwrap();
        made.save(&path).unwrap();
        let read = TextFeatures::current(&path, &document).unwrap();
        assert_eq!(read.rows.to_vec2::<f32>().unwrap(), made.rows.to_vec2::<f32>().unwrap());
        // Unit rows of lengths 1 and 4, their mean, unit again.
        let (first, second) = ([0.5f32.sqrt(); 2], [4.0 / 17f32.sqrt(), 1.0 / 17f32.sqrt()]);
        let (x, y) = (first[0] + second[0], first[1] + second[1]);
        let got = read.rows.to_vec2::<f32>().unwrap();
        assert!((got[0][0] - x / x.hypot(y)).abs() < 1e-3, "{got:?}");
        for change in [
            TextDocument { names: vec!["a".to_owned(), "b".to_owned()], ..document.clone() },
            TextDocument { templates: vec!["{}".to_owned()], ..document.clone() },
            TextDocument { source: ["t".to_owned(), "x".to_owned()], ..document.clone() },
        ] {
            assert!(TextFeatures::current(&path, &change).is_none());
        }
        assert!(TextFeatures::build(TextDocument { names: Vec::new(), ..document }, encode).is_err());
    }
}
