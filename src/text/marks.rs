//! The tokens that begin and end texts, as the files of a base say it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::{Encoding, Token, Tokenizer};

use super::files::{Beside, TokenizerFiles};
use super::tokenizer::entered;
use crate::error::shown;
use crate::files::parse_json;
use crate::{Error, Result};

/// What Qwen2.5, SmolLM2 and other base models were trained to stop on. Their `tokenizer_config.json` may
/// name the chat token instead, even where the weights never saw it.
const BASE_END: &str = "<|endoftext|>";

/// What `tokenizer_config.json` and `generation_config.json` say, checked.
#[derive(Debug, Default)]
pub(super) struct Marks {
    config: PathBuf,
    generation: PathBuf,
    /// Whether texts begin with `bos_token`, where the file says so or not so.
    add_bos: Option<bool>,
    bos: Option<String>,
    eos: Option<String>,
    /// `eos_token_id` for generations.
    ends: Vec<u32>,
    /// `eos_token_id` of the model, where the other file names none.
    model_ends: Vec<u32>,
}

impl Marks {
    /// Reads both files, and `config.json` for want of the second; each may be missing.
    ///
    /// # Errors
    /// A file that is no JSON object, or one of whose fields that are read here is of another form.
    pub(super) fn read(files: &TokenizerFiles) -> Result<Self> {
        let (config, generation) = (files.config.path.clone(), files.generation.path.clone());
        let mut marks = Self::default();
        if let Some(fields) = object(&files.config)? {
            let fault = |reason| Error::file(&config, reason);
            marks.add_bos = flag(&fields, "add_bos_token").map_err(fault)?;
            // Not used: only an answer ends, whatever it says. But a file that is wrong here is not to be trusted.
            flag(&fields, "add_eos_token").map_err(fault)?;
            marks.bos = token(&fields, "bos_token").map_err(fault)?;
            marks.eos = token(&fields, "eos_token").map_err(fault)?;
        }
        if let Some(fields) = object(&files.generation)? {
            marks.ends = ids(&fields, "eos_token_id").map_err(|reason| Error::file(&generation, reason))?;
        }
        if marks.ends.is_empty()
            && let Some(fields) = object(&files.model)?
        {
            let fault = |reason| Error::file(&files.model.path, reason);
            marks.model_ends = ids(&fields, "eos_token_id").map_err(fault)?;
        }
        Ok(Self { config, generation, ..marks })
    }

    /// The token that begins every text: as `add_bos_token` of `tokenizer_config.json` says, and where it says
    /// nothing, what the post-processor of `tokenizer.json` puts before a text. This is what transformers does.
    pub(super) fn begin(&self, inner: &Tokenizer, path: &Path) -> Result<Option<u32>> {
        match (self.add_bos, &self.bos) {
            (Some(false), _) => Ok(None),
            (Some(true), Some(bos)) => self.known(inner, "bos_token", bos).map(Some),
            (Some(true), None) => {
                Err(Error::file(&self.config, "`add_bos_token` is true, and there is no `bos_token`"))
            }
            (None, _) => processed(inner, path),
        }
    }

    /// The token that ends a text where the configuration names none.
    pub(super) fn end(&self, inner: &Tokenizer, path: &Path) -> Result<u32> {
        if let Some(id) = inner.token_to_id(BASE_END) {
            return Ok(id);
        }
        if let Some(&id) = self.ends.first() {
            let reason = || format!("`eos_token_id` is {id}, which is no token of tokenizer.json");
            return inner.id_to_token(id).map(|_| id).ok_or_else(|| Error::file(&self.generation, reason()));
        }
        if let Some(eos) = &self.eos {
            return self.known(inner, "eos_token", eos);
        }
        let usual = ["<eos>", "</s>"].iter().find_map(|token| inner.token_to_id(token));
        usual.ok_or_else(|| {
            Error::file(path, "no end token found: name one in the configuration (model.end_token)")
        })
    }

