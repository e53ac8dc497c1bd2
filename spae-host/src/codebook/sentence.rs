//! Sentence features f_T: a BERT encoder, the mean over its last states, unit length.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use candle_core::safetensors::SliceSafetensors;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::Tokenizer;

use super::unit_rows;

/// Tokens that are encoded together.
const BATCH_TOKENS: usize = 4096;

/// What a BERT-like language model makes of whole texts; from [`LanguageModel::sentence_encoder`](super::LanguageModel::sentence_encoder).
#[allow(missing_debug_implementations, reason = "its weights say nothing")]
pub struct SentenceEncoder<'t> {
    tokenizer: &'t Tokenizer,
    model: BertModel,
    longest: usize,
}

impl<'t> SentenceEncoder<'t> {
    /// `config` is the folder's `config.json`; where it does not describe a BERT (or is missing), sizes come from the
    /// weights themselves and the number of heads from `attention_heads`.
    pub(super) fn new(tokenizer: &'t Tokenizer, weights: &[u8], config: &Path, attention_heads: usize) -> Result<Self> {
        let stated = fs::read(config).ok().and_then(|bytes| serde_json::from_slice::<Config>(&bytes).ok());
        let config = match stated {
            Some(config) => config,
            None => sizes(weights, attention_heads)?,
        };
        let builder = VarBuilder::from_slice_safetensors(weights, DType::F32, &Device::Cpu)?;
        let model = BertModel::load(builder, &config)?;
        Ok(Self { tokenizer, model, longest: config.max_position_embeddings })
    }

    /// One row of unit length for each text, [texts, F].
    ///
    /// # Errors
    /// If there is no text, or one has more tokens than the model takes; the message names it.
    pub fn encode(&self, texts: &[String]) -> Result<Tensor> {
        // Texts of one length together: no padding, so no mask.
        let mut by_length: BTreeMap<usize, Vec<(usize, Vec<u32>)>> = BTreeMap::new();
        for (place, text) in texts.iter().enumerate() {
            let encoding =
                self.tokenizer.encode(text.as_str(), true).map_err(|error| anyhow!("\"{text}\": {error}"))?;
            let ids = encoding.get_ids().to_vec();
            ensure!(
                !ids.is_empty() && ids.len() <= self.longest,
                "\"{text}\" has {} tokens; the encoder takes {}",
                ids.len(),
                self.longest
            );
            by_length.entry(ids.len()).or_default().push((place, ids));
        }
        ensure!(!texts.is_empty(), "there is no text to encode");
        let mut rows = Vec::new();
        let mut places = vec![0u32; texts.len()];
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
        Ok(Tensor::cat(&rows, 0)?.index_select(&Tensor::new(places, &Device::Cpu)?, 0)?)
    }
}

/// The configuration that the weights' shapes tell.
fn sizes(weights: &[u8], attention_heads: usize) -> Result<Config> {
    let file = SliceSafetensors::new(weights)?;
    let shape = |name: &str| {
        let tensor = file.tensors().into_iter().find(|(full, _)| full == name || full == &format!("bert.{name}"));
        let (_, tensor) = tensor.with_context(|| format!("there is no tensor `{name}`"))?;
        <[usize; 2]>::try_from(tensor.shape()).map_err(|_| anyhow!("`{name}` is {:?}", tensor.shape()))
    };
    let [vocab_size, hidden_size] = shape("embeddings.word_embeddings.weight")?;
    let layers = (0..).take_while(|layer| shape(&format!("encoder.layer.{layer}.intermediate.dense.weight")).is_ok());
    let num_hidden_layers = layers.count();
    ensure!(num_hidden_layers > 0, "there is no tensor `encoder.layer.0.intermediate.dense.weight`");
    ensure!(
        hidden_size.is_multiple_of(attention_heads),
        "its width {hidden_size} does not divide into attention_heads = {attention_heads}"
    );
    Ok(Config {
        vocab_size,
        hidden_size,
        num_hidden_layers,
        num_attention_heads: attention_heads,
        intermediate_size: shape("encoder.layer.0.intermediate.dense.weight")?[0],
        max_position_embeddings: shape("embeddings.position_embeddings.weight")?[0],
        type_vocab_size: shape("embeddings.token_type_embeddings.weight")?[0],
        ..Config::default()
    })
}
