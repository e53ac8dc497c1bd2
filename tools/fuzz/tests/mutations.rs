//! Seeded random changes of section contents behind right checksums, with the compiler that everyone has: none panics,
//! and what reads draws.

use std::collections::BTreeMap;

use fuzz::Outcome;
use fuzz::exercise::exercise;
use fuzz::model_unsealed::{Edit, Program, flag};
use fuzz::models::MODELS;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spae_tests::container::{Container, SECTIONS};

/// Files of each model in the first test.
const FILES: usize = 3000;

/// Programs of the second test.
const PROGRAMS: usize = 20_000;

type Outcomes = BTreeMap<Outcome, usize>;

/// Both ends must be reached, or the changes test little.
fn assert_both_ends(outcomes: &Outcomes) {
    for outcome in [Outcome::Refused, Outcome::Drawn] {
        assert!(outcomes.get(&outcome) >= Some(&100), "{outcomes:?}");
    }
}

#[test]
fn bytes_of_any_section_changed_at_random_end_in_an_error_or_a_picture() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut outcomes = Outcomes::new();
    for (_, file) in MODELS {
        let sound = Container::open(file);
        for _ in 0..FILES {
            let mut container = sound.clone();
            for _ in 0..random.random_range(1..6) {
                let section = &mut container.sections[random.random_range(0..SECTIONS)];
                if !section.is_empty() {
                    let at = random.random_range(0..section.len());
                    // One bit, a byte, or a byte at a limit.
                    section[at] = match random.random_range(0..3) {
                        0 => section[at] ^ 1 << random.random_range(0..8),
                        1 => random.random(),
                        _ => [0, 1, 0x7F, 0x80, 0xFF][random.random_range(0..5)],
                    };
                }
            }
            let mut choices = [0; 16];
            random.fill_bytes(&mut choices);
            *outcomes.entry(exercise(&container.seal(), &choices).0).or_insert(0) += 1;
        }
    }
    println!("{outcomes:?}");
    assert_both_ends(&outcomes);
}

#[test]
fn sections_cut_grown_and_exchanged_at_random_end_in_an_error_or_a_picture() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut outcomes = Outcomes::new();
    for _ in 0..PROGRAMS {
        let flags = if random.random_range(0..4) == 0 { 0 } else { flag::REPAIR };
        let mut program = Program::new(flags, None, random.random_range(0..MODELS.len()) as u8);
        for _ in 0..random.random_range(1..4) {
            let kind = Edit::ALL[random.random_range(0..Edit::ALL.len())];
            let mut bytes = match kind {
                Edit::Overwrite | Edit::Insert => vec![0; random.random_range(0..9)],
                // A length of two bytes, and how often.
                Edit::Delete => vec![random.random_range(0..40), 0],
                Edit::Repeat => vec![random.random_range(0..40), 0, random.random_range(0..9)],
                Edit::Replace => vec![random.random()],
            };
            if matches!(kind, Edit::Overwrite | Edit::Insert) {
                random.fill_bytes(&mut bytes);
            }
            // The counts and widths stand at the start.
            let at = if random.random() { random.random_range(0..40) } else { random.random_range(0..2000) };
            program = program.edit(kind, random.random_range(0..SECTIONS), at, &bytes);
        }
        *outcomes.entry(fuzz::model_unsealed::run(&program.bytes())).or_insert(0) += 1;
    }
    println!("{outcomes:?}");
    assert_both_ends(&outcomes);
}
