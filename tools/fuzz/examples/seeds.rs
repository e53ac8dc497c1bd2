//! Writes the committed corpora anew, from small models with seeded weights and from texts that language models write:
//! `cargo run --release -p fuzz --example seeds`. Every input gets the same bytes each time.

use std::collections::BTreeSet;
use std::path::Path;

use fuzz::model_unsealed::{Edit, Program, flag};
use fuzz::models::MODELS;
use fuzz::{TARGETS, text_stream};
use spae_tests::container::{self, Container, ENTRY, HEADER, SECTIONS, section};
use spae_tests::fixtures::{self, Fixture, StoredRows};
use spae_tests::vocabulary::with_words;

/// Names of inputs that a fuzzer found start with this; they are not made anew.
const KEPT: &str = "regression-";

/// Words that look like what stands around words.
const DECORATIONS: [&str; 22] = [
    ",",
    "1.",
    "2:",
    "Cat",
    "```",
    "```a",
    "cat",
    "end:",
    "x,y",
    "\"q\"",
    "a-b",
    "a",
    "b",
    "ß",
    "ẞ",
    "İ",
    "i̇",
    "第",
    "：",
    "-",
    "<>",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// An input and its file's name.
type Seed = (String, Vec<u8>);

fn main() -> std::io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let corpus =
        [("kernels", tiles()), ("model_file", files()), ("model_unsealed", programs()), ("text_stream", texts())];
    for (target, seeds) in corpus {
        assert!(TARGETS.iter().any(|(name, _)| *name == target), "{target} is a target");
        let folder = corpora.join(target);
        std::fs::create_dir_all(&folder)?;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(KEPT) {
                std::fs::remove_file(entry.path())?;
            }
        }
        for (name, bytes) in &seeds {
            let path = folder.join(name);
            assert!(!path.exists(), "{target}: {name} is there twice");
            std::fs::write(path, bytes)?;
        }
        let length: usize = seeds.iter().map(|(_, bytes)| bytes.len()).sum();
        println!("{target}: {} inputs, {length} bytes", seeds.len());
    }
    Ok(())
}

/// "residual pairs, nested" becomes "residual-pairs-nested".
fn file_name(name: &str) -> String {
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// The small models' fixtures.
fn small_models() -> Vec<Fixture> {
    let mut decorations = with_words(DECORATIONS.map(str::to_owned).into_iter().collect::<BTreeSet<_>>());
    decorations.name = "words that look like punctuation";
    let mut models: Vec<Fixture> = fixtures::all().into_iter().chain([decorations]).collect();
    models.retain(|model| MODELS.iter().any(|(name, _)| *name == file_name(model.name)));
    assert_eq!(models.len(), MODELS.len(), "every model has a fixture");
    models
}

/// The smallest model: one pixel, two words.
fn smallest() -> Fixture {
    let mut fixture = fixtures::named("one word, one pixel");
    fixture.words = vec!["no".into(), "yes".into()];
    fixture.rows = StoredRows::F16(vec![-0.5, 0.5]);
    fixture
}

/// Tiles, integer models and misfits, as the target for kernels reads them.
fn tiles() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let corners: Vec<u8> = (0..64).flat_map(|turn| [255, 128, 127, 0, 1, 37 * turn]).collect();
    for (operation, name) in (0..).zip(["3x3", "1x1", "upsampling"]) {
        for (quads, columns, channels) in
            [(1, 4, 2), (2, 4, 1), (3, 3, 2), (4, 4, 2), (6, 1, 1), (10, 2, 2), (20, 4, 2)]
        {
            let shape = [0, operation, channels - 1, columns - 1, quads - 1];
            let name = format!("{name}-{quads}-quads-{columns}-columns-{channels}-channels");
            seeds.push((name, [&shape[..], &corners].concat()));
        }
    }
    for (number, (name, _)) in (0..).zip(MODELS) {
        seeds.push((format!("model-{name}"), vec![1, number]));
    }
    let largest = Program::new(0, None, 8).edit(Edit::Overwrite, section::WEIGHTS, 4, &[0x7F; 255]);
    seeds.push(("model-of-the-largest-weights".to_owned(), [&[1], &largest.bytes()[1..]].concat()));
    for (name, bytes) in [("nothing", &[][..]), ("short", &[3, 4, 5, 6, 1, 2, 1, 9]), ("huge", &[255; 40])] {
        seeds.push((format!("misfit-{name}"), [&[2][..], bytes].concat()));
    }
    seeds
}