    /// Where generations stop: at `end`, and at every other token that the base names.
    pub(super) fn stops(&self, end: u32) -> Vec<u32> {
        let mut stops = vec![end];
        for &id in self.ends.iter().chain(&self.model_ends) {
            if !stops.contains(&id) {
                stops.push(id);
            }
        }
        stops
    }

    fn known(&self, inner: &Tokenizer, key: &str, token: &str) -> Result<u32> {
        let reason = || format!("`{key}` is `{}`, which is no token of tokenizer.json", shown(token));
        inner.token_to_id(token).ok_or_else(|| Error::file(&self.config, reason()))
    }
}

/// The token that the post-processor puts before a text.
fn processed(inner: &Tokenizer, path: &Path) -> Result<Option<u32>> {
    /// No tokenizer has so many tokens.
    const TEXT: u32 = u32::MAX;
    let text = Encoding::from_tokens(vec![Token::new(TEXT, String::new(), (0, 0))], 0);
    let whole = entered(path, "its post_processor fails", || inner.post_process(text, None, true))?;
    let before: Vec<u32> = whole.get_ids().iter().copied().take_while(|&id| id != TEXT).collect();
    match before.as_slice() {
        [] => Ok(None),
        &[id] if inner.id_to_token(id).is_some() => Ok(Some(id)),
        &[id] => {
            let reason =
                format!("its post_processor begins a text with the id {id}, which is none of its tokens");
            Err(Error::file(path, reason))
        }
        several => {
            let count = several.len();
            let reason = format!(
                "its post_processor begins a text with {count} tokens, and perk knows texts that begin with one: \
                 name that in the configuration (model.begin_token, \"\" for none)"
            );
            Err(Error::file(path, reason))
        }
    }
}

/// `None` where there is no such file.
fn object(Beside { path, text }: &Beside) -> Result<Option<Map<String, Value>>> {
    let Some(text) = text else { return Ok(None) };
    match parse_json(path, text)? {
        Value::Object(fields) => Ok(Some(fields)),
        _ => Err(Error::file(path, "is not a JSON object")),
    }
}

/// A field of a file, or what is wrong with it.
type Field<T> = std::result::Result<T, String>;

fn flag(fields: &Map<String, Value>, key: &str) -> Field<Option<bool>> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(other) => Err(format!("`{key}` is {other}, expected true, false or null")),
    }
}

/// A token is written as a string, or as an object with `content`.
fn token(fields: &Map<String, Value>, key: &str) -> Field<Option<String>> {
    let value = match fields.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    let token = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
    let reason = || format!("`{key}` is {value}, expected a string, an object with `content`, or null");
    token.map(|token| Some(token.to_owned())).ok_or_else(reason)
}

/// The token that a field of `tokenizer_config.json` names, if it names one.
///
/// # Errors
/// A file that is no JSON object, or a field of another form.
pub(super) fn configured_token(files: &TokenizerFiles, key: &str) -> Result<Option<String>> {
    let Some(fields) = object(&files.config)? else { return Ok(None) };
    token(&fields, key).map_err(|reason| Error::file(&files.config.path, reason))
}

