//! Model files that are damaged, cut off or made to harm. Each ends in an error or in a decode that stays inside its
//! memory; nothing panics.

use std::sync::LazyLock;

use proptest::prelude::*;
use spae_core::canvas::Canvas;
use spae_core::error::{FormatError, LexiconFault, PyramidError, StageFault, WordFault};
use spae_core::format::Kind;
use spae_core::model::{Model, emit};
use spae_core::stream::{Stream, UnknownPolicy};
use spae_tests::container::{self, Container, HEADER, SECTIONS, section};
use spae_tests::fixtures::{self, StoredRows, StoredWeights};

/// A file of a few hundred bytes with every kind of stage but the widest.
fn small() -> Vec<u8> {
    fixtures::named("version 1").file()
}

/// As [`small`], computing in integers.
fn integers() -> Vec<u8> {
    fixtures::named("integers: every operation, channels that fill no quad").file()
}

/// The files of all fixtures.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| fixtures::all().iter().map(fixtures::Fixture::file).collect());

fn error(file: &[u8]) -> FormatError {
    match Model::read(file) {
        Err(error) => error,
        Ok(_) => panic!("the file reads"),
    }
}

/// The error of a file whose contents `change` has changed behind right checksums.
fn attack(change: impl FnOnce(&mut Container)) -> FormatError {
    let mut container = Container::open(&small());
    change(&mut container);
    error(&container.seal())
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Reads; where that works, decodes and counts the rows.
fn survives(file: &[u8]) {
    // The limit keeps the test's memory small; a file that asks for more is as sound as its caller is generous.
    let Ok(model) = Model::read(file) else { return };
    if model.scratch_len() > 1 << 22 || model.decoder().multiply_accumulates() > 1 << 26 {
        return;
    }
    let mut scratch = vec![u32::MAX; model.scratch_len()];
    let canvas = Canvas::new(&model, &mut scratch).expect("the scratch is as long as the model says");
    let mut stream = Stream::new(canvas, UnknownPolicy::Hole);
    let words: Vec<String> = model.lexicon().words().map(|word| word.to_string()).collect();
    let text =
        words.iter().cycle().take(model.pyramid().token_count()).fold(String::new(), |text, word| text + word + " ");
    stream.push(text.as_bytes(), |_, _| ()).expect("holes are no errors");
    stream.finish(|_, _| ()).expect("holes are no errors");
    let (shape, channels) = (model.decoder().picture_shape(), model.decoder().picture_channels());
    let mut rows = 0;
    stream.canvas().rows(|_, row| {
        assert_eq!(row.channels(), channels);
        for channel in 0..channels {
            assert_eq!(row.channel(channel).count(), usize::from(shape.width));
        }
        rows += 1;
    });
    assert_eq!(rows, shape.height);
}

#[test]
fn a_place_for_a_model_holds_it_or_none_after_an_error() {
    let (sound, mut cut, mut out_of_range) = (integers(), Container::open(&integers()), Container::open(&integers()));
    cut.sections[section::PYRAMID].pop();
    // The shift of stage 0, which is read last of all.
    out_of_range.sections[section::WEIGHTS][1] = 16;
    let (cut, out_of_range) = (cut.seal(), out_of_range.seal());
    for damaged in [&cut[..], &out_of_range, &sound[1..]] {
        let mut place = None;
        assert_eq!(Model::read_in(&mut place, &sound), Ok(()));
        assert!(place.is_some_and(|model| model.provenance() == Model::read(&sound).unwrap().provenance()));
        assert_eq!(Model::read_in(&mut place, damaged), Err(error(damaged)));
        assert!(place.is_none());
    }
}

#[test]
fn every_fixture_reads_back_as_it_was_written() {
    for fixture in fixtures::all() {
        let file = fixture.file();
        let model = Model::read(&file).unwrap();
        assert_eq!(*model.pyramid(), fixture.pyramid);
        assert!(model.lexicon().words().map(|word| word.to_string()).eq(fixture.words.iter().cloned()));
        for id in 0..fixture.words.len() {
            let mut row = vec![f32::NAN; fixture.width];
            model.codebook().for_each(id as u32, |column, value| row[column] = value);
            assert_eq!(row, fixture.row(id), "{}, row {id}", fixture.name);
        }
        assert!(model.decoder().stages().iter().map(|stage| stage.spec).eq(fixture.stages.iter().copied()));
        assert_eq!(model.version(), 2);
        assert_eq!(Container::open(&file).seal(), file, "{}: an independent writer gives the same bytes", fixture.name);
        assert_eq!(Container::open(&file).scratch_bytes as usize, 4 * model.scratch_len());
    }
}

#[test]
fn every_truncation_is_an_error() {
    let file = small();
    for length in 0..file.len() {
        assert!(Model::read(&file[..length]).is_err(), "{length} of {} bytes", file.len());
    }
}

#[test]
fn every_single_flipped_bit_is_an_error() {
    let mut file = small();
    for at in 0..file.len() {
        for bit in 0..8 {
            file[at] ^= 1 << bit;
            assert!(Model::read(&file).is_err(), "bit {bit} of byte {at}");
            file[at] ^= 1 << bit;
        }
    }
    assert!(Model::read(&file).is_ok());
}

#[test]
fn with_the_checksums_bypassed_no_single_flipped_bit_panics() {
    for file in [small(), integers()] {
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut file = file.clone();
                file[at] ^= 1 << bit;
                container::reseal(&mut file);
                survives(&file);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_header_that_looks_right_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), HEADER + SECTIONS * 16..600),
    ) {
        let length = bytes.len() as u32;
        bytes[..8].copy_from_slice(b"SPAE\x02\x00\x06\x00");
        put_u32(&mut bytes, 8, length);
        container::reseal(&mut bytes);
        survives(&bytes);
    }

    #[test]
    fn with_the_checksums_bypassed_several_changed_bytes_never_panic(
        which in 0usize..FILES.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = FILES[which].clone();
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        container::reseal(&mut file);
        survives(&file);
    }

    #[test]
    fn with_the_checksums_bypassed_sections_of_another_length_never_panic(
        which in 0usize..SECTIONS,
        length in 0usize..300,
        bytes in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut container = Container::open(&small());
        container.sections[which].truncate(length);
        container.sections[which].extend(bytes);
        survives(&container.seal());
    }

    #[test]
    fn with_the_checksums_bypassed_sections_of_another_model_never_panic(
        from in 0usize..FILES.len(),
        which in proptest::collection::vec(any::<bool>(), SECTIONS),
    ) {
        let mut container = Container::open(&small());
        let other = Container::open(&FILES[from]);
        for (index, swap) in which.into_iter().enumerate() {
            if swap {
                container.sections[index].clone_from(&other.sections[index]);
            }
        }
        survives(&container.seal());
        container.scratch_bytes = other.scratch_bytes;
        survives(&container.seal());
    }
}

