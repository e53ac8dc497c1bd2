//! `decode`, `inspect` and `demo` on the tiny model.

use std::fs;

use serde_json::Value;

use crate::support::{TEXT, argument, model_folder, spae, spae_reading};

fn decode(text: &str, more: &[&str]) -> (crate::support::Output, tempfile::TempDir) {
    let folder = model_folder();
    let (path, out) = (folder.path().join("text.txt"), folder.path().join("out.png"));
    fs::write(&path, text).unwrap();
    let line = ["decode", argument(&path), "--model", argument(folder.path()), "-o", argument(&out)];
    (spae(&[&line, more].concat()), folder)
}

fn report(text: &str, more: &[&str]) -> Value {
    let (output, _folder) = decode(text, &[&["--json"], more].concat());
    serde_json::from_str(&output.success()).unwrap()
}

#[test]
fn a_text_becomes_a_picture_and_one_a_layer() {
    let (output, folder) = decode(TEXT, &["--preview"]);
    assert_eq!(output.stderr, "");
    output.success();
    let read = |name: &str| image::open(folder.path().join(name)).unwrap().into_luma8();
    let whole = read("out.png");
    assert_eq!(whole.dimensions(), (8, 8));
    assert_eq!(read("out-layer3.png"), whole);
    assert_ne!(read("out-layer1.png"), whole);
    let (output, folder) = decode(TEXT, &["--layers", "2"]);
    output.success();
    assert_eq!(image::open(folder.path().join("out.png")).unwrap().into_luma8(), read("out-layer2.png"));
}

#[test]
fn standard_input_is_read_and_a_picture_can_be_shown_as_text() {
    let folder = model_folder();
    for place in [&[][..], &["-"]] {
        let line = [&["decode"], place, &["--model", argument(folder.path())]].concat();
        let shown = spae_reading(&line, TEXT.as_bytes()).success();
        assert_eq!(shown.lines().count(), 4, "two rows of pixels a line");
        assert!(shown.is_ascii());
    }
}

#[test]
fn an_unknown_word_is_named_with_its_place_and_a_way_out() {
    let (output, folder) = decode("one\ntwo bogus zero cat\n", &[]);
    output.failure(&["text.txt:2:5", "`bogus`", "model.spae", "--unknown skip", "--unknown hole"]);
    assert!(!folder.path().join("out.png").exists());
}

#[test]
fn unknown_words_are_skipped_or_leave_holes() {
    let text = TEXT.replacen("three", "bogus", 1);
    let (output, _folder) = decode(&text, &["--unknown", "hole"]);
    assert!(output.stderr.contains("2:5: `bogus` is unknown; its place stays empty"), "{}", output.stderr);
    output.success();
    let hole = report(&text, &["--unknown", "hole"]);
    assert_eq!((&hole["missing"], &hole["words"], &hole["layers_complete"]), (&1.into(), &20.into(), &3.into()));
    assert_eq!(hole["unknown"], serde_json::json!([{ "line": 2, "column": 5, "word": "bogus" }]));
    let skip = report(&text, &["--unknown", "skip"]);
    assert_eq!((&skip["missing"], &skip["layers_complete"]), (&1.into(), &2.into()), "the last place stays empty");
}

#[test]
fn too_few_and_too_many_words_are_reported_and_still_give_a_picture() {
    let few = report("one\ntwo three\n", &[]);
    assert_eq!((&few["layers_complete"], &few["missing"]), (&1.into(), &18.into()));
    let many = report(&format!("{TEXT}cat cat\n"), &[]);
    assert_eq!((&many["surplus"], &many["first_surplus"]["line"], &many["missing"]), (&2.into(), &4.into(), &0.into()));
    let none = report("", &[]);
    assert_eq!(none["missing"], 21);
}

#[test]
fn what_language_models_make_of_a_text_is_forgiven() {
    let dirty = format!("Sure! Here it is:\n```text\n1. \"{}\"\n```\n", TEXT.replace(' ', ", ").replace("one", "ONE"));
    assert_eq!(report(&dirty, &[])["words"], 21);
}

#[test]
fn bytes_that_are_no_text_are_an_unknown_word() {
    let folder = model_folder();
    let output = spae_reading(&["decode", "-", "--model", argument(folder.path())], b"one\n\xff\xfe two");
    output.failure(&["standard input:2:1"]);
}

#[test]
fn a_missing_text_and_an_unwritable_picture_are_named() {
    let folder = model_folder();
    let (model, missing) = (argument(folder.path()), folder.path().join("no.txt"));
    spae(&["decode", argument(&missing), "--model", model]).failure(&["no.txt"]);
    let (output, folder) = decode(TEXT, &["--preview"]);
    output.success();
    let (text, out) = (folder.path().join("text.txt"), folder.path().join("no/such/out.png"));
    let line = ["decode", argument(&text), "--model", argument(folder.path()), "-o", argument(&out)];
    spae(&line).failure(&["no/such/out.png"]);
    #[cfg(target_os = "linux")]
    {
        let line = ["decode", argument(&text), "--model", argument(folder.path()), "-o", "/dev/full"];
        spae(&line).failure(&["/dev/full", "No space left"]);
    }
}

#[test]
fn inspect_shows_layers_words_bytes_and_provenance() {
    let folder = model_folder();
    let shown = spae(&["inspect", argument(folder.path())]).success();
    for part in ["model.spae", "grid of 4×4", "zero", "scratch", "name = tiny", "decoder to 8×8 pixels"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let file = folder.path().join("model.spae");
    let json: Value = serde_json::from_str(&spae(&["inspect", argument(&file), "--json"]).success()).unwrap();
    assert_eq!(
        (&json["tokens"], &json["words"], &json["layers"][1]),
        (&21.into(), &6.into(), &serde_json::json!([2, 2]))
    );
    assert_eq!(json["flash_bytes"].as_u64().unwrap(), fs::metadata(&file).unwrap().len());
    let parts: u64 =
        json["sections"].as_array().unwrap().iter().map(|section| section["bytes"].as_u64().unwrap()).sum();
    assert!(parts < json["flash_bytes"].as_u64().unwrap());
}

#[test]
fn demo_shows_every_layer_with_its_words_and_writes_a_sheet() {
    let folder = model_folder();
    let out = folder.path().join("sheet.png");
    let shown = spae(&["demo", "--model", argument(folder.path()), "-o", argument(&out)]).success();
    assert!(shown.is_ascii(), "plain shades when nobody watches: {shown}");
    for layer in 1..=3 {
        assert!(shown.contains(&format!("layer {layer}:")), "{shown}");
    }
    assert_eq!(TEXT.split_whitespace().filter(|word| shown.contains(word)).count(), 21);
    let sheet = image::open(&out).unwrap();
    assert!(sheet.width() > 3 * 300 && sheet.height() > 600);
}

#[test]
fn demo_carries_every_digit() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("sheet.png");
    for digit in 0..10 {
        let shown = spae(&["demo", "--digit", &digit.to_string(), "-o", argument(&out)]).success();
        assert!(shown.contains("149 words in all"), "{digit}: {shown}");
    }
}