/// Whole model files, sound and damaged.
fn files() -> Vec<Seed> {
    let sound = smallest().file();
    let mut seeds = vec![("empty".to_owned(), Vec::new()), ("smallest".to_owned(), sound.clone())];
    seeds.extend(small_models().iter().map(|model| (file_name(model.name), model.file())));
    for length in [4, HEADER - 1, HEADER, HEADER + SECTIONS * ENTRY, sound.len() - 1] {
        seeds.push((format!("cut-at-{length}"), sound[..length].to_vec()));
    }
    seeds.push(("written-as-version-1".to_owned(), include_bytes!("../../../tests/fixtures/v1.spae").to_vec()));
    let mut change = |name: &str, at: usize, bytes: &[u8], reseal: bool| {
        let mut file = sound.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        if reseal {
            container::reseal(&mut file);
        }
        seeds.push((name.to_owned(), file));
    };
    change("another-magic", 0, b"PNG", false);
    change("version-0", 4, &[0, 0], true);
    change("version-65535", 4, &[0xFF, 0xFF], true);
    change("7-sections", 6, &[7, 0], true);
    change("another-total-length", 8, &[0xFF; 4], true);
    change("another-scratch", 12, &[0; 4], true);
    change("another-header-checksum", 16, &[0; 4], false);
    for index in 0..SECTIONS {
        let entry = HEADER + index * ENTRY;
        change(&format!("section-{index}-another-tag"), entry, b"WXYZ", true);
        change(&format!("section-{index}-another-place"), entry + 4, &[1, 0, 0, 0], true);
        change(&format!("section-{index}-too-long"), entry + 8, &[0xFF; 4], true);
        change(&format!("section-{index}-another-checksum"), entry + 12, &[0; 4], true);
    }
    seeds
}

/// A stage as the file has it.
fn stage(operation: u8, activation: u8, residual: u8, channels: u16) -> [u8; 6] {
    let [low, high] = channels.to_le_bytes();
    [operation, activation, residual, 0, low, high]
}

