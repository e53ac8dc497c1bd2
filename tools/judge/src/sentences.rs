//! A BERT-like sentence encoder: the mean over its last states, unit length.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use candle_core::safetensors::BufferedSafetensors;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::Tokenizer;

/// Tokens that are encoded together.
const BATCH_TOKENS: usize = 4096;

pub(crate) struct SentenceEncoder {
    tokenizer: Tokenizer,
    model: BertModel,
    longest: usize,
}

impl SentenceEncoder {
    /// Opens a folder with `tokenizer.json`, `model.safetensors` and, where it describes a BERT, `config.json`; else
    /// the sizes are those of the weights, and the heads as given.
    pub(crate) fn open(folder: &Path, attention_heads: usize) -> Result<Self> {
        let tokenizer_path = folder.join("tokenizer.json");
        let mut tokenizer =
            Tokenizer::from_file(&tokenizer_path).map_err(|error| anyhow!("{}: {error}", tokenizer_path.display()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| anyhow!("{}: {error}", tokenizer_path.display()))?;
        let weights_path = folder.join("model.safetensors");
        let weights = fs::read(&weights_path).with_context(|| format!("cannot read {}", weights_path.display()))?;
        let stated = fs::read(folder.join("config.json")).ok();
        let config = match stated.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            Some(config) => config,
            None => sizes(weights.clone(), attention_heads).with_context(|| weights_path.display().to_string())?,
        };
        let builder = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        let model = BertModel::load(builder, &config)
            .with_context(|| format!("{} holds no BERT encoder", weights_path.display()))?;
        Ok(Self { tokenizer, model, longest: config.max_position_embeddings })
    }

    /// One row of unit length for each text, [texts, width].
    pub(crate) fn encode(&self, texts: &[String]) -> Result<Tensor> {
        // Texts of one length together: no padding, so no mask.
        let mut by_length: BTreeMap<usize, Vec<(usize, Vec<u32>)>> = BTreeMap::new();
        for (place, text) in texts.iter().enumerate() {
            let encoding = self.tokenizer.encode(text.as_str(), true).map_err(|error| anyhow!("{error}"))?;
            let ids = encoding.get_ids().to_vec();
            ensure!(
                (1..=self.longest).contains(&ids.len()),
                "a sentence of {} tokens; the encoder takes {}",
                ids.len(),
                self.longest
            );
            by_length.entry(ids.len()).or_default().push((place, ids));
        }
        let (mut rows, mut places) = (Vec::new(), vec![0u32; texts.len()]);
        let mut done = 0;
        for (length, group) in by_length {
            for batch in group.chunks((BATCH_TOKENS / length).max(1)) {
                let ids: Vec<u32> = batch.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
                let ids = Tensor::from_vec(ids, (batch.len(), length), &Device::Cpu)?;
                let states = self.model.forward(&ids, &ids.zeros_like()?, None)?;
                rows.push(unit_rows(&states.mean(1)?)?);
                for (place, _) in batch {
                    places[*place] = done;
                    done += 1;
                }
            }
        }
        ensure!(!rows.is_empty(), "there is no sentence to encode");
        Ok(Tensor::cat(&rows, 0)?.index_select(&Tensor::new(places, &Device::Cpu)?, 0)?)
    }
}

/// The configuration that the weights' shapes tell.
fn sizes(weights: Vec<u8>, attention_heads: usize) -> Result<Config> {
    let file = BufferedSafetensors::new(weights)?;
    let shapes: BTreeMap<String, Vec<usize>> =
        file.tensors().into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    let shape = |name: &str| match shapes.get(name).map(Vec::as_slice) {
        Some(&[rows, columns]) => Ok([rows, columns]),
        Some(other) => bail!("`{name}` is {other:?}, not a matrix"),
        None => bail!("there is no tensor `{name}`"),
    };
    let [vocab_size, hidden_size] = shape("embeddings.word_embeddings.weight")?;
    let intermediate = |layer: usize| shape(&format!("encoder.layer.{layer}.intermediate.dense.weight"));
    Ok(Config {
        vocab_size,
        hidden_size,
        num_hidden_layers: (0..).take_while(|&layer| intermediate(layer).is_ok()).count(),
        num_attention_heads: attention_heads,
        intermediate_size: intermediate(0)?[0],
        max_position_embeddings: shape("embeddings.position_embeddings.weight")?[0],
        type_vocab_size: shape("embeddings.token_type_embeddings.weight")?[0],
        ..Config::default()
    })
}

/// Rows brought to unit length; [N, W].
pub(crate) fn unit_rows(rows: &Tensor) -> Result<Tensor> {
    let lengths = (rows.sqr()?.sum_keepdim(1)? + 1e-24)?.sqrt()?;
    Ok(rows.broadcast_div(&lengths)?)
}

/// For each row of `a` [N, W] the row of `b` [M, W] that lies nearest in direction; all rows have unit length.
pub(crate) fn most_similar(a: &Tensor, b: &Tensor) -> Result<Vec<u32>> {
    Ok(a.matmul(&b.t()?)?.argmax(D::Minus1)?.to_vec1()?)
}
