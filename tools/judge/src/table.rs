//! The report as text for people.

use std::fmt::Write as _;

use crate::measure::Report;

/// The report in lines of at most 100 characters.
pub(crate) fn text(report: &Report) -> String {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let perhaps = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line(format!("{}, {} digits of {}", report.model, report.pictures, report.data));
    line(format!("The classifier reads {} of the originals right.", percent(report.originals_right)));
    line(String::new());
    line("  first            pictures   words name the digit,   words in use".to_owned());
    line(format!("  words      PSNR  read right   as text  by meaning   {:>12}", format!("of {}", report.vocabulary)));
    for prefix in &report.prefixes {
        line(format!(
            "  {:>5}  {:>5.2} dB  {:>10}  {:>8}  {:>10}   {:>12}",
            prefix.words,
            prefix.psnr,
            percent(prefix.pictures_right),
            perhaps(prefix.sentences_right),
            perhaps(prefix.meanings_right),
            prefix.words_in_use
        ));
    }
    line(String::new());
    line("  As text: a sentence encoder reads the words in a row; nearest of \"zero\" … \"nine\".".to_owned());
    line("  By meaning: the mean of the words' own features; nearest of the digits' captions.".to_owned());
    match report.sentences {
        Some(count) if count < report.pictures => line(format!("  As text is of the first {count} digits.")),
        Some(_) => {}
        None => line("  Give --language-model to have the words read as text.".to_owned()),
    }
    line(String::new());
    line("  The first word".to_owned());
    for (digit, words) in report.first_words.iter().enumerate() {
        let listed: Vec<String> =
            words.iter().map(|first| format!("{} {}", first.word, percent(first.share))).collect();
        line(format!("  of a {digit}   {}", if listed.is_empty() { "–".to_owned() } else { listed.join(", ") }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{FirstWord, Prefix};

    #[test]
    fn the_columns_stand_below_their_heads() {
        let prefix = |words, psnr, sentences_right| Prefix {
            words,
            psnr,
            pictures_right: 0.991,
            sentences_right,
            meanings_right: Some(1.0),
            words_in_use: 4096,
        };
        let report = Report {
            model: "m".to_owned(),
            data: "d".to_owned(),
            pictures: 5000,
            sentences: Some(1000),
            vocabulary: 4096,
            originals_right: 0.9931,
            prefixes: vec![prefix(1, 9.5, None), prefix(149, 27.25, Some(0.5))],
            first_words: vec![vec![FirstWord { word: "zero".to_owned(), share: 0.98 }], vec![]],
        };
        let text = text(&report);
        assert!(text.contains("      1   9.50 dB      99.1 %         –     100.0 %           4096\n"), "{text}");
        assert!(text.contains("    149  27.25 dB      99.1 %    50.0 %     100.0 %           4096\n"), "{text}");
        assert!(text.contains("  of a 0   zero 98.0 %\n  of a 1   –\n"), "{text}");
        assert!(text.contains("99.3 % of the originals"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100));
    }
}
