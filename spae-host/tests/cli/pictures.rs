//! `encode` and what it is given: pictures of every kind, and what are none.

use std::fs;

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba};
use serde_json::Value;

use crate::support::{argument, spae, spae_reading, trained};

#[test]
fn pictures_of_every_size_depth_and_colour_become_canonical_text() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = [
        ("grey.png", DynamicImage::ImageLuma8(GrayImage::from_pixel(16, 16, Luma([90])))),
        ("odd.png", DynamicImage::ImageLuma8(GrayImage::from_pixel(37, 5, Luma([90])))),
        ("dot.png", DynamicImage::ImageLuma8(GrayImage::from_pixel(1, 1, Luma([90])))),
        ("deep.png", DynamicImage::ImageLuma16(ImageBuffer::from_pixel(20, 20, Luma([40_000])))),
        ("clear.png", DynamicImage::ImageLumaA8(ImageBuffer::from_pixel(20, 20, LumaA([90, 7])))),
        ("colour.jpg", DynamicImage::ImageRgb8(RgbImage::from_pixel(20, 20, Rgb([200, 10, 90])))),
        ("glass.png", DynamicImage::ImageRgba16(ImageBuffer::from_pixel(20, 20, Rgba([1, 2, 3, 4])))),
    ];
    let model = trained().path("model");
    for (name, picture) in pictures {
        let path = folder.path().join(name);
        picture.save(&path).unwrap();
        let text = spae(&["encode", argument(&path), "--model", argument(&model)]).success();
        let counts: Vec<usize> = text.lines().map(|line| line.split(' ').count()).collect();
        assert_eq!(counts, [1, 4, 16], "{name}: {text}");
        assert!(text.ends_with('\n'));
    }
}

#[test]
fn text_goes_round_through_decode() {
    let trained = trained();
    let (picture, model) = (trained.path("data/train/light/3.png"), trained.path("model"));
    let text = spae(&["encode", argument(&picture), "--model", argument(&model)]).success();
    for model in ["model", "run", "bare.spae"] {
        let model = trained.path(model);
        let line = ["decode", "-", "--model", argument(&model), "--json"];
        let report: Value = serde_json::from_str(&spae_reading(&line, text.as_bytes()).success()).unwrap();
        assert_eq!((&report["words"], &report["missing"], &report["surplus"]), (&21.into(), &0.into(), &0.into()));
    }
}

#[test]
fn several_pictures_go_into_a_folder_and_json_has_ids_and_words_by_layer() {
    let trained = trained();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("texts");
    let (one, two) = (trained.path("data/train/dark/1.png"), trained.path("data/train/dark/2.png"));
    let model = trained.path("model");
    let line = ["encode", argument(&one), argument(&two), "--model", argument(&model), "-o", argument(&out), "--json"];
    let shown = spae(&line).success();
    let objects: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2);
    let words = |layer: &Value| {
        layer["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let lines: Vec<String> = objects[1]["layers"].as_array().unwrap().iter().map(|l| words(l).join(" ")).collect();
    assert_eq!(fs::read_to_string(out.join("2.txt")).unwrap(), lines.join("\n") + "\n");
    assert_eq!(objects[0]["layers"][2]["ids"].as_array().unwrap().len(), 16);
    assert!(out.join("1.txt").is_file());
    let short = spae(&["encode", argument(&one), "--model", argument(&model), "--layers", "2"]).success();
    assert_eq!(short.lines().count(), 2);
}

#[test]
fn what_is_no_picture_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = trained().path("model");
    let whole = fs::read(trained().path("data/train/dark/0.png")).unwrap();
    for (name, bytes) in
        [("notes.png", &b"not a picture"[..]), ("empty.png", b""), ("cut.png", &whole[..whole.len() / 2])]
    {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        spae(&["encode", argument(&path), "--model", argument(&model)]).failure(&[name]);
    }
    let missing = folder.path().join("gone.png");
    spae(&["encode", argument(&missing), "--model", argument(&model)]).failure(&["gone.png"]);
}

#[test]
fn encoding_needs_a_folder_and_words_that_belong_together() {
    let trained = trained();
    let (picture, bare) = (trained.path("data/train/dark/0.png"), trained.path("bare.spae"));
    spae(&["encode", argument(&picture), "--model", argument(&bare)]).failure(&["bare.spae", "model folder"]);
    let mixed = tempfile::tempdir().unwrap();
    for name in ["config.toml", "encoder.safetensors", "codebook.safetensors"] {
        fs::copy(trained.path("model").join(name), mixed.path().join(name)).unwrap();
    }
    fs::write(mixed.path().join("model.spae"), crate::support::model()).unwrap();
    spae(&["encode", argument(&picture), "--model", argument(mixed.path())]).failure(&["differ in words"]);
}

#[test]
fn names_that_would_collide_exit_with_2_before_any_work() {
    let trained = trained();
    let out = tempfile::tempdir().unwrap();
    let (one, two) = (trained.path("data/train/dark/1.png"), trained.path("data/train/light/1.png"));
    let model = trained.path("model");
    let line = ["encode", argument(&one), argument(&two), "--model", argument(&model), "-o", argument(out.path())];
    let output = spae(&line);
    assert_eq!(output.code, Some(2), "{}", output.stderr);
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}