/// Edits behind right checksums.
fn programs() -> Vec<Seed> {
    use Edit::{Delete, Insert, Overwrite, Repeat, Replace};
    use section::{CODEBOOK, DECODER, LEXICON, PROVENANCE, PYRAMID, WEIGHTS};
    let mut seeds = Vec::new();
    for (number, (name, _)) in (0..).zip(MODELS) {
        seeds.push((format!("sound-{name}"), Program::new(flag::REPAIR, None, number).bytes()));
    }
    let plain = || Program::new(0, None, 0);
    let repaired = |model: u8| Program::new(flag::REPAIR, None, model);
    let mut add = |name: &str, program: Program| seeds.push((name.to_owned(), program.bytes()));
    add("scratch-of-nothing", Program::new(0, Some(0), 0));
    add("scratch-of-everything", Program::new(flag::REPAIR, Some(u32::MAX), 0));
    add("no-layers", plain().edit(Overwrite, PYRAMID, 0, &[0, 0]));
    add("13-layers", repaired(0).edit(Overwrite, PYRAMID, 0, &[13, 0]));
    add("a-grid-of-no-rows", plain().edit(Overwrite, PYRAMID, 2, &[0, 0]));
    add("a-layer-that-does-not-divide", plain().edit(Overwrite, PYRAMID, 6, &[3, 0]));
    add("a-layer-that-shrinks", plain().edit(Overwrite, PYRAMID, 6, &[4, 0]));
    add("a-grid-of-8-rows", repaired(0).edit(Overwrite, PYRAMID, 2, &[8, 0]));
    add("no-words", plain().edit(Overwrite, LEXICON, 0, &[0; 4]));
    add("too-many-words", plain().edit(Overwrite, LEXICON, 0, &[0xFF; 4]));
    add("another-block", plain().edit(Overwrite, LEXICON, 8, &[0xFF; 4]));
    add("an-empty-word", plain().edit(Overwrite, LEXICON, 20, &[0]));
    add("a-word-of-no-utf8", plain().edit(Overwrite, LEXICON, 21, &[0xFF]));
    add("a-word-of-white-space", plain().edit(Overwrite, LEXICON, 21, b" "));
    add("words-out-of-order", plain().edit(Overwrite, LEXICON, 21, b"z"));
    add("a-word-that-shares-too-much", plain().edit(Overwrite, LEXICON, 22, &[9]));
    add(
        "one-word",
        repaired(0).edit(Delete, LEXICON, 0, &[0xFF, 0xFF]).edit(Insert, LEXICON, 0, &{
            let (count, start, length) = (1u32.to_le_bytes(), 0u32.to_le_bytes(), 2u32.to_le_bytes());
            [&count[..], &start, &length, b"\x01a"].concat()
        }),
    );
    add("rows-in-f16", repaired(0).edit(Overwrite, CODEBOOK, 0, &[1, 0]));
    add("rows-in-int4", repaired(0).edit(Overwrite, CODEBOOK, 0, &[2, 0]));
    add("rows-of-another-encoding", plain().edit(Overwrite, CODEBOOK, 0, &[3, 0]));
    add("rows-too-wide", plain().edit(Overwrite, CODEBOOK, 2, &[1, 4]));
    add("too-many-rows", plain().edit(Overwrite, CODEBOOK, 4, &[0xFF; 4]));
    add("an-infinite-scale", plain().edit(Overwrite, CODEBOOK, 8, &f32::INFINITY.to_le_bytes()));
    add("the-largest-scale", plain().edit(Overwrite, CODEBOOK, 8, &f32::MAX.to_le_bytes()));
    add("no-stages", plain().edit(Overwrite, DECODER, 0, &[0, 0]));
    add("33-stages", plain().edit(Overwrite, DECODER, 0, &[33, 0]));
    add("another-operation", plain().edit(Overwrite, DECODER, 10, &[4]));
    add("another-activation", plain().edit(Overwrite, DECODER, 11, &[2]));
    add("adds-itself", plain().edit(Overwrite, DECODER, 18, &[2]));
    add("adds-another-shape", plain().edit(Overwrite, DECODER, 18, &[1]));
    add("a-picture-of-2-channels", repaired(0).edit(Overwrite, DECODER, 32, &[2, 0]));
    add("a-picture-in-colour", repaired(0).edit(Overwrite, DECODER, 32, &[3, 0]));
    add("wider-input", repaired(0).edit(Overwrite, DECODER, 8, &[9, 0]).edit(Overwrite, DECODER, 20, &[9, 0]));
    let one_more = |stage: [u8; 6]| repaired(0).edit(Overwrite, DECODER, 0, &[6, 0]).edit(Insert, DECODER, 28, &stage);
    add("one-more-convolution", one_more(stage(2, 1, 0xFF, 5)));
    add("one-more-upsampling", one_more(stage(3, 0, 0xFF, 9)));
    add("one-more-residual", one_more(stage(1, 0, 3, 3)));
    let upsampled_often = repaired(1).edit(Overwrite, DECODER, 0, &[12, 0]).edit(Repeat, DECODER, 4, &[6, 0, 11]);
    add("upsampled-too-often", upsampled_often.edit(Overwrite, DECODER, 10, &stage(3, 0, 0xFF, 1).repeat(11)));
    add("a-stage-of-1024-channels", one_more(stage(2, 0, 0xFF, 1024)));
    add("a-weight-too-few", plain().edit(Delete, WEIGHTS, 8, &[2, 0]));
    let version_1 = |model: u8| Program::new(flag::REPAIR | flag::VERSION_1, None, model);
    add("version-1", version_1(0).edit(Delete, DECODER, 2, &[2, 0]));
    add("version-1-of-integers", version_1(9));
    add("another-arithmetic", plain().edit(Overwrite, DECODER, 2, &[2, 0]));
    add("floats-as-integers", repaired(0).edit(Overwrite, DECODER, 2, &[1, 0]));
    add("integers-as-floats", repaired(9).edit(Overwrite, DECODER, 2, &[0, 0]));
    add("integers-and-rows-in-f16", repaired(9).edit(Overwrite, CODEBOOK, 0, &[1, 0]));
    add("integers-of-the-largest-shift", repaired(9).edit(Overwrite, WEIGHTS, 1, &[15]));
    add("integers-that-shift-too-much", repaired(9).edit(Overwrite, WEIGHTS, 1, &[16]));
    add(
        "integers-of-the-largest-multipliers",
        repaired(9).edit(Overwrite, WEIGHTS, 4, &[0xFF, 0xFF, 0xFF, 0x7F].repeat(9)),
    );
    add("integers-of-the-largest-everything", repaired(8).edit(Overwrite, WEIGHTS, 0, &[0x7F; 255]));
    add(
        "integers-and-one-more-residual",
        repaired(8).edit(Overwrite, DECODER, 0, &[8, 0]).edit(Insert, DECODER, 16, &stage(2, 1, 1, 5)),
    );
    add("an-infinite-weight", plain().edit(Overwrite, WEIGHTS, 8, &[0, 0x7C]));
    add("the-largest-weights", plain().edit(Overwrite, WEIGHTS, 256, &[0xFF, 0x7B].repeat(100)));
    add("provenance-of-no-utf8", plain().edit(Insert, PROVENANCE, 3, &[0xFF]));
    add("no-provenance", plain().edit(Delete, PROVENANCE, 0, &[0xFF, 0xFF]));
    add("a-decoder-of-another-model", repaired(0).edit(Replace, DECODER, 0, &[6]));
    add("a-pyramid-of-another-model", repaired(7).edit(Replace, PYRAMID, 0, &[3]));
    let sound = smallest().file();
    let whole = |flags: u8, file: &[u8]| [&[flag::WHOLE_FILE | flags], file].concat();
    seeds.push(("whole".to_owned(), whole(0, &sound)));
    seeds.push(("whole-and-a-byte".to_owned(), whole(flag::REPAIR, &[&sound[..], &[0]].concat())));
    seeds.push(("whole-cut-off".to_owned(), whole(flag::REPAIR, &sound[..sound.len() - 4])));
    let mut gap = Container::open(&sound).seal();
    gap[HEADER + ENTRY + 4] += 4;
    seeds.push(("whole-with-a-gap".to_owned(), whole(0, &gap)));
    seeds
}

