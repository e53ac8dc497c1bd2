//! What a network makes of a whole set of pictures, computed once and kept in a file: a step then costs nothing for it.
//!
//! The pictures are those of the set as fitted to the model, without the variations of training.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::tensor_file::{self, Tensors};

/// The kind that the file's metadata names.
const KIND: &str = "spae-image-features";

/// Features of every picture of a set, in its order.
#[derive(Clone, Debug)]
pub struct ImageFeatures {
    /// What they are made from.
    pub document: ImageDocument,
    /// By name, one row for each picture.
    pub tensors: Tensors,
}

/// What image features are made from: the same document, the same features.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ImageDocument {
    /// Which network, by its hash, and how pictures are put into it.
    pub network: String,
    /// The fingerprint of the set.
    pub data: String,
    /// How many pictures.
    pub pictures: usize,
}

impl ImageFeatures {
    /// Reads a file that must be made from `data`, and from `network` where that is known.
    ///
    /// # Errors
    /// If it is missing, damaged, of another kind or made from something else.
    pub fn load(path: &Path, network: Option<&str>, data: &str) -> Result<Self> {
        let way_out = "make it with `spae features images`";
        ensure!(path.exists(), "there are no image features {}; {way_out}", path.display());
        let (tensors, document): (_, ImageDocument) = tensor_file::read(path, KIND)?;
        ensure!(document.data == data, "{} belongs to other pictures or another fit; {way_out}", path.display());
        let same = network.is_none_or(|network| network == document.network);
        ensure!(same, "{} was made by another network or at another size; {way_out}", path.display());
        Ok(Self { document, tensors })
    }

    /// The tensor `name` [pictures, K] in f32.
    pub(super) fn rows(&self, name: &str) -> Result<Tensor> {
        let rows = self.tensors.get(name).with_context(|| format!("the image features have no `{name}`"))?;
        let fits = rows.rank() == 2 && rows.dims()[0] == self.document.pictures;
        ensure!(fits, "`{name}` of the image features is {:?}", rows.dims());
        Ok(rows.to_dtype(DType::F32)?)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        tensor_file::write(path, KIND, &self.tensors, &self.document)
    }
}
