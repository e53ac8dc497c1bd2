//! How near pictures are to their words in CLIP's space: the cosine of f_I(I) and f′_T(k) (Eq. 5), averaged over the words
//! of a picture. This is the paper's CLIP column; it is neither multiplied by 100 nor by 2.5, nor cut off at 0.

use anyhow::{Result, bail};
use candle_core::Tensor;

/// For each picture, the mean cosine over the words of its first layers, for each number of layers. `images` [B, F] and
/// `words` [V, F] are rows of unit length, `tokens` the ids of each picture's layers.
///
/// # Errors
/// If the two have different widths, or an id is no word's.
pub fn clip_scores(images: &Tensor, words: &Tensor, tokens: &[Vec<Vec<u32>>]) -> Result<Vec<Vec<f64>>> {
    let cosines: Vec<Vec<f32>> = images.matmul(&words.t()?)?.to_vec2()?;
    let of_picture = |(cosines, layers): (&Vec<f32>, &Vec<Vec<u32>>)| {
        let (mut sum, mut count) = (0.0, 0usize);
        let of_layer = |ids: &Vec<u32>| {
            for &id in ids {
                let Some(cosine) = cosines.get(id as usize) else { bail!("word {id} is none of {}", cosines.len()) };
                sum += f64::from(*cosine);
            }
            count += ids.len();
            Ok(sum / count.max(1) as f64)
        };
        layers.iter().map(of_layer).collect()
    };
    cosines.iter().zip(tokens).map(of_picture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn words_count_alike_whatever_their_layer() {
        let images = Tensor::new(&[[1f32, 0.0], [0.6, 0.8]], &Device::Cpu).unwrap();
        let words = Tensor::new(&[[1f32, 0.0], [0.0, 1.0], [-1.0, 0.0]], &Device::Cpu).unwrap();
        let tokens = [vec![vec![0], vec![1, 2, 2, 0]], vec![vec![1], vec![1, 1, 1, 0]]];
        let scores = clip_scores(&images, &words, &tokens).unwrap();
        for (got, expected) in scores.concat().iter().zip([1.0, 0.0, 0.8, (4.0 * 0.8 + 0.6) / 5.0]) {
            assert!((got - expected).abs() < 1e-6, "{got}, {expected}");
        }
        assert!(clip_scores(&images, &words, &[vec![vec![3]], vec![vec![0]]]).is_err());
    }
}