#[test]
fn an_empty_file_is_too_short() {
    assert_eq!(error(&[]), FormatError::TooShort { got: 0 });
}

#[test]
fn something_else_has_another_magic() {
    let png = *b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0";
    assert_eq!(error(&png), FormatError::Magic { got: *b"\x89PNG" });
}

#[test]
fn versions_0_and_3_are_refused_even_with_right_checksums() {
    for version in [0, 3, u16::MAX] {
        let got = attack(|file| file.magic_version_count[4..6].copy_from_slice(&version.to_le_bytes()));
        assert_eq!(got, FormatError::Version { got: version });
        assert!(got.to_string().contains("reads 1 to 2"), "{got}");
    }
}

#[test]
fn a_file_with_something_behind_it_is_refused() {
    let mut file = small();
    let expected = file.len() as u32;
    file.push(0);
    assert_eq!(error(&file), FormatError::TotalLength { expected, got: file.len() });
    put_u32(&mut file, 8, expected + 1);
    container::reseal(&mut file);
    assert!(matches!(error(&file), FormatError::TotalLength { .. }), "even if the header counts it");
}

#[test]
fn another_number_of_sections_is_refused() {
    assert_eq!(attack(|file| file.magic_version_count[6] = 7), FormatError::SectionCount { got: 7 });
}

#[test]
fn sections_out_of_order_are_refused() {
    let mut file = small();
    let (first, second) = file[HEADER..HEADER + 32].split_at_mut(16);
    first[..4].swap_with_slice(&mut second[..4]);
    container::reseal(&mut file);
    assert_eq!(error(&file), FormatError::SectionTag { section: Kind::Pyramid });
}

#[test]
fn overlapping_sections_are_refused() {
    let mut file = small();
    let first: [u8; 4] = file[HEADER + 4..HEADER + 8].try_into().unwrap();
    file[HEADER + 20..HEADER + 24].copy_from_slice(&first);
    container::reseal(&mut file);
    assert!(matches!(error(&file), FormatError::SectionOffset { section: Kind::Lexicon, .. }));
}

#[test]
fn a_section_longer_than_the_file_is_refused() {
    for length in [u32::MAX, u32::MAX - 3, 1 << 31] {
        let mut file = small();
        put_u32(&mut file, HEADER + 8, length);
        container::reseal(&mut file);
        assert!(
            matches!(error(&file), FormatError::SectionLength { section: Kind::Pyramid, got, .. } if got == length)
        );
    }
}

