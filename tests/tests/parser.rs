//! The push parser: what it forgives, what it reports, and that nothing that it is fed makes it panic.

use proptest::prelude::*;
use spae_core::lexicon::check_word;
use spae_core::model::Model;
use spae_core::stream::{Event, Reader, Summary, UnknownPolicy};
use spae_tests::fixtures::{self, STRANGER};
use spae_tests::vocabulary::{vocabulary, with_words};

/// Everything that a reader said about a text.
#[derive(Debug, Default, PartialEq, Eq)]
struct Met {
    events: Vec<Event>,
    /// What stopped it, or the counts.
    end: Option<Result<Summary, u32>>,
}

/// Feeds `chunks` one after the other.
fn read<'t>(file: &[u8], policy: UnknownPolicy, chunks: impl IntoIterator<Item = &'t [u8]>) -> Met {
    let model = Model::read(file).unwrap();
    let mut reader = Reader::new(model.lexicon(), model.pyramid(), policy);
    let mut met = Met::default();
    for chunk in chunks {
        if let Err(error) = reader.push(chunk, |event| met.events.push(event)) {
            let again = reader.push(b" a a a", |event| panic!("{event:?} after the end"));
            assert_eq!(again, Err(error), "it stays stopped");
            assert_eq!(reader.finish(|event| panic!("{event:?} after the end")), Err(error));
            met.end = Some(Err(error.offset));
            return met;
        }
    }
    met.end = Some(reader.finish(|event| met.events.push(event)).map_err(|error| error.offset));
    met
}

impl Met {
    fn words(&self, words: &[String]) -> Vec<String> {
        let word = |event: &Event| match event {
            Event::Token { id, .. } => Some(words[*id as usize].clone()),
            Event::Hole { .. } => Some("_".to_owned()),
            _ => None,
        };
        self.events.iter().filter_map(word).collect()
    }

    fn offsets(&self, of: impl Fn(&Event) -> Option<u32>) -> Vec<u32> {
        self.events.iter().filter_map(of).collect()
    }

    fn unknown(&self) -> Vec<u32> {
        self.offsets(|event| if let Event::Unknown { offset } = event { Some(*offset) } else { None })
    }

    fn labels(&self) -> Vec<u32> {
        self.offsets(|event| if let Event::Label { offset } = event { Some(*offset) } else { None })
    }

    fn surplus(&self) -> Vec<u32> {
        self.offsets(|event| if let Event::Surplus { offset } = event { Some(*offset) } else { None })
    }
}

const POLICIES: [UnknownPolicy; 3] = [UnknownPolicy::Error, UnknownPolicy::Skip, UnknownPolicy::Hole];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_chunks_give_the_same_events(
        text in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "([a-e]{1,3}|cat|dog|black|éclair|零|[,.:;\"'`()\\-0-9]|[ \n\t]){0,120}".prop_map(String::into_bytes),
        ],
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let file = fixtures::named("version 1").file();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        for policy in POLICIES {
            let whole = read(&file, policy, [&text[..]]);
            prop_assert_eq!(&read(&file, policy, cuts.windows(2).map(|cut| &text[cut[0]..cut[1]])), &whole);
            prop_assert_eq!(&read(&file, policy, text.chunks(1)), &whole);
            let places: Vec<_> = whole.events.iter().filter_map(|event| match event {
                Event::Token { layer, index, .. } | Event::Hole { layer, index } => Some((*layer, *index)),
                _ => None,
            }).collect();
            let model = Model::read(&file).unwrap();
            prop_assert!(places.iter().enumerate().all(|(at, place)| model.pyramid().locate(at) == Some(*place)));
        }
    }

    #[test]
    fn canonical_text_of_any_vocabulary_comes_back(words in vocabulary(), seed in any::<u64>()) {
        let fixture = with_words(words);
        let ids: Vec<Option<usize>> = fixture.ids(seed).into_iter().map(Some).collect();
        let met = read(&fixture.file(), UnknownPolicy::Error, [fixture.text(&ids).as_bytes()]);
        let got: Vec<_> = met.events.iter().filter_map(|event| match event {
            Event::Token { id, .. } => Some(Some(*id as usize)),
            _ => None,
        }).collect();
        prop_assert_eq!(got, ids);
        let layers = fixture.pyramid.layers().len() as u32;
        let tokens = fixture.pyramid.token_count() as u32;
        prop_assert_eq!(met.end, Some(Ok(Summary { tokens, layers_complete: layers, ..Summary::default() })));
    }

    #[test]
    fn an_unknown_word_is_reported_where_it_starts(
        at in 0usize..21,
        word in "[q-z]{3,60}".prop_filter("a word", |word| word.len() < 49 && check_word(word).is_ok()),
    ) {
        let fixture = fixtures::named("version 1");
        let file = fixture.file();
        let ids: Vec<Option<usize>> = (0..21).map(|place| (place != at).then_some(place)).collect();
        let text = fixture.text(&ids).replace(STRANGER, &word);
        let offset = text.find(&word).map(|offset| offset as u32);
        prop_assert_eq!(read(&file, UnknownPolicy::Error, [text.as_bytes()]).end, offset.map(Err));
        let hole = read(&file, UnknownPolicy::Hole, [text.as_bytes()]);
        prop_assert_eq!(Some(hole.unknown()), offset.map(|offset| vec![offset]));
        prop_assert_eq!(hole.end, Some(Ok(Summary { tokens: 20, unknown: 1, surplus: 0, layers_complete: 3 })));
        let skip = read(&file, UnknownPolicy::Skip, [text.as_bytes()]);
        prop_assert_eq!(skip.end, Some(Ok(Summary { tokens: 20, unknown: 1, surplus: 0, layers_complete: 2 })));
    }
}

