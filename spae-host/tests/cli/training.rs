//! `codebook`, `train`, `export` and `eval` on a tiny language model and tiny pictures.

use std::fs;

use serde_json::Value;

use crate::support::{argument, spae, trained};

#[test]
fn a_run_becomes_a_model_folder_whose_costs_are_told() {
    let trained = trained();
    for name in ["model.spae", "encoder.safetensors", "config.toml", "codebook.safetensors"] {
        assert!(trained.path("model").join(name).is_file(), "{name}");
    }
    assert_eq!(fs::read(trained.path("bare.spae")).unwrap(), fs::read(trained.path("model/model.spae")).unwrap());
    let (run, out, data) = (trained.path("run"), trained.path("wide.spae"), trained.path("data"));
    let line = ["export", argument(&run), "-o", argument(&out), "--rows", "f16", "--data", argument(&data), "--json"];
    let report: Value = serde_json::from_str(&spae(&line).success()).unwrap();
    assert_eq!(report["cost"]["flash_bytes"].as_u64().unwrap(), fs::metadata(&out).unwrap().len());
    assert_eq!(report["quality"]["images"], 16);
    let error = report["quality"]["mean_absolute_error"].as_f64().unwrap();
    assert!(error < 0.5, "f16 alone moves few pixels by one: {error}");
    let shown = spae(&["inspect", argument(&out)]).success();
    assert!(shown.contains("name = tiny") && shown.contains("steps = "), "{shown}");
}

#[test]
fn a_configuration_that_says_the_same_keeps_its_comments() {
    let trained = trained();
    let folder = tempfile::tempdir().unwrap();
    let (run, config) = (trained.path("run"), folder.path().join("config.toml"));
    let text = format!("# why\n{}", fs::read_to_string(trained.path("model/config.toml")).unwrap());
    fs::write(&config, &text).unwrap();
    spae(&["export", argument(&run), "--folder", argument(folder.path())]).success();
    assert_eq!(fs::read_to_string(&config).unwrap(), text);
    fs::write(&config, text.replace("steps = 4", "steps = 5")).unwrap();
    spae(&["export", argument(&run), "--folder", argument(folder.path())]).success();
    assert!(!fs::read_to_string(&config).unwrap().contains("# why"), "another configuration is replaced");
}

#[test]
fn eval_prints_one_object_with_every_prefix() {
    let trained = trained();
    let data = trained.path("data");
    let mut seen = Vec::new();
    for model in ["model", "run"] {
        let model = trained.path(model);
        let shown = spae(&["eval", argument(&model), "--data", argument(&data), "--json"]).success();
        let report: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!((&report["images"], &report["split"]), (&16.into(), &"train".into()));
        let layers = report["layers"].as_array().unwrap();
        assert_eq!(layers.iter().map(|layer| layer["words"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 5, 21]);
        assert_eq!((&report["psnr"], &report["ssim"]), (&layers[2]["psnr"], &layers[2]["ssim"]));
        assert!(layers[2]["words_in_use"].as_u64().unwrap() > 0);
        seen.push(report["psnr"].clone());
    }
    assert_eq!(seen[0], seen[1], "a run is measured as it would be exported");
    let model = trained.path("model");
    let plain = spae(&["eval", argument(&model), "--data", argument(&data), "--limit", "3"]).success();
    assert!(plain.contains("3 pictures") && plain.contains("PSNR"), "{plain}");
}

#[test]
fn a_run_is_neither_overwritten_nor_resumed_without_being_asked() {
    let trained = trained();
    let (config, data, run) = (trained.path("config.toml"), trained.path("data"), trained.path("run"));
    let line = ["train", argument(&config), "--data", argument(&data), "--run", argument(&run)];
    spae(&line).failure(&["--resume"]);
    let fresh = trained.path("fresh");
    let line = ["train", argument(&config), "--data", argument(&data), "--run", argument(&fresh)];
    spae(&[&line[..], &["--resume"]].concat()).failure(&["fresh"]);
}

#[test]
fn missing_data_and_misspelt_keys_are_named() {
    let trained = trained();
    let (config, data, run) = (trained.path("config.toml"), trained.path("data"), trained.path("never"));
    let gone = trained.path("no-such-data");
    spae(&["train", argument(&config), "--data", argument(&gone), "--run", argument(&run)]).failure(&["no-such-data"]);
    let line =
        ["train", argument(&config), "--data", argument(&data), "--run", argument(&run), "--set", "train.stepz=3"];
    spae(&line).failure(&["stepz"]);
    let model = trained.path("model");
    spae(&["eval", argument(&model), "--data", argument(&gone)]).failure(&["no-such-data"]);
    spae(&["export", argument(&data), "-o", "x.spae"]).failure(&["config.toml"]);
}

#[test]
fn a_codebook_needs_its_files_and_enough_words() {
    let trained = trained();
    let (language, out, data) = (trained.path("language"), trained.path("other.safetensors"), trained.path("data"));
    spae(&["codebook", argument(&data), "-o", argument(&out)]).failure(&["tokenizer.json"]);
    let line = ["codebook", argument(&language), "-o", argument(&out), "--tensor", "embedding.weight"];
    spae(&[&line[..], &["--words", "4000"]].concat()).failure(&["tokenizer.json", "4000"]);
    let line = ["codebook", argument(&language), "-o", argument(&out), "--tensor", "wrong", "--words", "9"];
    spae(&line).failure(&["wrong", "embedding.weight"]);
    assert!(!out.exists());
}
