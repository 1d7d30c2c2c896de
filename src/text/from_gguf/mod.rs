//! A tokenizer out of the metadata of a GGUF file, as the files that Hugging Face's libraries would have of it.

mod byte_pairs;
mod pieces;

use std::collections::{BTreeSet, HashSet};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

pub(super) use byte_pairs::{PRE, Pre};

use super::files::{Beside, TokenizerFiles};
use crate::Result;
use crate::error::shown;
use crate::gguf::{Gguf, Texts};

pub(super) const MODEL: &str = "tokenizer.ggml.model";
pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TOKEN_TYPE: &str = "tokenizer.ggml.token_type";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";
pub(super) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
/// The template of a chat, in Jinja.
pub(super) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// Types of tokens.
pub(super) const NORMAL: i128 = 1;
const UNKNOWN: i128 = 2;
pub(super) const CONTROL: i128 = 3;
pub(super) const USER_DEFINED: i128 = 4;

impl TokenizerFiles {
    /// What a GGUF file has in their place.
    ///
    /// # Errors
    /// A file without a tokenizer, of a kind of tokenizer that is not supported, or with entries that do not fit.
    pub fn in_gguf(gguf: &Gguf) -> Result<Self> {
        let vocabulary = Vocabulary::of(gguf)?;
        let form = match gguf.needed(MODEL, gguf.text(MODEL))? {
            "gpt2" => byte_pairs::form(gguf)?,
            "llama" => pieces::form(gguf, &vocabulary)?,
            other => {
                let reason = format!("`{MODEL}` is `{}`; supported are `gpt2` and `llama`", shown(other));
                return Err(gguf.fault(reason));
            }
        };
        let bos = if gguf.flag(ADD_BOS)?.unwrap_or(form.adds_bos) {
            let missing =
                || gguf.fault(format!("`{ADD_BOS}` is true, and there is no `tokenizer.ggml.bos_token_id`"));
            Some(vocabulary.bos.ok_or_else(missing)?)
        } else {
            None
        };
        let beside = |value: Value| Beside { path: gguf.path().to_owned(), text: Some(value.to_string()) };
        Ok(Self {
            path: gguf.path().to_owned(),
            tokenizer: tokenizer(gguf, form, &vocabulary, bos)?,
            config: beside(config(gguf, &vocabulary, bos.is_some())?),
            generation: beside(json!({ "eos_token_id": vocabulary.ends })),
            model: Beside { path: gguf.path().to_owned(), text: None },
        })
    }
}

/// The template of a chat that a file holds, if it does.
///
/// # Errors
/// A value of another kind.
pub(super) fn chat_template(gguf: &Gguf) -> Result<Option<String>> {
    Ok(gguf.text(CHAT_TEMPLATE)?.map(str::to_owned))
}

/// How texts become tokens.
struct Form<'a> {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Value,
    merges: Merges<'a>,
    /// Whether a word that is a token is one, whatever the merges say.
    ignore_merges: bool,
    /// The token for what no other is for, where a character without one is written in bytes.
    unknown: Option<String>,
    /// Whether texts begin with the begin token where the file does not say.
    adds_bos: bool,
}

/// Pairs of tokens that become one, the first ones first.
enum Merges<'a> {
    /// As a file has them, with a space between the two.
    Written(&'a Texts),
    /// Found in the vocabulary.
    Found(Vec<(&'a str, &'a str)>),
}

/// The tokens of a file.
struct Vocabulary<'a> {
    tokens: &'a Texts,
    /// Their types; none where the file has none.
    types: Vec<i128>,
    /// Those that a text is cut at, and whether they are control tokens.
    added: Vec<(usize, bool)>,
    bos: Option<usize>,
    eos: Option<usize>,
    /// The tokens that end a generation.
    ends: Vec<usize>,
}

impl<'a> Vocabulary<'a> {
    fn of(gguf: &'a Gguf) -> Result<Self> {
        let tokens = gguf.needed(TOKENS, gguf.texts(TOKENS))?;
        let mut seen = HashSet::new();
        if let Some(token) = tokens.iter().find(|token| !token.is_empty() && !seen.insert(*token)) {
            return Err(gguf.fault(format!("`{TOKENS}` has `{}` twice", shown(token))));
        }
        let id = |key: &str| named(gguf, tokens, &format!("tokenizer.ggml.{key}_token_id"));
        let (bos, eos, eot) = (id("bos")?, id("eos")?, id("eot")?);
        let mut ends: Vec<usize> = eos.into_iter().chain(eot).collect();
        ends.dedup();
        let types = types(gguf, tokens.len())?;
        let of_type =
            |wanted| types.iter().enumerate().filter(move |(_, found)| **found == wanted).map(|(id, _)| id);
        let controls = of_type(CONTROL).chain(of_type(UNKNOWN));
        let controls: BTreeSet<usize> = controls.chain(bos).chain(ends.iter().copied()).collect();
        let users = of_type(USER_DEFINED).filter(|id| !controls.contains(id)).map(|id| (id, false));
        let mut added: Vec<(usize, bool)> = users.chain(controls.iter().map(|&id| (id, true))).collect();
        added.sort_unstable();
        Ok(Self { tokens, types, added, bos, eos, ends })
    }