/// One id or a list of them.
fn ids(fields: &Map<String, Value>, key: &str) -> Field<Vec<u32>> {
    let values = match fields.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    let id = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| format!("`{key}` has {value}, which is no token id"))
    };
    values.iter().map(id).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::text::{Tokenizer, word_level};

    /// A tokenizer of the words `a` and `b`, with `<bos>` as the last token.
    fn room() -> tempfile::TempDir {
        let room = tempfile::tempdir().unwrap();
        word_level::save(room.path(), ["a b <bos>"]).unwrap();
        room
    }

    fn write(room: &tempfile::TempDir, name: &str, change: impl FnOnce(&mut Value)) {
        let path = room.path().join(name);
        let mut value: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut value);
        fs::write(path, value.to_string()).unwrap();
    }

    /// A post-processor that puts `before` before a text.
    fn processor(before: &[(&str, u32)]) -> Value {
        let special = |(token, _): &(&str, u32)| json!({"SpecialToken": {"id": token, "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let tokens = before
            .iter()
            .map(|&(token, id)| (token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]})));
        json!({
            "type": "TemplateProcessing", "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
            "single": before.iter().map(special).chain([text.clone()]).collect::<Vec<_>>(),
            "special_tokens": tokens.collect::<Map<_, _>>(),
        })
    }

    fn begin(room: &tempfile::TempDir) -> Result<String> {
        Tokenizer::from_folder(room.path(), None).map(|tokenizer| tokenizer.begin_token().to_owned())
    }

    #[test]
    fn a_text_begins_as_the_tokenizers_own_files_say() {
        let room = room();
        assert_eq!(begin(&room).unwrap(), "", "a word-level tokenizer");
        write(&room, "tokenizer.json", |file| file["post_processor"] = processor(&[("<bos>", 3)]));
        assert_eq!(begin(&room).unwrap(), "<bos>");
        let set = |key: &str, value: Value| write(&room, "tokenizer_config.json", |file| file[key] = value);
        set("add_bos_token", json!(null));
        assert_eq!(begin(&room).unwrap(), "<bos>");
        set("add_bos_token", json!(false));
        assert_eq!(begin(&room).unwrap(), "");
        set("add_bos_token", json!(true));
        assert!(begin(&room).unwrap_err().to_string().contains("there is no `bos_token`"));
        set("bos_token", json!({"content": "b"}));
        assert_eq!(begin(&room).unwrap(), "b", "the explicit word counts");
        set("bos_token", json!("<s>"));
        assert!(begin(&room).unwrap_err().to_string().contains("`bos_token` is `<s>`"));
    }

    #[test]
    fn a_rule_that_perk_does_not_know_is_refused_unless_the_configuration_says_what_begins_a_text() {
        let room = room();
        let two = processor(&[("<bos>", 3), ("<pad>", 0)]);
        write(&room, "tokenizer.json", |file| file["post_processor"] = two);
        let message = begin(&room).unwrap_err().to_string();
        assert!(message.contains("tokenizer.json") && message.contains("model.begin_token"), "{message}");
        let named = |token: &str| Tokenizer::open(room.path(), None, Some(token));
        assert_eq!(named("<bos>").unwrap().begin_token(), "<bos>");
        assert_eq!(named("").unwrap().begin_token(), "");
        assert!(named("<s>").unwrap_err().to_string().contains("`<s>`"));
        write(&room, "tokenizer.json", |file| file["post_processor"] = processor(&[("<bos>", 99)]));
        assert!(begin(&room).unwrap_err().to_string().contains("the id 99"));
    }

    #[test]
    fn a_tokenizer_config_of_another_form_is_refused_with_the_key_and_what_was_found() {
        let room = room();
        let path = room.path().join("tokenizer_config.json");
        for (text, expected) in [
            ("[1]", "is not a JSON object"),
            ("{\"add_bos_token\": \"yes\"}", "`add_bos_token` is \"yes\""),
            ("{\"add_eos_token\": 1}", "`add_eos_token` is 1"),
            ("{\"bos_token\": 7}", "`bos_token` is 7"),
            ("{\"eos_token\": {\"id\": 1}}", "`eos_token` is {\"id\":1}"),
            ("{", "tokenizer_config.json:1: "),
        ] {
            fs::write(&path, text).unwrap();
            let message = begin(&room).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("tokenizer_config.json"), "{message}");
        }
        fs::write(&path, "\u{feff}{\"eos_token\": null, \"bos_token\": null, \"add_eos_token\": null}")
            .unwrap();
        assert_eq!(begin(&room).unwrap(), "");
    }
}
