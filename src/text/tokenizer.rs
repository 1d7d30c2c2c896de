//! The tokenizer of a base model's folder: the one place where the `tokenizers` library is entered.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::marks::Marks;
use super::prompt::{Part, Prompt};
use super::{TextStream, TokenizerFiles, controls::Controls};
use crate::error::shown;
use crate::panics::caught;
use crate::{Error, Result};

/// A decoder that cannot do its work shows it on the first tokens of the vocabulary.
const PROBE: u32 = 512;

/// Text to tokens and back, with the tokens that begin and end a text. Cloning is cheap.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    controls: Arc<Controls>,
    begin: Option<u32>,
    begin_token: String,
    end_id: u32,
    stop_ids: Vec<u32>,
    vocab_size: usize,
    path: PathBuf,
}

impl Tokenizer {
    /// As [`open`](Self::open), with the begin token that the tokenizer's own files say.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_folder(folder: &Path, end_token: Option<&str>) -> Result<Self> {
        Self::open(folder, end_token, None)
    }

    /// Reads `tokenizer.json` in `folder`, and picks two tokens.
    ///
    /// The end token is `end_token` if given, else `<|endoftext|>` where the vocabulary has it, else what
    /// `generation_config.json` or `tokenizer_config.json` says, else `<eos>` or `</s>`.
    ///
    /// The begin token is `begin_token` if given (`""` for none), else, as in transformers, `bos_token` of
    /// `tokenizer_config.json` where `add_bos_token` is true there, none where it is false, and where it is not
    /// said, what the post-processor of `tokenizer.json` puts before a text.
    ///
    /// # Errors
    /// If a file is missing or malformed, or no end token is found; the error names the file.
    pub fn open(folder: &Path, end_token: Option<&str>, begin_token: Option<&str>) -> Result<Self> {
        Self::read(&TokenizerFiles::in_folder(folder)?, end_token, begin_token)
    }

    /// As [`open`](Self::open), of files that are read already.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(files: &TokenizerFiles, end_token: Option<&str>, begin_token: Option<&str>) -> Result<Self> {
        let path = files.path.clone();
        let bytes = files.tokenizer.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&files.tokenizer);
        let inner = entered(&path, "not a tokenizer of the `tokenizers` library", || parse(bytes))?;
        let highest = inner.get_vocab(true).into_values().max();
        let vocab_size = highest.map_or(0, |id| id as usize + 1);
        let marks = Marks::read(files)?;
        let end_id = match end_token {
            Some(token) => named(&inner, &path, token, "end token")?,
            None => marks.end(&inner, &path)?,
        };
        let begin = match begin_token {
            Some("") => None,
            Some(token) => Some(named(&inner, &path, token, "begin token")?),
            None => marks.begin(&inner, &path)?,
        };
        let tokenizer = Self {
            controls: Arc::new(Controls::of(&inner)),
            begin_token: begin.and_then(|id| inner.id_to_token(id)).unwrap_or_default(),
            begin,
            end_id,
            stop_ids: marks.stops(end_id),
            vocab_size,
            inner: Arc::new(inner),
            path,
        };
        tokenizer.decode(&(0..PROBE.min(vocab_size as u32)).collect::<Vec<_>>())?;
        Ok(tokenizer)
    }

    /// The same tokenizer for texts that begin with `token`, `""` for none.
    ///
    /// # Errors
    /// If there is no such token.
    pub fn beginning_with(&self, token: &str) -> Result<Self> {
        let id = |token| named(&self.inner, &self.path, token, "begin token");
        let begin = Some(token).filter(|token| !token.is_empty()).map(id).transpose()?;
        Ok(Self { begin, begin_token: token.to_owned(), ..self.clone() })
    }

    /// Tokens of `text`, with nothing added before or after. Control tokens that are spelled out in it, as
    /// `<|endoftext|>` is in a text about language models, are words there like any other.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text, not even an unknown-token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.pieces(text)?;
        if !self.controls.has_any(&ids) {
            return Ok(ids);
        }
        // Of some vocabularies the control tokens are also words of the model: there they are taken apart.
        let pieces = self.controls.apart(text);
        Ok(pieces.into_iter().map(|piece| self.pieces(piece)).collect::<Result<Vec<_>>>()?.concat())
    }

    fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = entered(&self.path, "cannot encode a text", || self.inner.encode_fast(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokens of a prompt: the begin token, unless a chat template writes its own, and what follows it. Control tokens
    /// count as such where the template has them.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        let (mut tokens, rest) = self.up_to_the_last_control(prompt)?;
        tokens.extend(self.encode(&rest)?);
        Ok(tokens)
    }

    /// The begin token, and the tokens of a prompt up to the last control token of its template; and the text after
    /// that.
    fn up_to_the_last_control(&self, prompt: &Prompt) -> Result<(Vec<u32>, String)> {
        let begin = if prompt.has_own_begin() { &[] } else { self.begin() };
        let (mut tokens, mut text) = (begin.to_vec(), String::new());
        let whole = prompt.whole();
        for part in &whole {
            let mut rest = match part {
                Part::Own(own) => own.as_str(),
                Part::Given(given) => {
                    text += given;
                    continue;
                }
            };
            while let Some((before, control, after)) = self.controls.first_in(rest) {
                text += before;
                tokens.extend(self.encode(&std::mem::take(&mut text))?);
                tokens.push(control);
                rest = after;
            }
            text += rest;
        }
        Ok((tokens, text))
    }

    /// Text of `ids`, without special tokens.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        entered(&self.path, "cannot decode tokens", || self.inner.decode(ids, true))
    }

    /// Text of `ids`, special tokens as they are written.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn decode_all(&self, ids: &[u32]) -> Result<String> {
        entered(&self.path, "cannot decode tokens", || self.inner.decode(ids, false))
    }

    /// The token as the vocabulary writes it; empty for a number that no token has.
    pub fn piece(&self, id: u32) -> String {
        self.inner.id_to_token(id).unwrap_or_default()
    }

    /// Tokens of `prompt` followed by `tail`, and how many of them are of the prompt: the tokens of the joined
    /// text where they begin with the prompt's own tokens, else the tokens of the two parts side by side
    /// (a generation starts from the prompt's own tokens, so these must come first).
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_joined(&self, prompt: &Prompt, tail: &str) -> Result<(Vec<u32>, usize)> {
        let (mut tokens, rest) = self.up_to_the_last_control(prompt)?;
        let head = self.encode(&rest)?;
        let prompt_tokens = tokens.len() + head.len();
        let joined = self.encode(&format!("{rest}{tail}"))?;
        if joined.len() > head.len() && joined.starts_with(&head) {
            tokens.extend(joined);
        } else {
            tokens.extend(head);
            tokens.extend(self.encode(tail)?);
        }
        Ok((tokens, prompt_tokens))
    }

    /// The token that begins a segment or a prompt, if one does.
    pub fn begin(&self) -> &[u32] {
        self.begin.as_slice()
    }

    /// How the begin token is written; `""` if there is none.
    pub fn begin_token(&self) -> &str {
        &self.begin_token
    }

    /// The token that ends a text.
    pub fn end_id(&self) -> u32 {
        self.end_id
    }

    /// Tokens that end a generation: the end token first, then every other `eos_token_id` of
    /// `generation_config.json`, or where that names none of `config.json`. Those of chat models name the end of a turn
    /// too.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The control token that a text begins with, as it is spelled.
    pub(super) fn control_at_the_start_of<'t>(&self, text: &'t str) -> Option<&'t str> {
        let (before, _, after) = self.controls.first_in(text)?;
        before.is_empty().then(|| &text[..text.len() - after.len()])
    }

    /// Text of tokens that come one by one, without special tokens.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self, self.inner.decode_stream(true))
    }

    /// The file it was read from, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The id of a token given by its exact spelling.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// One more than the highest token id, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("path", &self.path)
            .field("end_id", &self.end_id)
            .finish_non_exhaustive()
    }
}

