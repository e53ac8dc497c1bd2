//! A picture of any size, depth and colour as the model's input.
//!
//! 16-bit channels are rounded to 8, transparent pixels lie on black, colour becomes Rec. 709 luma for a grey model and
//! grey is copied to all three channels for a coloured one. Scaling is bilinear with its support widened when it
//! shrinks (a triangle filter), so no pixel is skipped.

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Pixel, RgbImage};

use crate::config::{Fit, Image};

/// `picture` as channels × height × width bytes, fitted as `image` says.
pub fn fit(picture: &DynamicImage, image: &Image) -> Vec<u8> {
    let opaque = on_black(picture);
    let picture = opaque.as_ref().unwrap_or(picture);
    if image.channels == 1 {
        place(&picture.to_luma8(), image).into_raw()
    } else {
        let placed: RgbImage = place(&picture.to_rgb8(), image);
        (0..3).flat_map(|channel| placed.pixels().map(move |pixel| pixel.0[channel])).collect()
    }
}

/// A picture with an alpha channel, laid on black.
fn on_black(picture: &DynamicImage) -> Option<DynamicImage> {
    picture.color().has_alpha().then(|| {
        let mut blended = picture.to_rgba16();
        for pixel in blended.pixels_mut() {
            let alpha = u64::from(pixel.0[3]);
            for channel in &mut pixel.0[..3] {
                *channel = ((u64::from(*channel) * alpha + 32767) / 65535) as u16;
            }
            pixel.0[3] = u16::MAX;
        }
        DynamicImage::ImageRgba16(blended)
    })
}

/// What `fit` needs of an 8-bit buffer, grey or coloured.
trait Buffer: image::GenericImage<Pixel: Pixel<Subpixel = u8> + 'static> + Sized {
    fn black(width: u32, height: u32) -> Self;
    fn scaled(&self, width: u32, height: u32) -> Self;
}

impl Buffer for GrayImage {
    fn black(width: u32, height: u32) -> Self {
        Self::new(width, height)
    }
    fn scaled(&self, width: u32, height: u32) -> Self {
        imageops::resize(self, width, height, FilterType::Triangle)
    }
}

impl Buffer for RgbImage {
    fn black(width: u32, height: u32) -> Self {
        Self::new(width, height)
    }
    fn scaled(&self, width: u32, height: u32) -> Self {
        imageops::resize(self, width, height, FilterType::Triangle)
    }
}

fn place<B: Buffer>(picture: &B, image: &Image) -> B {
    let (width, height) = (image.width as u32, image.height as u32);
    let (inner_width, inner_height) = (width - 2 * image.border as u32, height - 2 * image.border as u32);
    let (scaled_width, scaled_height) = match image.fit {
        Fit::Resize => (width, height),
        Fit::Pad => proportional(picture.dimensions(), (inner_width, inner_height), f64::min),
        Fit::Crop => proportional(picture.dimensions(), (width, height), f64::max),
    };
    let scaled;
    let picture = if picture.dimensions() == (scaled_width, scaled_height) {
        picture
    } else {
        scaled = picture.scaled(scaled_width, scaled_height);
        &scaled
    };
    let mut placed = B::black(width, height);
    let offset = |inside: u32, outside: u32| (i64::from(outside) - i64::from(inside)) / 2;
    imageops::overlay(&mut placed, picture, offset(scaled_width, width), offset(scaled_height, height));
    placed
}

/// `size` scaled by the smaller (`min`) or the larger (`max`) of the two ratios to `target`; no side below 1.
fn proportional(size: (u32, u32), target: (u32, u32), choose: fn(f64, f64) -> f64) -> (u32, u32) {
    let ratio = |part: u32, whole: u32| f64::from(whole) / f64::from(part.max(1));
    let scale = choose(ratio(size.0, target.0), ratio(size.1, target.1));
    let side = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    (side(size.0), side(size.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, LumaA, Rgb, Rgba};

    fn target(channels: usize, side: usize, fit: Fit, border: usize) -> Image {
        Image { channels, height: side, width: side, fit, border }
    }

    #[test]
    fn a_picture_of_the_inner_size_is_centred_untouched() {
        let picture = DynamicImage::ImageLuma8(GrayImage::from_fn(2, 2, |x, y| Luma([(10 + x + 2 * y) as u8])));
        let fitted = fit(&picture, &target(1, 4, Fit::Pad, 1));
        assert_eq!(fitted, [0, 0, 0, 0, 0, 10, 11, 0, 0, 12, 13, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn pad_keeps_the_aspect_and_crop_cuts_the_middle_out() {
        let wide = DynamicImage::ImageLuma8(GrayImage::from_fn(8, 4, |x, _| Luma([if x < 4 { 0 } else { 200 }])));
        let padded = fit(&wide, &target(1, 4, Fit::Pad, 0));
        assert_eq!(padded[..4], [0; 4], "a black bar above");
        assert!(padded[7] > 150, "the right half is light");
        assert_eq!(fit(&wide, &target(1, 4, Fit::Crop, 0))[..4], [0, 0, 200, 200]);
        assert_eq!(fit(&wide, &target(1, 4, Fit::Resize, 0)).len(), 16);
    }

    #[test]
    fn sixteen_bits_alpha_and_colour_are_converted() {
        let deep = DynamicImage::ImageLuma16(image::ImageBuffer::from_pixel(1, 1, Luma([65535])));
        assert_eq!(fit(&deep, &target(1, 1, Fit::Resize, 0)), [255]);
        let clear = DynamicImage::ImageLumaA8(image::ImageBuffer::from_pixel(1, 1, LumaA([200, 0])));
        assert_eq!(fit(&clear, &target(1, 1, Fit::Resize, 0)), [0]);
        let half = DynamicImage::ImageRgba8(image::ImageBuffer::from_pixel(1, 1, Rgba([200, 100, 50, 128])));
        assert_eq!(fit(&half, &target(3, 1, Fit::Resize, 0)), [100, 50, 25]);
        let red = DynamicImage::ImageRgb8(RgbImage::from_pixel(2, 1, Rgb([255, 0, 0])));
        assert_eq!(fit(&red, &target(1, 2, Fit::Crop, 0)), [54; 4], "Rec. 709");
        let grey = DynamicImage::ImageLuma8(GrayImage::from_pixel(1, 1, Luma([9])));
        assert_eq!(fit(&grey, &target(3, 1, Fit::Resize, 0)), [9, 9, 9]);
    }

    #[test]
    fn a_line_of_pixels_fits_too() {
        let line = DynamicImage::ImageLuma8(GrayImage::from_pixel(1000, 1, Luma([255])));
        for how in [Fit::Pad, Fit::Crop, Fit::Resize] {
            assert_eq!(fit(&line, &target(1, 4, how, 0)).len(), 16);
        }
    }
}
