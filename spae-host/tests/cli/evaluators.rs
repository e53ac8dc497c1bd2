//! `eval` with networks that judge: what it prints, and which files it refuses.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::support::{argument, spae, trained};

/// Safetensors of these shapes, with values that differ.
fn tensors(path: &Path, shapes: &[(String, Vec<usize>)]) {
    let bytes: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(_, shape)| {
            let value = |i: usize| ((i * 37 + shape.len()) % 19) as f32 / 10.0 - 0.7;
            (0..shape.iter().product()).flat_map(|i| value(i).to_le_bytes()).collect()
        })
        .collect();
    let views = shapes
        .iter()
        .zip(&bytes)
        .map(|((name, shape), bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A network of Tiny Darknet's design: eleven 1×1 convolutions of 3 channels.
fn darknet(path: &Path) {
    let name = |number: usize| (format!("conv{number}.weight"), vec![3, 3, 1, 1]);
    tensors(path, &(1..=11).map(name).collect::<Vec<_>>());
}

#[test]
fn a_figure_comes_with_who_found_it() {
    let trained = trained();
    let (model, data, network) = (trained.path("model"), trained.path("data"), trained.path("darknet.safetensors"));
    darknet(&network);
    let line = ["eval", argument(&model), "--data", argument(&data), "--darknet", argument(&network)];
    let report: Value = serde_json::from_str(&spae(&[&line[..], &["--json"]].concat()).success()).unwrap();
    for layer in report["layers"].as_array().unwrap() {
        assert!(layer["fd_darknet"].as_f64().unwrap() >= 0.0, "{layer}");
        assert!(layer["fid"].is_null() && layer["inception_score"].is_null() && layer["lpips"].is_null(), "{layer}");
        // 40 words, 16 × 16 pixels.
        let bits = layer["words"].as_f64().unwrap() * 40f64.log2() / 256.0;
        assert!((layer["bits_per_pixel"].as_f64().unwrap() - bits).abs() < 1e-9, "{layer}");
        assert!(layer["bits_per_pixel_coded"].as_f64().unwrap() <= bits, "{layer}");
        let perplexity = layer["perplexity"].as_f64().unwrap();
        assert!((perplexity - layer["bits_per_word"].as_f64().unwrap().exp2()).abs() < 1e-9, "{layer}");
        assert!((1.0..=layer["words_in_use"].as_f64().unwrap() + 1e-9).contains(&perplexity), "{layer}");
    }
    let evaluators = report["evaluators"].as_array().unwrap();
    let judge = evaluators.iter().find(|evaluator| evaluator["figures"][0] == "FD-darknet").unwrap();
    assert_eq!(judge["files"][0]["sha256"].as_str().unwrap().len(), 64);
    assert!(
        judge["resizing"].as_str().unwrap().contains("224×224") && judge["name"].as_str().unwrap().contains("no FID")
    );
    assert!(judge["reference"].as_str().unwrap().contains("16 originals, fitted to 16×16"), "{judge}");
    let shown = spae(&line);
    assert!(
        shown.stderr.contains("no FID and IS (--inception)") && !shown.stderr.contains("--darknet"),
        "{}",
        shown.stderr
    );
    let shown = shown.success();
    let titles = shown.lines().find(|line| line.contains("PSNR (dB)")).unwrap();
    assert!(titles.contains("FD-darknet") && !titles.contains("FID") && !titles.contains("LPIPS"), "{shown}");
    assert!(shown.contains(&judge["files"][0]["sha256"].as_str().unwrap()[..16]), "{shown}");
    assert!(shown.lines().all(|line| line.contains(argument(&model)) || line.chars().count() <= 120), "{shown}");
}

#[test]
fn without_networks_the_command_says_what_is_missing_in_one_line() {
    let trained = trained();
    let (model, data) = (trained.path("model"), trained.path("data"));
    let shown = spae(&["eval", argument(&model), "--data", argument(&data)]);
    let notes: Vec<&str> = shown.stderr.lines().filter(|line| line.starts_with("note: ")).collect();
    assert_eq!(notes.len(), 1, "{}", shown.stderr);
    for part in ["LPIPS", "FID and IS", "FD-darknet", "--darknet"] {
        assert!(notes[0].contains(part), "{}", notes[0]);
    }
}

#[test]
fn wrong_weights_are_refused_by_file_and_tensor() {
    let trained = trained();
    let (model, data, network) = (trained.path("model"), trained.path("data"), trained.path("wrong.safetensors"));
    darknet(&network);
    let network = argument(&network);
    let line = ["eval", argument(&model), "--data", argument(&data)];
    let with = |options: &[&str]| spae(&[&line[..], options].concat());
    with(&["--inception", network]).failure(&["wrong.safetensors", "`Conv2d_1a_3x3.conv.weight`"]);
    let heads = ["--lpips-backbone", network, "--lpips-heads", network, "--lpips-net", "vgg"];
    with(&heads).failure(&["wrong.safetensors", "`lin0.model.1.weight`"]);
    let text = trained.path("data/train/dark/0.png");
    with(&["--darknet", argument(&text)]).failure(&["0.png", "safetensors"]);
    with(&["--inception", "no-such-file.pth"]).failure(&["no-such-file.pth"]);
    with(&["--darknet", network, "--limit", "1"]).failure(&["two pictures"]);
    assert_eq!(with(&["--lpips-backbone", network]).code, Some(2), "heads belong to it");
    assert_eq!(with(&["--fid-as", "pytorch-fid"]).code, Some(2), "of what?");
}