#[test]
fn padding_that_is_not_zero_is_refused() {
    let mut file = small();
    let sections = Container::open(&file).sections;
    let mut end = HEADER + SECTIONS * container::ENTRY;
    for section in &sections {
        end += section.len();
        if !section.len().is_multiple_of(4) {
            break;
        }
    }
    assert!(!end.is_multiple_of(4), "no section needs padding");
    file[end] = 1;
    container::reseal(&mut file);
    assert!(matches!(error(&file), FormatError::Padding { .. }));
}

#[test]
fn a_pyramid_that_is_none_is_refused() {
    let change = |at: usize, value: u16| attack(|file| put_u16(&mut file.sections[section::PYRAMID], at, value));
    assert_eq!(change(0, 0), FormatError::SectionSurplus { section: Kind::Pyramid, at: 6, left: 12 });
    assert!(matches!(change(0, 4), FormatError::SectionCut { section: Kind::Pyramid, .. }));
    assert!(matches!(change(0, u16::MAX), FormatError::SectionCut { .. } | FormatError::SectionSurplus { .. }));
    assert!(matches!(change(2, 0), FormatError::Pyramid(PyramidError::GridSide { .. })));
    assert!(matches!(change(2, 4096), FormatError::Pyramid(PyramidError::GridSide { .. })));
    assert!(matches!(change(6, 3), FormatError::Pyramid(PyramidError::Divides { index: 0, .. })));
    assert!(matches!(change(6, 4), FormatError::Pyramid(PyramidError::Shrinks { index: 1, .. })));
}

#[test]
fn a_lexicon_that_is_none_is_refused() {
    let change = |change: &dyn Fn(&mut Vec<u8>)| attack(|file| change(&mut file.sections[section::LEXICON]));
    assert_eq!(change(&|lexicon| put_u32(lexicon, 0, 0)), FormatError::WordCount { got: 0 });
    assert_eq!(change(&|lexicon| put_u32(lexicon, 0, u32::MAX)), FormatError::WordCount { got: u32::MAX });
    assert!(matches!(change(&|lexicon| put_u32(lexicon, 0, 1 << 20)), FormatError::SectionCut { .. }));
    // Word count, three block offsets, length: the first entry stands at 20, the second behind its one letter.
    let fault = |change_it: &dyn Fn(&mut Vec<u8>)| match change(change_it) {
        FormatError::Word { id, fault } => (id, fault),
        other => panic!("{other}"),
    };
    assert_eq!(fault(&|lexicon| put_u32(lexicon, 4, 1)), (0, LexiconFault::BlockOffset));
    assert_eq!(fault(&|lexicon| put_u32(lexicon, 8, u32::MAX)), (16, LexiconFault::BlockOffset));
    assert_eq!(fault(&|lexicon| lexicon[20] = 0), (0, LexiconFault::Rule(WordFault::Empty)));
    assert_eq!(fault(&|lexicon| lexicon[20] = 0xFF), (0, LexiconFault::Cut));
    assert_eq!(fault(&|lexicon| lexicon[21] = 0xFF), (0, LexiconFault::NotUtf8));
    assert_eq!(fault(&|lexicon| lexicon[21] = b' '), (0, LexiconFault::Rule(WordFault::WhiteSpace)));
    assert_eq!(fault(&|lexicon| lexicon[22] = 9), (1, LexiconFault::Cut), "shares more than its predecessor has");
    assert_eq!(fault(&|lexicon| lexicon[21] = b'z'), (10, LexiconFault::Unsorted), "the first that shares no letter");
}

#[test]
fn a_codebook_that_is_none_is_refused() {
    let change = |change: &dyn Fn(&mut Vec<u8>)| attack(|file| change(&mut file.sections[section::CODEBOOK]));
    assert_eq!(change(&|rows| put_u16(rows, 0, 3)), FormatError::RowEncoding { got: 3 });
    assert_eq!(change(&|rows| put_u16(rows, 2, 0)), FormatError::RowWidth { got: 0 });
    assert_eq!(change(&|rows| put_u16(rows, 2, 1025)), FormatError::RowWidth { got: 1025 });
    assert!(matches!(change(&|rows| put_u32(rows, 4, u32::MAX)), FormatError::SectionCut { .. }));
    assert!(matches!(change(&|rows| rows.push(0)), FormatError::SectionSurplus { left: 1, .. }));
    for scale in [f32::NAN, f32::INFINITY] {
        let got = change(&|rows| put_u32(rows, 8, scale.to_bits()));
        assert_eq!(got, FormatError::NotFinite { section: Kind::Codebook });
    }
    let fewer = change(&|rows| {
        let (width, count) = (4, (rows.len() - 8 - 16) / 4);
        put_u32(rows, 4, count as u32 - 1);
        rows.truncate(rows.len() - width);
    });
    assert!(matches!(fewer, FormatError::RowCount { .. }), "{fewer}");
}

