//! `features`: what a scorer needs, and training with it.

use std::fs;

use safetensors::tensor::{Dtype, TensorView};

use crate::support::{argument, spae, trained};

#[test]
fn pictures_are_looked_at_once_and_trained_on_without_the_network() {
    let trained = trained();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let bytes: Vec<u8> = [-1f32, 1.0].into_iter().flat_map(f32::to_le_bytes).collect();
    let view = TensorView::new(Dtype::F32, vec![2, 1, 1, 1], &bytes).unwrap();
    fs::write(path("net.safetensors"), safetensors::serialize([("conv1.weight", view)], None).unwrap()).unwrap();
    let text = fs::read_to_string(trained.path("config.toml")).unwrap();
    let scorer = r#"{ kind = "classifier", network = "net.safetensors", names = "names.safetensors",
        design = { pools = [] }, features = "seen.safetensors" }"#;
    fs::write(path("config.toml"), text.replace(r#""captions""#, &scorer.replace('\n', ""))).unwrap();
    fs::copy(trained.path("codebook.safetensors"), path("codebook.safetensors")).unwrap();
    let (config, data) = (path("config.toml"), trained.path("data"));
    let line = ["features", "images", argument(&config), "--data", argument(&data), "--json"];
    let report: serde_json::Value = serde_json::from_str(&spae(&line).success()).unwrap();
    assert_eq!((report["count"].as_u64(), report["made"].as_bool()), (Some(16), Some(true)));
    assert!(path("seen.safetensors").is_file());
    fs::remove_file(path("net.safetensors")).unwrap();
    spae(&line).failure(&["net.safetensors"]);
    let run = path("run");
    let line = ["train", argument(&config), "--data", argument(&data), "--run", argument(&run)];
    spae(&[&line[..], &["--set", "semantic.weight=0.1", "--set", "semantic.pools=[{threshold=0.9}]"]].concat())
        .failure(&["names.safetensors"]);
}

#[test]
fn text_features_need_names_and_an_encoder() {
    let trained = trained();
    let (language, out) = (trained.path("language"), trained.path("names.safetensors"));
    let names = trained.path("names.txt");
    fs::write(&names, "dark\nlight\n").unwrap();
    let line = ["features", "text", argument(&language), "-o", argument(&out)];
    assert_eq!(spae(&line).code, Some(2), "neither names nor a codebook");
    let with = |more: &[&str]| spae(&[&line[..], &["--names", argument(&names)], more].concat());
    with(&[]).failure(&["model.safetensors", "no BERT encoder"]);
    assert_eq!(with(&["--template", "a photo"]).code, Some(2), "no place for the name");
    with(&["--tokenizer", argument(&names)]).failure(&["no CLIP"]);
}
