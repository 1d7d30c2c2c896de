//! The tokenizer of a base model's folder, and the tokens that end its texts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::TextStream;
use crate::{Error, Result};

/// What Qwen2.5, SmolLM2 and other base models were trained to stop on. Their `tokenizer_config.json` may
/// name the chat token instead, even where the weights never saw it.
const BASE_END: &str = "<|endoftext|>";
const GENERATION_CONFIG: &str = "generation_config.json";

/// Text to tokens and back, with the base's end token. Cloning is cheap.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    end_id: u32,
    stop_ids: Vec<u32>,
    vocab_size: usize,
    path: PathBuf,
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `folder`, and picks the end token: `end_token` if given, else
    /// `<|endoftext|>` where the vocabulary has it, else what `generation_config.json` or
    /// `tokenizer_config.json` says, else `<eos>` or `</s>`.
    ///
    /// # Errors
    /// If a file is missing or malformed, or no end token is found; the error names the file.
    pub fn from_folder(folder: &Path, end_token: Option<&str>) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes)
            .map_err(|e| Error::file(&path, format!("not a tokenizer of the `tokenizers` library: {e}")))?;
        // A file may carry the limits of the run that saved it; here every text is encoded whole.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| Error::file(&path, e.to_string()))?;
        let highest = inner.get_vocab(true).into_values().max();
        let vocab_size = highest.map_or(0, |id| id as usize + 1);
        let end_id = end_id(&inner, folder, &path, end_token)?;
        let stop_ids = stop_ids(end_id, folder)?;
        Ok(Self { inner: Arc::new(inner), end_id, stop_ids, vocab_size, path })
    }

    /// Tokens of `text`, with nothing added before or after.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text, not even an unknown-token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false);
        let encoding = encoding.map_err(|e| Error::file(&self.path, format!("cannot encode a text: {e}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of `ids`, without special tokens.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = self.inner.decode(ids, true);
        text.map_err(|e| Error::file(&self.path, format!("cannot decode tokens: {e}")))
    }

    /// Tokens of `head` followed by `tail`, and how many of them are of the head: the tokens of the joined
    /// text where they begin with the head's own tokens, else the tokens of the two parts side by side
    /// (a generation starts from the head's own tokens, so these must come first).
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_joined(&self, head: &str, tail: &str) -> Result<(Vec<u32>, usize)> {
        let mut tokens = self.encode(head)?;
        let head_tokens = tokens.len();
        let joined = self.encode(&format!("{head}{tail}"))?;
        if joined.len() > head_tokens && joined.starts_with(&tokens) {
            return Ok((joined, head_tokens));
        }
        tokens.extend(self.encode(tail)?);
        Ok((tokens, head_tokens))
    }

    /// The token that ends a text.
    pub fn end_id(&self) -> u32 {
        self.end_id
    }

    /// Tokens that end a generation: the end token first, then every other `eos_token_id` of
    /// `generation_config.json`, which for chat models names the end of a turn too.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
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

fn end_id(inner: &tokenizers::Tokenizer, folder: &Path, path: &Path, wanted: Option<&str>) -> Result<u32> {
    if let Some(token) = wanted {
        let reason = || format!("has no token `{token}`, which the configuration names as end token");
        return inner.token_to_id(token).ok_or_else(|| Error::file(path, reason()));
    }
    if let Some(id) = inner.token_to_id(BASE_END) {
        return Ok(id);
    }
    if let Some(id) = from_generation_config(inner, folder)? {
        return Ok(id);
    }
    if let Some(id) = from_tokenizer_config(inner, folder)? {
        return Ok(id);
    }
    let usual = ["<eos>", "</s>"].iter().find_map(|token| inner.token_to_id(token));
    usual.ok_or_else(|| {
        Error::file(path, "no end token found: name one in the configuration (model.end_token)")
    })
}

/// The first `eos_token_id` there, which must be a token.
fn from_generation_config(inner: &tokenizers::Tokenizer, folder: &Path) -> Result<Option<u32>> {
    let Some(&id) = generation_ends(folder)?.first() else { return Ok(None) };
    let reason = || format!("eos_token_id {id} is no token of tokenizer.json");
    match inner.id_to_token(id) {
        Some(_) => Ok(Some(id)),
        None => Err(Error::file(folder.join(GENERATION_CONFIG), reason())),
    }
}

fn stop_ids(end_id: u32, folder: &Path) -> Result<Vec<u32>> {
    let mut ids = vec![end_id];
    for id in generation_ends(folder)? {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// `eos_token_id` of `generation_config.json`, a number or a list; none where there is no such file.
fn generation_ends(folder: &Path) -> Result<Vec<u32>> {
    let path = folder.join(GENERATION_CONFIG);
    let Some(config) = read_json(&path)? else { return Ok(Vec::new()) };
    let values = match config.get("eos_token_id") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.clone(),
        Some(value) => vec![value.clone()],
    };
    let id = |value: Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or(value);
    let ids = values.into_iter().map(id).collect::<std::result::Result<_, _>>();
    ids.map_err(|value| Error::file(&path, format!("eos_token_id {value} is no token id")))
}

/// `eos_token` there is a string or an object with `content`.
fn from_tokenizer_config(inner: &tokenizers::Tokenizer, folder: &Path) -> Result<Option<u32>> {
    let path = folder.join("tokenizer_config.json");
    let Some(config) = read_json(&path)? else { return Ok(None) };
    let token = match config.get("eos_token") {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_str().or_else(|| value.get("content").and_then(Value::as_str)),
    };
    let Some(token) = token else {
        return Err(Error::file(&path, "eos_token is neither a string nor an object with `content`"));
    };
    let reason = || format!("eos_token `{token}` is no token of tokenizer.json");
    inner.token_to_id(token).map(Some).ok_or_else(|| Error::file(&path, reason()))
}

/// `None` where there is no such file.
fn read_json(path: &Path) -> Result<Option<Value>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path, error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::file(path, format!("not JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::word_level;

    fn tiny(texts: &[&str]) -> tempfile::TempDir {
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

    #[test]
    fn joined_tokens_always_begin_with_the_tokens_of_the_head() {
        let folder = tiny(&["Answer: kitchen"]);
        let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
        // "kitchen" and "kitchens" are different words: the joined text would not begin with the head.
        let (tokens, head) = tokenizer.encode_joined("Answer: kit", "chen").unwrap();
        assert_eq!(tokens[..head], tokenizer.encode("Answer: kit").unwrap());
        let (tokens, head) = tokenizer.encode_joined("Answer:", " kitchen").unwrap();
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
            let joined = tokenizer.encode_joined("Answer:", " bathroom").unwrap();
            assert_eq!(joined, (vec![16_141, 25, 14_852], 2));
        }
    }
}