/// What a text for a pyramid of 1, 4 and 16 words must give: the words and holes in their places, and the offsets of
/// what was unknown, a label or surplus.
struct Case {
    name: &'static str,
    text: &'static str,
    words: &'static str,
    unknown: &'static [u32],
    labels: &'static [u32],
    surplus: &'static [u32],
}

const fn case(name: &'static str, text: &'static str, words: &'static str) -> Case {
    Case { name, text, words, unknown: &[], labels: &[], surplus: &[] }
}

#[test]
fn what_language_models_do_to_text() {
    let all = "a a a a a a a a a a a a a a a a a a a a a";
    let cases = [
        case("nothing", "", ""),
        case("white space alone", " \r\n\t\u{b}\n \u{a0} ", ""),
        case("canonical", "cat\ndog dot big\n", "cat dog dot big"),
        case("no newlines", "cat dog dot big", "cat dog dot big"),
        case("one word a line", "cat\r\ndog\r\n\r\ndot\r\n", "cat dog dot"),
        case("commas", "cat, dog, dot,big", "cat dog dot big"),
        case("commas and no spaces", "cat,dog,dot", "cat dog dot"),
        case("semicolons, bars and slashes", "cat; dog | dot / big", "cat dog dot big"),
        case("full stops", "cat. dog. dot.", "cat dog dot"),
        case("quotes of several kinds", "\"cat\" 'dog' “dot” «big» `box`", "cat dog dot big box"),
        case("brackets", "[cat, dog] (dot) {big} <box>", "cat dog dot big box"),
        case("JSON", "[\"cat\",\"dog\",\"dot\"]", "cat dog dot"),
        case("numbering", "1. cat\n2. dog\n3) dot\n(4) big\n5: box", "cat dog dot big box"),
        case("list marks", "- cat\n* dog\n• dot\n– big", "cat dog dot big"),
        case("bold and headings", "**cat** __dog__\n# dot", "cat dog dot"),
        case("capitals", "Cat DOG dOt ÉCLAIR", "cat dog dot éclair"),
        case("hyphens between words", "cat-dog dot—big", "cat dog dot big"),
        case("any script", "零, 雪。 ноль НОЛЬ", "零 雪 ноль ноль"),
        case("a byte order mark", "\u{feff}cat dog", "cat dog"),
        case("a code fence", "```\ncat dog\n```\n", "cat dog"),
        Case { labels: &[3], ..case("a code fence with a language", "```text\ncat dog\n```", "cat dog") },
        Case { labels: &[0], ..case("a preamble", "Here is your picture:\ncat dog", "cat dog") },
        Case { labels: &[0, 13], ..case("labels", "Layer 1: cat\nLayer 2: dog dot", "cat dog dot") },
        Case { labels: &[0], ..case("a label of words", "big cat: dog", "dog") },
        Case { labels: &[0], ..case("a wide colon and no space", "第一層：cat 雪", "cat 雪") },
        Case { labels: &[0], ..case("a label and no space", "Layer1:cat dog", "cat dog") },
        Case {
            labels: &[2, 19],
            ..case("JSON by layers", "{\"layer1\":[\"cat\"],\"layer2\":[\"dog\",\"dot\"]}", "cat dog dot")
        },
        Case {
            labels: &[2, 17],
            ..case("JSON with spaces", "{\"big\" : \"cat\", \"layer 2\": [\"dog\", \"dot\"]}", "cat dog dot")
        },
        Case { unknown: &[4], ..case("an unknown word", "cat qqq dog", "cat _ dog") },
        Case { unknown: &[1], ..case("an unknown word in a quote", "\"qqq\"", "_") },
        Case { unknown: &[8], ..case("a word cut off", "cat dog do", "cat dog _") },
        Case { unknown: &[4, 6], ..case("a word in two halves", "cat d og", "cat _ _") },
        Case { surplus: &[42, 44], ..case("too many", "a a a a a a a a a a a a a a a a a a a a a b cat", all) },
    ];
    let fixture = fixtures::named("version 1");
    let file = fixture.file();
    for case in cases {
        let met = read(&file, UnknownPolicy::Hole, [case.text.as_bytes()]);
        assert_eq!(met.words(&fixture.words).join(" "), case.words, "{}: {met:?}", case.name);
        assert_eq!(met.unknown(), case.unknown, "{}: unknown", case.name);
        assert_eq!(met.labels(), case.labels, "{}: labels", case.name);
        assert_eq!(met.surplus(), case.surplus, "{}: surplus", case.name);
    }
}

