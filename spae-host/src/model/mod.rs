//! The learned parts: encoder (pictures to Z), projection W (embeddings to the space of Z), decoder (Ẑ to pictures).
//!
//! Z and Ẑ stand *position-major*, [P, B, d] with P = h·w grid positions in row-major order: what the quantiser selects
//! is then always a run of whole rows. Knows no words, no losses and no optimiser.

mod decoder;
mod encoder;
mod layers;
mod weights;
mod whitening;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use weights::{Initial, Initialiser, Stored, Weights};

use anyhow::{Result, ensure};
use candle_core::Tensor;

use crate::config::{Config, Mode};
use layers::Scope;

/// Encoder, projection and decoder over one set of weights.
#[derive(Debug)]
pub struct Model {
    encoder: Encoder,
    /// W, [d, E]; none in strict mode.
    projection: Option<Tensor>,
    decoder: Decoder,
}

impl Model {
    /// The networks that `config` describes for embeddings of width `embedding_width`, with tensors from `weights`.
    ///
    /// # Errors
    /// If the configuration asks for what cannot be, or a weight is missing or of another shape.
    pub fn new(config: &Config, embedding_width: usize, weights: &mut dyn Weights) -> Result<Self> {
        let width = config.codebook.width;
        let mut scope = Scope::new(weights);
        let grid = config.geometry()?.grid();
        let encoder = Encoder::new(&config.encoder, grid, config.image.channels, width, &mut scope.at("encoder"))?;
        let projection = projection(config, embedding_width, &mut scope)?;
        let decoder = Decoder::new(&config.decoder, grid, width, config.image.channels, &mut scope.at("decoder"))?;
        Ok(Self { encoder, projection, decoder })
    }

    /// Z of pictures [B, channels, height, width]: [P, B, d], vectors of unit length.
    ///
    /// # Errors
    /// If the pictures have another shape than configured.
    pub fn encode(&self, images: &Tensor) -> Result<Tensor> {
        self.encoder.forward(images)
    }

    /// What `encoder.last`'s weight [d, c, 1, 1] and bias [d] should start from, so that Z of pictures like `images`
    /// spreads over all directions.
    ///
    /// # Errors
    /// If the pictures have another shape than configured, or are too few.
    pub fn whitened(&self, images: &Tensor) -> Result<[(&'static str, Tensor); 2]> {
        let (weight, bias) = self.encoder.whitened(images)?;
        Ok([("encoder.last.weight", weight), ("encoder.last.bias", bias)])
    }

    /// The codebook in the space of Z: rows e(k) or W·e(k) of unit length, [V, d].
    ///
    /// # Errors
    /// If `embedding` is not [V, E].
    pub fn table(&self, embedding: &Tensor) -> Result<Tensor> {
        table(self.projection.as_ref(), embedding)
    }

    /// Pictures of Ẑ [P, B, d]: [B, channels, height, width], about [−1, 1].
    ///
    /// # Errors
    /// If Ẑ has another shape than configured.
    pub fn decode(&self, z: &Tensor) -> Result<Tensor> {
        self.decoder.forward(z)
    }
}

/// W as `config` wants it.
fn projection(config: &Config, embedding_width: usize, scope: &mut Scope<'_>) -> Result<Option<Tensor>> {
    let width = config.codebook.width;
    match config.codebook.mode {
        Mode::Strict => {
            ensure!(
                width == embedding_width,
                "codebook.width is {width}, but codebook.mode = \"strict\" measures in the embedding's own {embedding_width}"
            );
            Ok(None)
        }
        Mode::Projected => {
            ensure!(
                width <= embedding_width,
                "codebook.width is {width}, more than the embedding's {embedding_width} that it is projected from"
            );
            Ok(Some(scope.take("projection.weight", &[width, embedding_width], Initial::Orthogonal)?))
        }
    }
}

fn table(projection: Option<&Tensor>, embedding: &Tensor) -> Result<Tensor> {
    Ok(match projection {
        Some(projection) => layers::unit_last(&embedding.matmul(&projection.t()?)?)?,
        None => embedding.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codebook;
    use crate::config::TINY;
    use candle_core::{DType, Device};

    #[test]
    fn shapes_lengths_and_names_are_as_documented() {
        let config = Config::parse(TINY, Default::default(), &[]).unwrap();
        let words = codebook::tiny(20);
        let mut weights = Initialiser::new(config.seed);
        let model = Model::new(&config, 8, &mut weights).unwrap();
        let images = Tensor::zeros((3, 1, 16, 16), DType::F32, &Device::Cpu).unwrap();
        let z = model.encode(&images).unwrap();
        assert_eq!(z.dims(), [16, 3, 4]);
        let lengths = z.sqr().unwrap().sum(2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(lengths.iter().all(|length| (length - 1.0).abs() < 1e-4));
        assert_eq!(model.decode(&z).unwrap().dims(), [3, 1, 16, 16]);
        assert_eq!(model.table(&words.embedding).unwrap().dims(), [20, 4]);
        let names: Vec<&String> = weights.variables().keys().collect();
        for name in ["decoder.first.weight", "decoder.grid_bias", "decoder.blocks.1.second.bias", "projection.weight"] {
            assert!(names.iter().any(|&got| got == name), "{name} is not among {names:?}");
        }
    }

    #[test]
    fn w_starts_orthogonal_and_strict_mode_has_none() {
        let config = Config::parse(TINY, Default::default(), &[]).unwrap();
        let mut weights = Initialiser::new(1);
        Model::new(&config, 8, &mut weights).unwrap();
        let w = weights.variables()["projection.weight"].as_tensor();
        let gram = w.matmul(&w.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
        for (row, values) in gram.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                assert!((value - f32::from(u8::from(row == column))).abs() < 1e-5);
            }
        }
        let strict = ["codebook.mode=strict".to_owned(), "codebook.width=8".to_owned()];
        let config = Config::parse(TINY, Default::default(), &strict).unwrap();
        let mut weights = Initialiser::new(1);
        Model::new(&config, 8, &mut weights).unwrap();
        assert!(!weights.variables().contains_key("projection.weight"));
        assert!(Model::new(&config, 9, &mut Initialiser::new(1)).is_err());
    }
}
