//! Vocabularies of any script, and models with them.

use std::collections::BTreeSet;

use proptest::prelude::*;
use spae_core::lexicon::check_word;

use crate::fixtures::{self, Fixture, StoredRows};

/// A model with other words.
pub fn with_words(words: impl IntoIterator<Item = String>) -> Fixture {
    let mut fixture = fixtures::named("version 1");
    fixture.words = words.into_iter().collect();
    let values = (0..fixture.words.len() * fixture.width).map(|at| (at % 255) as u8 as i8).map(|v| v.max(-127));
    fixture.rows = StoredRows::Int8 { scales: vec![0.01; fixture.width], values: values.collect() };
    fixture
}

/// Sets of words: ASCII ones that share beginnings, and any characters that the rules allow.
pub fn vocabulary() -> impl Strategy<Value = BTreeSet<String>> {
    let word = prop_oneof![4 => "[a-c]{1,6}", 2 => "[a-z]{1,12}", 2 => "\\PC{1,6}", 1 => "[\u{0}-\u{10ffff}]{1,20}"];
    let words = word.prop_filter("the rules", |word: &String| check_word(word).is_ok());
    proptest::collection::btree_set(words, 1..60)
}