    /// How a token is written. One without a text is never a part of one, and gets a name.
    fn spelled(&self, id: usize) -> String {
        match self.tokens.get(id).unwrap_or_default() {
            "" => format!("[EMPTY_{id}]"),
            token => token.to_owned(),
        }
    }
}

/// The token that `key` names, if the key is there.
fn named(gguf: &Gguf, tokens: &Texts, key: &str) -> Result<Option<usize>> {
    let Some(id) = gguf.whole(key)? else { return Ok(None) };
    match id < tokens.len() {
        true => Ok(Some(id)),
        false => Err(gguf.fault(format!("`{key}` is {id}, and there are {} tokens", tokens.len()))),
    }
}

/// The types of all tokens; none where the file has none.
fn types(gguf: &Gguf, tokens: usize) -> Result<Vec<i128>> {
    let Some(value) = gguf.value(TOKEN_TYPE) else { return Ok(Vec::new()) };
    let types: Option<Vec<i128>> = value.wholes().map(Iterator::collect);
    match types.filter(|types| types.len() == tokens) {
        Some(types) => Ok(types),
        None => Err(gguf.unfit(TOKEN_TYPE, value, &format!("a whole number for each of {tokens} tokens"))),
    }
}

/// `tokenizer.json`.
#[derive(Serialize)]
struct File<'a> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<Value>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Value,
    model: Model<'a>,
}

#[derive(Serialize)]
struct Model<'a> {
    r#type: &'static str,
    dropout: (),
    unk_token: Option<String>,
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    #[serde(serialize_with = "by_id")]
    vocab: &'a Vocabulary<'a>,
    #[serde(serialize_with = "in_order")]
    merges: Merges<'a>,
}

fn by_id<S: Serializer>(vocabulary: &&Vocabulary<'_>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map((0..vocabulary.tokens.len()).map(|id| (vocabulary.spelled(id), id)))
}

fn in_order<S: Serializer>(merges: &Merges<'_>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match merges {
        Merges::Written(pairs) => serializer.collect_seq(pairs.iter()),
        Merges::Found(pairs) => serializer.collect_seq(pairs),
    }
}

fn tokenizer(
    gguf: &Gguf,
    form: Form<'_>,
    vocabulary: &Vocabulary<'_>,
    bos: Option<usize>,
) -> Result<Vec<u8>> {
    let added = vocabulary.added.iter().map(|&(id, special)| {
        json!({
            "id": id, "content": vocabulary.spelled(id), "special": special,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    });
    let file = File {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: added.collect(),
        normalizer: form.normalizer,
        pre_tokenizer: form.pre_tokenizer,
        post_processor: bos.map(|id| begins_with(id, &vocabulary.spelled(id))),
        decoder: form.decoder,
        model: Model {
            r#type: "BPE",
            dropout: (),
            fuse_unk: form.unknown.is_some(),
            byte_fallback: form.unknown.is_some(),
            unk_token: form.unknown,
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            ignore_merges: form.ignore_merges,
            vocab: vocabulary,
            merges: form.merges,
        },
    };
    serde_json::to_vec(&file).map_err(|fault| gguf.fault(format!("its tokenizer cannot be written: {fault}")))
}

/// A post-processor that puts a token before every text.
fn begins_with(id: usize, token: &str) -> Value {
    let special = |part| json!({"SpecialToken": {"id": token, "type_id": part}});
    let text = |name, part| json!({"Sequence": {"id": name, "type_id": part}});
    json!({
        "type": "TemplateProcessing",
        "single": [special(0), text("A", 0)],
        "pair": [special(0), text("A", 0), special(1), text("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}},
    })
}

/// `tokenizer_config.json`.
fn config(gguf: &Gguf, vocabulary: &Vocabulary<'_>, adds_bos: bool) -> Result<Value> {
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "add_bos_token": adds_bos,
    });
    let id = |key: &str| named(gguf, vocabulary.tokens, &format!("tokenizer.ggml.{key}_token_id"));
    let tokens =
        [("bos", vocabulary.bos), ("eos", vocabulary.eos), ("pad", id("padding")?), ("unk", id("unknown")?)];
    for (name, id) in tokens {
        if let Some(id) = id {
            config[format!("{name}_token")] = vocabulary.spelled(id).into();
        }
    }
    if let Some(template) = chat_template(gguf)? {
        config["chat_template"] = template.into();
    }
    Ok(config)
}