/// Texts as language models write them; see tests/parser.rs for what must come of them.
fn texts() -> Vec<Seed> {
    let all = "a ".repeat(30);
    let long_run = ["black", "bring", "cloud", "零", "éclair", "cat"].repeat(4).join(",");
    let too_long = format!("cat {} dog", "x".repeat(200));
    let long_line = format!("{}big: cat\n", "a ".repeat(40));
    let texts: &[(&str, &[u8])] = &[
        ("nothing", b""),
        ("white-space", " \r\n\t\u{b}\n \u{a0} ".as_bytes()),
        ("canonical", b"cat\ndog dot big box\n"),
        ("all-and-more", all.as_bytes()),
        ("commas", b"cat,dog, dot;big | box / a"),
        ("quotes", "\"cat\" 'dog' “dot” «big» `box`".as_bytes()),
        ("brackets", b"[cat, dog] (dot) {big} <box>"),
        ("json", b"{\"layer1\":[\"cat\"],\"layer 2\": [\"dog\",\"dot\"]}"),
        ("numbering", b"1. cat\n2) dog\n(3) dot\n4: big"),
        ("list-marks", "- cat\n* dog\n• dot\n– big".as_bytes()),
        ("bold", b"**cat** __dog__\n# dot"),
        ("capitals", "Cat DOG ÉCLAIR НОЛЬ İ ẞ".as_bytes()),
        ("hyphens", "cat-dog dot—big zero.one a-qqq".as_bytes()),
        ("scripts", "零, 雪。 ноль ñandú".as_bytes()),
        ("byte-order-mark", "\u{feff}cat\u{200b}dog".as_bytes()),
        ("fence", b"```text\ncat dog\n```\n"),
        ("labels", "Layer 1: cat\nLayer2:dog\n第一層：dot".as_bytes()),
        ("label-in-quotes", b"big \"cat\": dog: dot"),
        ("unknown", b"cat qqq d og xyzzy\n"),
        ("no-utf8", b"cat \xFF\xFE dog d\xC3\n\xE9\x9B"),
        ("long-run", long_run.as_bytes()),
        ("too-long-for-a-word", too_long.as_bytes()),
        ("long-line", long_line.as_bytes()),
        ("decorations", "```a\n1. , end: Cat\n``` x,y a-b \"q\" : <> - ß".as_bytes()),
    ];
    let mut seeds = Vec::new();
    for (number, (name, text)) in texts.iter().enumerate() {
        // Every policy and every model meets every kind of text once in a while.
        for turn in 0..2 {
            let (policy, model) = (
                (number + turn) % text_stream::POLICIES.len(),
                (number / 3 + 2 * turn) % text_stream::TEXT_MODELS.len(),
            );
            let choice = (model * text_stream::POLICIES.len() + policy) as u8;
            let input = [&[choice, (37 * number) as u8], *text].concat();
            seeds.push((format!("{name}-{}", ["one", "two"][turn]), input));
        }
    }
    seeds
}
