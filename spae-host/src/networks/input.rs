//! Pictures of the model as the networks take them.

use anyhow::{Result, bail};
use candle_core::Tensor;

use super::resize::{Filter, resize};

/// Pictures [B, 1 or 3, height, width] in [−1, 1] as [B, `channels`, `side`, `side`] in [0, 1], bilinear; grey is copied
/// to all channels. Without `side` they keep their size.
///
/// # Errors
/// If coloured pictures are to have another number of channels.
pub fn to_network(images: &Tensor, channels: usize, side: Option<usize>) -> Result<Tensor> {
    let of_picture = images.dim(1)?;
    let images = ((images + 1.0)? * 0.5)?;
    let images = match side {
        Some(side) => resize(&images, side, side, Filter::Bilinear)?,
        None => images,
    };
    match of_picture {
        _ if of_picture == channels => Ok(images),
        1 => Ok(images.repeat((1, channels, 1, 1))?),
        _ => bail!("the network takes pictures of {channels} channels, the model's have {of_picture}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn ranges_sizes_and_grey_are_converted() {
        let grey = Tensor::new(&[[[[-1f32, 1.0]]]], &Device::Cpu).unwrap();
        let all = to_network(&grey, 3, Some(2)).unwrap();
        assert_eq!(all.dims(), [1, 3, 2, 2]);
        assert_eq!(all.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0, 1.0].repeat(6));
        let colours = all.narrow(1, 0, 3).unwrap();
        assert_eq!(to_network(&colours, 3, None).unwrap().dims(), [1, 3, 2, 2]);
        assert!(to_network(&colours, 1, None).is_err());
    }
}