#[test]
fn bytes_that_are_no_utf8_are_unknown_words() {
    let file = fixtures::named("version 1").file();
    let met = read(&file, UnknownPolicy::Hole, [&b"cat \xFF\xFE dog d\xC3"[..]]);
    assert_eq!(met.unknown(), [4, 11]);
    assert_eq!(met.end, Some(Ok(Summary { tokens: 2, unknown: 2, surplus: 0, layers_complete: 1 })));
}

#[test]
fn commas_separate_however_many_words_follow_without_a_space() {
    let fixture = fixtures::named("version 1");
    let words = ["black", "bring", "cloud", "apple", "零", "éclair", "cat"].repeat(3);
    for separator in [",", "、", "\",\""] {
        let text = format!("[\"{}\"]", words.join(separator));
        assert!(text.len() > 96, "longer than what is looked at as one");
        let met = read(&fixture.file(), UnknownPolicy::Error, [text.as_bytes()]);
        assert_eq!(met.words(&fixture.words), words, "{separator}");
    }
}

#[test]
fn a_run_too_long_for_a_word_is_one_unknown_word() {
    let file = fixtures::named("version 1").file();
    let text = format!("cat {} dog", "x".repeat(5000));
    let met = read(&file, UnknownPolicy::Skip, [text.as_bytes()]);
    assert_eq!(met.unknown(), [4]);
    assert_eq!(met.end, Some(Ok(Summary { tokens: 2, unknown: 1, surplus: 0, layers_complete: 1 })));
}

#[test]
fn words_that_look_like_decoration_stay_words() {
    let words = [",", "1.", "Cat", "```", "```a", "cat", "end:", "x,y"];
    let mut words: Vec<String> = words.map(str::to_owned).to_vec();
    words.sort();
    let fixture = with_words(words.clone());
    let met = read(&fixture.file(), UnknownPolicy::Error, [&b"```a\n1. , end: Cat\n``` x,y cat CAT\n"[..]]);
    assert_eq!(met.words(&words), ["```a", "1.", ",", "end:", "Cat", "```", "x,y", "cat", "cat"]);
    assert_eq!(met.labels(), [0u32; 0]);
}

#[test]
fn a_line_longer_than_what_waits_for_a_colon_is_words() {
    let fixture = fixtures::named("wider than any vector register");
    let text = format!("{} big: cat", "a ".repeat(40));
    let met = read(&fixture.file(), UnknownPolicy::Error, [text.as_bytes()]);
    assert_eq!(met.words(&fixture.words).len(), 42);
    assert_eq!(met.labels(), [0u32; 0]);
}

#[test]
fn layers_are_complete_in_order_and_once() {
    let file = fixtures::named("version 1").file();
    let text = "cat ".repeat(30);
    let met = read(&file, UnknownPolicy::Error, [text.as_bytes()]);
    let complete: Vec<usize> = met
        .events
        .iter()
        .filter_map(|event| if let Event::LayerComplete { layer } = event { Some(*layer) } else { None })
        .collect();
    assert_eq!(complete, [0, 1, 2]);
    assert_eq!(met.end, Some(Ok(Summary { tokens: 21, unknown: 0, surplus: 9, layers_complete: 3 })));
}

#[test]
fn a_reader_that_was_cleared_reads_as_a_new_one() {
    let file = fixtures::named("version 1").file();
    let model = Model::read(&file).unwrap();
    let mut reader = Reader::new(model.lexicon(), model.pyramid(), UnknownPolicy::Error);
    assert!(reader.push(b"cat dog\nLayer qqq\n", |_| ()).is_err());
    reader.clear();
    let mut events = Vec::new();
    reader.push(b"cat\ndog", |event| events.push(event)).unwrap();
    let end = reader.finish(|event| events.push(event)).map_err(|error| error.offset);
    assert_eq!(Met { events, end: Some(end) }, read(&file, UnknownPolicy::Error, [&b"cat\ndog"[..]]));
}
