//! A Hugging Face style folder: `tokenizer.json` and `model.safetensors`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use candle_core::safetensors::BufferedSafetensors;
use candle_core::{DType, Device, Tensor};
use sha2::{Digest as _, Sha256};
use tokenizers::Tokenizer;

use super::sentence::SentenceEncoder;

/// A language model whose words and vectors make a codebook.
#[allow(missing_debug_implementations, reason = "its weights say nothing")]
pub struct LanguageModel {
    folder: PathBuf,
    pub(super) tokenizer_path: PathBuf,
    pub(super) tokenizer: Tokenizer,
    weights_path: PathBuf,
    /// The bytes of the weights' file.
    bytes: Vec<u8>,
    /// SHA-256 of the tokenizer and of the weights, in hexadecimal.
    pub hashes: [String; 2],
}

impl LanguageModel {
    /// Reads the folder.
    ///
    /// # Errors
    /// If a file cannot be read or is no tokenizer.
    pub fn open(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            let bytes = fs::read(&path).with_context(|| {
                format!("cannot read {}; the folder must hold tokenizer.json and model.safetensors", path.display())
            })?;
            anyhow::Ok((path, bytes))
        };
        let (tokenizer_path, tokenizer_bytes) = read("tokenizer.json")?;
        let (weights_path, bytes) = read("model.safetensors")?;
        let mut tokenizer = Tokenizer::from_bytes(&tokenizer_bytes)
            .map_err(|error| anyhow!("{} is no tokenizer: {error}", tokenizer_path.display()))?;
        // A folder may ask for fixed lengths; texts here are as long as they are.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| anyhow!("{}: {error}", tokenizer_path.display()))?;
        let hashes = [hash(&tokenizer_bytes), hash(&bytes)];
        Ok(Self { folder: folder.to_owned(), tokenizer_path, tokenizer, weights_path, bytes, hashes })
    }

    /// Rows `ids` of the tensor `name`, [ids, E] in f32.
    pub(super) fn embedding(&self, name: &str, ids: &[u32]) -> Result<Tensor> {
        let path = self.weights_path.display();
        let file = BufferedSafetensors::new(self.bytes.clone())
            .with_context(|| format!("{path} is not a whole safetensors file"))?;
        let tables: Vec<String> = file
            .tensors()
            .into_iter()
            .filter(|(_, tensor)| tensor.shape().len() == 2)
            .map(|(name, tensor)| format!("{name} {:?}", tensor.shape()))
            .collect();
        let there = || format!("{path} has no tensor `{name}`; its tables are {}", tables.join(", "));
        let table = file.load(name, &Device::Cpu).with_context(there)?.to_dtype(DType::F32)?;
        ensure!(table.rank() == 2, "`{name}` of {path} is {:?}; an embedding is [ids, width]", table.dims());
        let rows = table.dims()[0];
        let furthest = ids.iter().max().copied().unwrap_or(0);
        ensure!(
            (furthest as usize) < rows,
            "`{name}` of {path} has {rows} rows, but the tokenizer uses id {furthest}: not this tokenizer's embedding"
        );
        Ok(table.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?)
    }

    /// The model as an encoder of whole texts; `attention_heads` where the folder has no `config.json` of a BERT.
    ///
    /// # Errors
    /// If the weights are not a BERT's.
    pub fn sentence_encoder(&self, attention_heads: usize) -> Result<SentenceEncoder<'_>> {
        SentenceEncoder::new(&self.tokenizer, &self.bytes, &self.folder.join("config.json"), attention_heads)
            .with_context(|| format!("{} holds no BERT encoder for text features", self.weights_path.display()))
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