/// Calls the `tokenizers` library for the file `path`: its errors, and its panics on files of a form that it does not
/// expect, become ours.
pub(super) fn entered<T, E: std::fmt::Display>(
    path: &Path,
    failing: &str,
    call: impl FnOnce() -> std::result::Result<T, E>,
) -> Result<T> {
    match caught(call) {
        Ok(answer) => answer.map_err(|fault| Error::file(path, format!("{failing}: {fault}"))),
        Err(panic) => {
            let reason = format!(
                "{failing}: the `tokenizers` library panics on it ({panic}); is the file damaged, or made for another \
                 version?"
            );
            Err(Error::file(path, reason))
        }
    }
}

fn parse(bytes: &[u8]) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut inner = tokenizers::Tokenizer::from_bytes(bytes)?;
    // A file may carry the limits of the run that saved it; here every text is encoded whole.
    inner.with_padding(None);
    inner.with_truncation(None)?;
    inner.set_encode_special_tokens(true);
    Ok(inner)
}

fn named(inner: &tokenizers::Tokenizer, path: &Path, token: &str, what: &str) -> Result<u32> {
    let reason = || format!("has no token `{}`, which the configuration names as {what}", shown(token));
    inner.token_to_id(token).ok_or_else(|| Error::file(path, reason()))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::text::word_level;

    pub(in super::super) fn tiny(texts: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        word_level::save(folder.path(), texts).unwrap();
        folder
    }

    #[test]
    fn an_end_token_comes_from_the_configuration_then_generation_then_tokenizer_config() {
        let folder = tiny(&["a b </s>"]);
        let end = |token: Option<&str>| Tokenizer::from_folder(folder.path(), token).map(|t| t.end_id());
        assert_eq!(end(None).unwrap(), 1, "<eos> of tokenizer_config.json");
        assert_eq!(end(Some("b")).unwrap(), end(Some("a")).unwrap() + 1);
        std::fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": [2, 1]}"#).unwrap();
        assert_eq!(end(None).unwrap(), 2);
        std::fs::write(folder.path().join("generation_config.json"), r#"{"eos_token_id": 999}"#).unwrap();
        assert!(end(None).unwrap_err().to_string().contains("generation_config.json"));
        let error = end(Some("zebra")).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json") && error.contains("zebra"), "{error}");
    }

    #[test]
    fn a_generation_stops_at_the_end_token_and_at_every_other_that_the_base_names() {
        let folder = tiny(&["a b </s>"]);
        let stops = |token: Option<&str>| {
            Tokenizer::from_folder(folder.path(), token).map(|tokenizer| tokenizer.stop_ids().to_vec())
        };
        let config = |text: &str| std::fs::write(folder.path().join("generation_config.json"), text).unwrap();
        assert_eq!(stops(None).unwrap(), [1]);
        config(r#"{"eos_token_id": 2}"#);
        assert_eq!(stops(None).unwrap(), [2]);
        config(r#"{"eos_token_id": [2, 1, 2, 0]}"#);
        assert_eq!(stops(None).unwrap(), [2, 1, 0]);
        assert_eq!(stops(Some("<eos>")).unwrap(), [1, 2, 0], "the configured end token comes first");
        config(r#"{"eos_token_id": [1, "b"]}"#);
        let error = stops(Some("a")).unwrap_err().to_string();
        assert!(error.contains("generation_config.json") && error.contains("\"b\""), "{error}");
        std::fs::write(folder.path().join("config.json"), r#"{"eos_token_id": [2, 0]}"#).unwrap();
        config(r#"{"eos_token_id": 1}"#);
        assert_eq!(stops(None).unwrap(), [1], "the file for generations counts alone");
        config("{}");
        assert_eq!(stops(None).unwrap(), [1, 2, 0], "the end token stays what it was");
    }

    #[test]
    fn a_missing_or_broken_tokenizer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Tokenizer::from_folder(folder.path(), None).unwrap_err().to_string();
        assert!(open().contains("tokenizer.json"));
        std::fs::write(folder.path().join("tokenizer.json"), "{\"version\": \"1.0\", ").unwrap();
        assert!(open().contains("tokenizer.json"));
        word_level::save(folder.path(), ["a"]).unwrap();
        std::fs::write(folder.path().join("tokenizer_config.json"), "[").unwrap();
        assert!(open().contains("tokenizer_config.json"));
    }

    /// Changes a field of `tokenizer.json`.
    pub(in super::super) fn change(folder: &Path, key: &str, value: serde_json::Value) {
        let path = folder.join("tokenizer.json");
        let mut file: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        file[key] = value;
        std::fs::write(path, file.to_string()).unwrap();
    }

    #[test]
    fn a_file_on_which_the_library_panics_is_one_clear_error() {
        let open = |folder: &Path| Tokenizer::from_folder(folder, None).unwrap_err().to_string();
        let folder = tiny(&["a b"]);
        let strip = json!({"type": "Strip", "content": "a", "start": 0, "stop": 1_000});
        change(folder.path(), "decoder", strip);
        let error = open(folder.path());
        assert!(error.contains("tokenizer.json: cannot decode") && error.contains("panics"), "{error}");
        let path = folder.path().join("tokenizer.json");
        let whole = std::fs::read_to_string(&path).unwrap();
        let within = whole.find("\"decoder\":").unwrap() + "\"decoder\":{".len();
        std::fs::write(&path, &whole[..within]).unwrap();
        let error = open(folder.path());
        assert!(error.contains("tokenizer.json: not a tokenizer") && error.contains("panics"), "{error}");
    }

    #[test]
    fn a_prompt_begins_with_the_begin_token_and_an_answer_does_not() {
        let folder = tiny(&["a b c"]);
        let tokenizer = Tokenizer::open(folder.path(), None, Some("c")).unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|t| tokenizer.token_id(t).unwrap());
        assert_eq!(tokenizer.begin(), [c]);
        assert_eq!(tokenizer.encode("a b").unwrap(), [a, b]);
        assert_eq!(tokenizer.encode_prompt(&"a".into()).unwrap(), [c, a]);
        assert_eq!(tokenizer.encode_joined(&"a".into(), " b").unwrap(), (vec![c, a, b], 2));
        assert_eq!(tokenizer.beginning_with("").unwrap().encode_prompt(&"a".into()).unwrap(), [a]);
    }

    #[test]
    fn joined_tokens_always_begin_with_the_tokens_of_the_head() {
        let folder = tiny(&["Answer: kitchen"]);
        let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
        // "kitchen" and "kitchens" are different words: the joined text would not begin with the head.
        let (tokens, head) = tokenizer.encode_joined(&"Answer: kit".into(), "chen").unwrap();
        assert_eq!(tokens[..head], tokenizer.encode("Answer: kit").unwrap());
        let (tokens, head) = tokenizer.encode_joined(&"Answer:".into(), " kitchen").unwrap();
        assert_eq!((tokens.len(), head), (3, 2));
    }

    /// What holds of the real data that is not part of this repository.
    mod shared_data {
        use super::*;
        use crate::shared_folder::shared;

        #[test]
        #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
        fn qwen_tokens_are_the_published_ones_and_the_base_stops_on_endoftext() {
            let folder = shared("tokenizers/qwen2_5");
            let tokenizer = Tokenizer::from_folder(&folder, None).unwrap();
            let text = "Mary moved to the bathroom.";
            assert_eq!(tokenizer.encode(text).unwrap(), [41484, 7726, 311, 279, 14852, 13]);
            assert_eq!(tokenizer.decode(&[41484, 7726, 311, 279, 14852, 13]).unwrap(), text);
            assert_eq!((tokenizer.end_id(), tokenizer.vocab_size()), (151_643, 151_665));
            let chat = Tokenizer::from_folder(&folder, Some("<|im_end|>")).unwrap();
            assert_eq!(chat.end_id(), 151_645);
            let joined = tokenizer.encode_joined(&"Answer:".into(), " bathroom").unwrap();
            assert_eq!(joined, (vec![16_141, 25, 14_852], 2));
        }
    }
}
