//! A word-level tokenizer, for models so small that their whole vocabulary can be listed.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use crate::{Error, Result};

/// Name of the file that holds a tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Name of the file that says which of its tokens are special.
pub const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";

/// Padding, end of text and unknown word: ids 0, 1 and 2.
const SPECIALS: [&str; 3] = ["<pad>", "<eos>", "<unk>"];

/// Writes `tokenizer.json` and `tokenizer_config.json` of a tokenizer that knows every word of `texts`.
///
/// Words are split at whitespace, punctuation marks and digits stand alone, and `<name>` is kept whole.
/// Ids follow first appearance, so the same texts give the same tokenizer.
///
/// # Errors
/// If the folder cannot be written.
pub fn save<T: AsRef<str>>(folder: &Path, texts: impl IntoIterator<Item = T>) -> Result<()> {
    let splitter = Splitter::new();
    let mut seen: HashSet<String> = SPECIALS.iter().map(|&s| s.to_owned()).collect();
    let (mut names, mut words) = (Vec::new(), Vec::new());
    for text in texts {
        for (word, kept_whole) in splitter.words(text.as_ref()) {
            if seen.insert(word.clone()) {
                if kept_whole { names.push(word) } else { words.push(word) }
            }
        }
    }
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    write(&folder.join(TOKENIZER_FILE), &tokenizer_json(&names, &words))?;
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
        "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>",
    });
    write(&folder.join(TOKENIZER_CONFIG_FILE), &config)
}

/// Splits texts as the saved tokenizer does.
pub(crate) struct Splitter(PreTokenizerWrapper);

impl Splitter {
    pub(crate) fn new() -> Self {
        let splitter = serde_json::from_value(pre_tokenizer_json());
        Self(splitter.expect("the splitting rules are a valid pre-tokenizer"))
    }

    /// The words of a text, and whether each is a `<name>` that is kept whole.
    pub(crate) fn words(&self, text: &str) -> Vec<(String, bool)> {
        let mut words = Vec::new();
        let mut rest = text;
        while let Some((start, end)) = next_name(rest) {
            self.plain(&rest[..start], &mut words);
            words.push((rest[start..end].to_owned(), true));
            rest = &rest[end..];
        }
        self.plain(rest, &mut words);
        words
    }

    /// Number of tokens of a text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.words(text).len()
    }

    fn plain(&self, text: &str, words: &mut Vec<(String, bool)>) {
        let mut pieces = PreTokenizedString::from(text);
        // Splitting at whitespace, punctuation and digits has no failing case.
        if self.0.pre_tokenize(&mut pieces).is_ok() {
            let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
            words.extend(splits.into_iter().map(|(word, _, _)| (word.to_owned(), false)));
        }
    }
}

/// Byte range of the first `<name>`, of letters, digits, `/` and `_`.
fn next_name(text: &str) -> Option<(usize, usize)> {
    for (start, _) in text.match_indices('<') {
        let inside = &text[start + 1..];
        let length = inside.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"/_".contains(b)).count();
        if length > 0 && inside.as_bytes().get(length) == Some(&b'>') {
            return Some((start, start + length + 2));
        }
    }
    None
}

fn tokenizer_json(names: &[String], words: &[String]) -> Value {
    let specials = SPECIALS.iter().map(|&s| (s, true));
    let added: Vec<(&str, bool)> = specials.chain(names.iter().map(|n| (n.as_str(), false))).collect();
    let all = added.iter().map(|&(name, _)| name).chain(words.iter().map(String::as_str));
    let vocab: serde_json::Map<String, Value> =
        all.enumerate().map(|(id, word)| (word.to_owned(), json!(id))).collect();
    let added: Vec<Value> =
        added.iter().enumerate().map(|(id, (name, special))| added_json(id, name, *special)).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pre_tokenizer_json(), "post_processor": null,
        "decoder": decoder_json(),
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    })
}

fn added_json(id: usize, name: &str, special: bool) -> Value {
    json!({
        "id": id, "content": name, "special": special, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false,
    })
}

/// Joins words by spaces, without one before a full stop, comma or question mark, or between the digits of a
/// number.
fn decoder_json() -> Value {
    json!({"type": "Sequence", "decoders": [
        {"type": "WordPiece", "prefix": "##", "cleanup": true},
        {"type": "Fuse"},
        {"type": "Replace", "pattern": {"Regex": r"(?<=\d) (?=\d)"}, "content": ""},
    ]})
}

fn pre_tokenizer_json() -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"},
        {"type": "Punctuation", "behavior": "Isolated"},
        {"type": "Digits", "individual_digits": true},
    ]})
}

fn write(path: &Path, value: &Value) -> Result<()> {
    std::fs::write(path, format!("{value:#}\n")).map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Tokenizer;

    #[test]
    fn every_word_of_the_texts_gets_its_own_token_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let text = "doc_12: Mary Event 2: Mary moved to the kitchen. <support> Where?";
        save(folder.path(), [text]).unwrap();
        let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
        let ids = tokenizer.encode(text).unwrap();
        // doc _ 1 2 : Mary Event 2 : Mary moved to the kitchen . <support> Where ?
        assert_eq!(ids.len(), 18);
        assert_eq!(tokenizer.end_id(), 1);
        let decoded = tokenizer.decode(&ids).unwrap();
        assert_eq!(decoded, "doc _ 12 : Mary Event 2 : Mary moved to the kitchen. <support> Where?");
        assert_eq!(tokenizer.encode("zebra").unwrap(), [2]);
        let ended = [tokenizer.encode(" kitchen").unwrap(), vec![tokenizer.end_id()]].concat();
        assert_eq!(tokenizer.decode(&ended).unwrap(), "kitchen");
    }

    #[test]
    fn the_splitter_agrees_with_the_saved_tokenizer() {
        let folder = tempfile::tempdir().unwrap();
        let texts = ["a <x> b<y>c.", "1 < 2 and 3 > 2", "<not a name> (x) \"q\" don't", "", "  \n "];
        save(folder.path(), texts).unwrap();
        let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
        let splitter = Splitter::new();
        for text in texts {
            assert_eq!(tokenizer.encode(text).unwrap().len(), splitter.count(text), "{text}");
            assert!(!tokenizer.encode(text).unwrap().contains(&2), "{text}");
        }
    }

    #[test]
    fn the_same_texts_give_the_same_files() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&a, &b] {
            save(folder.path(), ["one two three", "two four"]).unwrap();
        }
        let read = |f: &tempfile::TempDir| std::fs::read(f.path().join("tokenizer.json")).unwrap();
        assert_eq!(read(&a), read(&b));
    }
}
