//! A tokenizer's files as the metadata of a GGUF file: the way back from what [`TokenizerFiles::in_gguf`] does.
//!
//! The entries are those of llama.cpp's `convert_hf_to_gguf.py` for tokenizers that merge pairs of bytes.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::from_gguf::{
    ADD_BOS, CHAT_TEMPLATE, CONTROL, MERGES, MODEL, NORMAL, PRE, Pre, TOKEN_TYPE, TOKENS, USER_DEFINED,
};
use super::marks::configured_token;
use super::{Tokenizer, TokenizerFiles};
use crate::files::parse_json;
use crate::gguf::Metadata;
use crate::{Error, Result};

/// A row of the embedding without a token.
const UNUSED: i128 = 5;

/// What is read of `tokenizer.json`.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    model: Value,
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
    #[serde(default)]
    special: bool,
}

/// Sets the entries of a tokenizer with its files, for a model whose embedding has `rows` rows; `chat_template` is that
/// of the base.
///
/// # Errors
/// A tokenizer of a kind that llama.cpp's files cannot say, or that perk could not read back.
pub fn tokenizer_to_gguf(
    files: &TokenizerFiles,
    tokenizer: &Tokenizer,
    chat_template: Option<&str>,
    rows: usize,
    metadata: &mut Metadata,
) -> Result<()> {
    let path = &files.path;
    let text = str::from_utf8(&files.tokenizer).map_err(|_| Error::file(path, "is no text in UTF-8"))?;
    let file: File = parse_json(path, text)?;
    let pre =
        Pre::of_file(&file.normalizer, &file.pre_tokenizer, &file.model).ok_or_else(|| foreign(path))?;
    let (tokens, types) = tokens(&file, rows).map_err(|reason| Error::file(path, reason))?;
    let merges = merges(&file.model).ok_or_else(|| foreign(path))?;
    metadata.set_text(MODEL, "gpt2");
    metadata.set_text(PRE, pre.name());
    metadata.set_texts(TOKENS, tokens.iter().map(String::as_str));
    metadata.set_wholes(TOKEN_TYPE, &types);
    metadata.set_texts(MERGES, merges.iter().map(String::as_str));
    marks_to_gguf(tokenizer, metadata);
    for (key, field) in [("bos", "bos_token"), ("padding", "pad_token")] {
        let key = format!("tokenizer.ggml.{key}_token_id");
        if let Some(id) = configured_token(files, field)?.and_then(|token| tokenizer.token_id(&token))
            && !metadata.has(&key)
        {
            metadata.set_whole(&key, id);
        }
    }
    if let Some(template) = chat_template {
        metadata.set_text(CHAT_TEMPLATE, template);
    }
    Ok(())
}

/// Sets the tokens that begin and end texts to those of `tokenizer`. A file names two that end one: `eos`, and `eot` for
/// the end of a turn.
pub fn marks_to_gguf(tokenizer: &Tokenizer, metadata: &mut Metadata) {
    let key = |name: &str| format!("tokenizer.ggml.{name}_token_id");
    metadata.set_flag(ADD_BOS, !tokenizer.begin().is_empty());
    let begin = tokenizer.begin().iter().map(|id| ("bos", id));
    for (name, &id) in begin.chain(["eos", "eot"].into_iter().zip(tokenizer.stop_ids())) {
        metadata.set_whole(&key(name), id);
    }
}

fn foreign(path: &Path) -> Error {
    Error::file(
        path,
        "is a tokenizer that perk does not write into GGUF files (it merges no pairs of bytes, or cuts texts by another \
         rule than GPT-2's, SmolLM's, Qwen2's or Llama 3's): export with --format merged, and convert that folder with \
         llama.cpp's convert_hf_to_gguf.py",
    )
}

/// The token of each row and its type; rows without a token get a name that no text has.
fn tokens(file: &File, rows: usize) -> std::result::Result<(Vec<String>, Vec<i32>), String> {
    let mut tokens: Vec<Option<(String, i128)>> = vec![None; rows];
    let beyond =
        |token: &str, id| format!("`{token}` is token {id}, and the model has {rows} rows for tokens");
    let vocabulary = file.model.get("vocab").and_then(Value::as_object).into_iter().flatten();
    for (token, id) in vocabulary {
        let place = id.as_u64().and_then(|id| tokens.get_mut(usize::try_from(id).ok()?));
        *place.ok_or_else(|| beyond(token, id.to_string()))? = Some((token.clone(), NORMAL));
    }
    for Added { id, content, special } in &file.added_tokens {
        let place = tokens.get_mut(*id).ok_or_else(|| beyond(content, id.to_string()))?;
        *place = Some((content.clone(), if *special { CONTROL } else { USER_DEFINED }));
    }
    let named = tokens.into_iter().enumerate();
    let named = named.map(|(id, token)| token.unwrap_or_else(|| (format!("[PAD{id}]"), UNUSED)));
    Ok(named.map(|(token, kind)| (token, kind as i32)).unzip())
}

/// The pairs that are merged, a space between the two; files have them so, or as two texts.
fn merges(model: &Value) -> Option<Vec<String>> {
    let pair = |merge: &Value| match merge {
        Value::String(pair) => Some(pair.clone()),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(left), Value::String(right)] => Some(format!("{left} {right}")),
            _ => None,
        },
        _ => None,
    };
    model.get("merges")?.as_array()?.iter().map(pair).collect()
}
