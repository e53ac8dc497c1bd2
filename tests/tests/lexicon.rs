//! The lexicon over vocabularies of any script.

use proptest::prelude::*;
use spae_core::lexicon::{MAX_WORD_BYTES, check_word};
use spae_core::model::Model;
use spae_tests::vocabulary::{vocabulary, with_words};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_word_comes_back_by_its_rank_and_strangers_do_not(words in vocabulary(), strangers in vocabulary()) {
        let file = with_words(words.iter().cloned()).file();
        let model = Model::read(&file).unwrap();
        let lexicon = model.lexicon();
        prop_assert_eq!(lexicon.len() as usize, words.len());
        for (rank, word) in words.iter().enumerate() {
            prop_assert_eq!(lexicon.id(word.as_bytes()), Some(rank as u32));
            let stored = lexicon.word(rank as u32).map(|word| word.to_string());
            prop_assert_eq!(stored.as_deref(), Some(word.as_str()));
        }
        prop_assert!(lexicon.words().map(|word| word.to_string()).eq(words.iter().cloned()));
        prop_assert!(lexicon.word(words.len() as u32).is_none());
        for stranger in strangers.difference(&words) {
            prop_assert_eq!(lexicon.id(stranger.as_bytes()), None);
        }
    }

    #[test]
    fn any_bytes_can_be_looked_up(words in vocabulary(), bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let file = with_words(words.iter().cloned()).file();
        let expected = words.iter().position(|word| word.as_bytes() == bytes);
        prop_assert_eq!(Model::read(&file).unwrap().lexicon().id(&bytes), expected.map(|rank| rank as u32));
    }
}

#[test]
fn words_of_the_longest_length_and_blocks_of_every_filling_work() {
    for count in 1..=50 {
        let words: Vec<String> = (0..count).map(|id| format!("{id:0>MAX_WORD_BYTES$}")).collect();
        let file = with_words(words.clone()).file();
        let model = Model::read(&file).unwrap();
        for (id, word) in words.iter().enumerate() {
            assert_eq!(model.lexicon().id(word.as_bytes()), Some(id as u32), "{count} words");
        }
        assert_eq!(model.lexicon().id(format!("{count:0>MAX_WORD_BYTES$}").as_bytes()), None);
    }
}

#[test]
fn words_with_white_space_or_control_characters_are_no_words() {
    for word in ["a b", "a\tb", "a\u{a0}b", "a\u{3000}b", "a\u{2028}b", "a\u{7f}b", "a\u{85}b", "\0", "\n", ""] {
        assert!(check_word(word).is_err(), "{word:?}");
    }
    for word in ["a", "a,b", "```", "１", "na\u{ef}ve", "e\u{301}", "👩‍👩‍👧", "\u{feff}x"] {
        assert!(check_word(word).is_ok(), "{word:?}");
    }
}
