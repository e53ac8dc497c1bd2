//! Text to CLIP's token ids: lower case, byte-pair merges inside words, a mark at the start and one at the end.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokenizers::Tokenizer;

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// What is split off before merging: contractions, words, digits one by one, runs of signs.
const PIECES: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// Merges that OpenAI's models use of the 262,144 in their file: 49,152 − 256 − 2.
const OPENAI_MERGES: usize = 48_894;
const OPENAI_FILE: &str = "bpe_simple_vocab_16e6.txt.gz";

/// CLIP's tokenizer.
#[derive(Debug)]
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    start: u32,
    end: u32,
    hash: String,
}

impl ClipTokenizer {
    /// Reads what a model's folder has: `tokenizer.json`, `merges.txt` or OpenAI's `bpe_simple_vocab_16e6.txt.gz`; or one
    /// of these files itself.
    ///
    /// # Errors
    /// If there is none of them, or it is damaged.
    pub fn load(path: &Path) -> Result<Self> {
        let names = ["tokenizer.json", "merges.txt", OPENAI_FILE];
        let file = if path.is_dir() {
            let found = names.iter().map(|name| path.join(name)).find(|file| file.is_file());
            found.with_context(|| format!("{} has no tokenizer: none of {}", path.display(), names.join(", ")))?
        } else {
            path.to_owned()
        };
        Self::read(&file).with_context(|| format!("{} is no tokenizer of a CLIP", file.display()))
    }

    fn read(file: &Path) -> Result<Self> {
        let bytes = fs::read(file).context("it cannot be read")?;
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let ends = |end: &str| file.to_string_lossy().ends_with(end);
        let json = if ends(".json") {
            bytes
        } else if ends(".gz") {
            let mut text = String::new();
            MultiGzDecoder::new(File::open(file)?).read_to_string(&mut text).context("it does not unpack")?;
            from_merges(&text, OPENAI_MERGES)?
        } else {
            from_merges(&String::from_utf8(bytes).context("it is no text")?, usize::MAX)?
        };
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| anyhow!("{error}"))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| anyhow!("{error}"))?;
        let id = |token| tokenizer.token_to_id(token).with_context(|| format!("it has no {token}"));
        let (start, end) = (id(START)?, id(END)?);
        ensure!(
            end as usize + 1 == tokenizer.get_vocab_size(true),
            "{END} has the id {end}; it must be the last one, for that is how its place is found"
        );
        Ok(Self { tokenizer, start, end, hash })
    }

    /// SHA-256 of the file, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The largest id.
    pub fn last_id(&self) -> usize {
        self.end as usize
    }

    /// A text's ids between the two marks, at most `longest` in all: what is more is cut off before the end mark.
    ///
    /// # Errors
    /// If the text does not encode.
    pub fn encode(&self, text: &str, longest: usize) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode(text, false).map_err(|error| anyhow!("\"{text}\": {error}"))?;
        let room = longest.saturating_sub(2);
        let inside = encoding.get_ids().iter().take(room).copied();
        Ok(std::iter::once(self.start).chain(inside).chain([self.end]).collect())
    }
}