#[test]
fn a_decoder_that_is_none_is_refused() {
    let change = |change: &dyn Fn(&mut Vec<u8>)| attack(|file| change(&mut file.sections[section::DECODER]));
    let fault = |stage: usize, field: usize, value: u8| match change(&|stages| stages[4 + 6 * stage + field] = value) {
        FormatError::Stage { index, fault } => (index, fault),
        other => panic!("stage {stage}, byte {field}: {other}"),
    };
    assert_eq!(change(&|stages| put_u16(stages, 0, 0)), FormatError::StageCount { got: 0 });
    assert_eq!(change(&|stages| put_u16(stages, 0, 33)), FormatError::StageCount { got: 33 });
    assert!(matches!(change(&|stages| put_u16(stages, 0, 32)), FormatError::SectionCut { .. }));
    assert_eq!(fault(1, 0, 4), (1, StageFault::UnknownOperation));
    assert_eq!(fault(1, 1, 2), (1, StageFault::UnknownActivation));
    assert_eq!(fault(1, 3, 1), (1, StageFault::Reserved));
    assert_eq!(fault(0, 0, 2), (0, StageFault::InputPlace));
    assert_eq!(fault(1, 0, 0), (1, StageFault::InputPlace));
    assert_eq!(fault(1, 4, 0), (1, StageFault::Channels));
    assert_eq!(fault(1, 5, 0xFF), (1, StageFault::Channels));
    assert_eq!(fault(2, 2, 2), (2, StageFault::ResidualPlace), "itself");
    assert_eq!(fault(2, 2, 200), (2, StageFault::ResidualPlace));
    assert_eq!(fault(2, 2, 1), (2, StageFault::ResidualShape), "other channels");
    assert_eq!(fault(3, 2, 0), (3, StageFault::ResidualShape), "behind an upsampling");
    let last = Container::open(&small()).sections[section::DECODER].len() - 2;
    assert_eq!(change(&|stages| put_u16(stages, last, 2)), FormatError::PictureChannels);
    let upsampling = [3, 0, 0xFF, 0, 1, 0].repeat(16);
    let towering = change(&|stages| {
        put_u16(stages, 0, 17);
        stages.truncate(10);
        stages.extend(&upsampling);
    });
    assert_eq!(towering, FormatError::Stage { index: 10, fault: StageFault::PictureSide });
}

#[test]
fn a_decoder_wider_than_its_codebook_is_refused() {
    let other = Container::open(&fixtures::named("pointwise").file());
    let got = attack(|file| {
        for index in [section::DECODER, section::WEIGHTS, section::PYRAMID] {
            file.sections[index].clone_from(&other.sections[index]);
        }
    });
    assert_eq!(got, FormatError::InputWidth { decoder: 5, codebook: 4 });
}

#[test]
fn rings_beyond_the_limit_are_refused_from_a_file_of_a_few_hundred_kilobytes() {
    // Pictures of 2,048 × 2,048 with 1,024 channels in every stage: weights of one channel fan out to many.
    let got = attack(|file| {
        let stages = &mut file.sections[section::DECODER];
        stages.truncate(10);
        stages.extend([3, 0, 0xFF, 0, 1, 0].repeat(9));
        for _ in 0..10 {
            stages.extend([1, 0, 0xFF, 0, 0, 4]);
            stages.extend([2, 0, 0xFF, 0, 0, 4]);
        }
        stages.extend([1, 0, 0xFF, 0, 1, 0]);
        put_u16(stages, 0, 31);
    });
    assert!(matches!(got, FormatError::ScratchTooLarge { elements } if elements > 1 << 26), "{got}");
}

#[test]
fn weights_that_are_missing_left_over_or_infinite_are_refused() {
    let change = |change: &dyn Fn(&mut Vec<u8>)| attack(|file| change(&mut file.sections[section::WEIGHTS]));
    let length = Container::open(&small()).sections[section::WEIGHTS].len();
    let expected = |got| FormatError::WeightsLength { expected: length, got };
    assert_eq!(change(&|weights| weights.truncate(length - 2)), expected(length - 2));
    assert_eq!(change(&|weights| weights.push(0)), expected(length + 1));
    for not_finite in [0x7C00, 0xFC00, 0x7E00] {
        let got = change(&|weights| put_u16(weights, length - 2, not_finite));
        assert_eq!(got, FormatError::NotFinite { section: Kind::Weights });
    }
}