/// A `tokenizer.json` from a file of merges whose first line is a heading; at most `most` merges.
fn from_merges(text: &str, most: usize) -> Result<Vec<u8>> {
    let symbols = byte_symbols();
    let mut tokens: Vec<String> = symbols.iter().map(char::to_string).collect();
    tokens.extend(symbols.iter().map(|symbol| format!("{symbol}</w>")));
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1).take(most) {
        let mut parts = line.split_whitespace();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(first), Some(second), None) => {
                tokens.push(format!("{first}{second}"));
                merges.push(format!("{first} {second}"));
            }
            (None, ..) => {}
            _ => bail!("line {} is no pair of symbols: {line:?}", number + 1),
        }
    }
    tokens.extend([START.to_owned(), END.to_owned()]);
    let count = tokens.len();
    let vocabulary: Map<String, Value> = tokens.into_iter().zip((0..count).map(Value::from)).collect();
    ensure!(vocabulary.len() == count, "a token comes out of two different merges");
    let special = |content: &str| {
        json!({ "id": vocabulary[content], "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    };
    let json = json!({
        "version": "1.0",
        "added_tokens": [special(START), special(END)],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": "\\s+" }, "content": " " },
            { "type": "Lowercase" },
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": PIECES }, "behavior": "Removed", "invert": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": END, "continuing_subword_prefix": "",
                   "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false,
                   "vocab": vocabulary, "merges": merges },
    });
    Ok(serde_json::to_vec(&json)?)
}

/// The characters that stand for the 256 bytes, in the order of their ids: printable ones for themselves first, then the
/// others from U+0100 on.
fn byte_symbols() -> Vec<char> {
    let printable = (b'!'..=b'~').chain(0xa1..=0xac).chain(0xae..=0xff);
    let others = (0x100..).map_while(char::from_u32);
    let hidden = 256 - printable.clone().count();
    printable.map(char::from).chain(others.take(hidden)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::golden::shared;
    use super::*;

    #[test]
    fn openais_merges_give_openais_ids() {
        let Some(path) = shared("clip-text/bpe_simple_vocab_16e6.txt.gz") else {
            eprintln!("skipped openais_merges_give_openais_ids: ../shared/data/clip-text is not here");
            return;
        };
        let tokenizer = ClipTokenizer::load(&path).unwrap();
        // transformers.CLIPTokenizer on the same merges.
        let expected: [(&str, &[u32]); 4] = [
            ("a photo of a cat.", &[49406, 320, 1125, 539, 320, 2368, 269, 49407]),
            ("A  Photo of the\nCafé, isn't it?", &[49406, 320, 1125, 539, 518, 15304, 267, 2923, 713, 585, 286, 49407]),
            ("don't 2024 !!! 零", &[49406, 847, 713, 273, 271, 273, 275, 995, 165, 249, 370, 49407]),
            ("itap of my kit fox's den", &[49406, 529, 2728, 539, 607, 4274, 3240, 568, 1181, 49407]),
        ];
        for (text, ids) in expected {
            assert_eq!(tokenizer.encode(text, 77).unwrap(), ids, "{text}");
        }
        assert_eq!(tokenizer.encode("a photo of a cat.", 5).unwrap(), [49406, 320, 1125, 539, 49407]);
    }

    #[test]
    fn merges_apply_in_their_order_inside_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("merges.txt");
        fs::write(&path, "#version: 0.2\nc a\nca t</w>\na t</w>\n").unwrap();
        let tokenizer = ClipTokenizer::load(folder.path()).unwrap();
        let id = |symbol: &str| tokenizer.tokenizer.token_to_id(symbol).unwrap();
        assert_eq!((id("!"), id("a</w>"), id("ca"), id(START), id(END)), (0, 256 + 64, 512, 515, 516));
        let inside = |text: &str| {
            let ids = tokenizer.encode(text, 77).unwrap();
            assert_eq!((ids[0], ids[ids.len() - 1]), (515, 516));
            ids[1..ids.len() - 1].to_vec()
        };
        assert_eq!(inside("Cat at"), [id("cat</w>"), id("at</w>")]);
        assert_eq!(inside("cats"), [id("ca"), id("t"), id("s</w>")]);
        assert_eq!(inside("é"), [id("Ã"), id("©</w>")], "its two bytes");
    }

    #[test]
    fn what_is_no_tokenizer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let fault = || format!("{:#}", ClipTokenizer::load(folder.path()).unwrap_err());
        assert!(fault().contains("merges.txt"));
        fs::write(folder.path().join("merges.txt"), "#version\na b c\n").unwrap();
        assert!(fault().contains("merges.txt") && fault().contains("line 2"), "{}", fault());
        fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
        assert!(fault().contains("tokenizer.json"), "{}", fault());
    }
}