#[test]
fn an_integer_decoder_whose_constants_are_out_of_range_is_refused() {
    let attack = |change: &dyn Fn(&mut Container)| {
        let mut container = Container::open(&integers());
        change(&mut container);
        error(&container.seal())
    };
    let weights = |at: usize, value: u8| attack(&|file| file.sections[section::WEIGHTS][at] = value);
    let stage = |index, fault| FormatError::Stage { index, fault };
    assert_eq!(weights(1, 16), stage(0, StageFault::Shift));
    assert_eq!(weights(2, 1), stage(0, StageFault::Reserved));
    assert_eq!(weights(4, 1), stage(0, StageFault::Reserved), "a multiplier for a stage that is not there");
    // Stage 0: 8 bytes, 6 · 8 of multipliers, 5 · 7 · 6 of bias and 2 that fill up.
    assert_eq!(weights(8 + 48 + 210, 1), stage(0, StageFault::Reserved), "behind the grid bias");
    // Stage 1: 8 bytes, 5 · 8 of constants, then taps of 6 inputs in 8 bytes.
    assert_eq!(weights(268 + 48 + 6, 1), stage(1, StageFault::Reserved), "a weight of no channel");
    assert_eq!(attack(&|file| put_u16(&mut file.sections[section::DECODER], 2, 2)), FormatError::Arithmetic { got: 2 });
    let relu = attack(&|file| file.sections[section::WEIGHTS][268] = 1);
    assert_eq!(relu, stage(1, StageFault::ZeroPoint), "0 is a ReLU's lowest value");
    let other = Container::open(&fixtures::named("residual pairs, nested").file());
    let rows = attack(&|file| {
        for index in [section::CODEBOOK, section::LEXICON] {
            file.sections[index].clone_from(&other.sections[index]);
        }
    });
    assert_eq!(rows, FormatError::IntegerRows);
}

#[test]
fn a_provenance_that_is_not_utf8_is_refused() {
    let got = attack(|file| file.sections[section::PROVENANCE][3] = 0xFF);
    assert_eq!(got, FormatError::ProvenanceNotUtf8 { at: 3 });
}

#[test]
fn a_header_that_states_too_little_or_too_much_scratch_is_refused() {
    let stated = Container::open(&small()).scratch_bytes;
    for wrong in [0, stated - 4, stated + 4, stated + 1, u32::MAX] {
        let got = attack(|file| file.scratch_bytes = wrong);
        assert_eq!(got, FormatError::ScratchBytes { stated: wrong, derived: stated as usize });
    }
}

#[test]
fn scratch_one_element_short_is_refused() {
    let file = small();
    let model = Model::read(&file).unwrap();
    assert!(Canvas::new(&model, &mut vec![0; model.scratch_len() - 1]).is_err());
}

#[test]
fn the_writer_states_the_length_that_it_needs_and_refuses_what_it_could_not_read() {
    let fixture = fixtures::named("version 1");
    let length = fixture.file().len();
    fixture.with_parts(|parts| {
        for room in [0, 1, length - 1] {
            let error = emit(parts, &mut vec![0; room]).unwrap_err().to_string();
            assert_eq!(error, format!("the file takes {length} bytes; there is room for {room}"));
        }
        assert_eq!(emit(parts, &mut vec![0; length]).unwrap(), length);
    });
    let refused = |change: &dyn Fn(&mut fixtures::Fixture)| {
        let mut fixture = fixture.clone();
        change(&mut fixture);
        fixture.with_parts(|parts| emit(parts, &mut vec![0; 1 << 20])).unwrap_err().to_string()
    };
    assert!(
        refused(&|fixture| if let StoredWeights::F16(weights) = &mut fixture.weights {
            weights[7] = 1e6;
        })
        .contains("not finite")
    );
    assert!(refused(&|fixture| fixture.words[2] = "x".repeat(300)).contains("longer than 48 bytes"));
    assert!(refused(&|fixture| fixture.words.swap(3, 4)).contains("not greater"));
    assert!(refused(&|fixture| drop(fixture.words.pop())).contains("codebook rows"));
    assert!(refused(&|fixture| fixture.stages[1].residual = Some(0xFF)).contains("does not come before"));
    let wide = StoredRows::Int8 { scales: vec![1.0; 65_540], values: vec![0; 65_540 * fixture.words.len()] };
    assert!(refused(&|fixture| fixture.rows = wide.clone()).contains("the codebook has 65540"));
}
