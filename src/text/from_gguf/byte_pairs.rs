//! Tokens that are pairs of bytes, merged within words, as GPT-2 and most since have them.
//!
//! Source of the kinds of words: llama.cpp's `llama-vocab.cpp`, and the `tokenizer.json` of the models that they are named
//! after.

use serde_json::{Value, json};

use super::{Form, MERGES, Merges};
use crate::Result;
use crate::error::shown;
use crate::gguf::Gguf;

pub(in crate::text) const PRE: &str = "tokenizer.ggml.pre";

/// How a text is cut into words, before pairs are merged within them.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::text) struct Pre {
    /// The names that llama.cpp knows it by.
    names: &'static [&'static str],
    /// What a word is; without it the rule of GPT-2, which the library has.
    word: Option<&'static str>,
    /// Whether each digit is a word of its own.
    digits_apart: bool,
    /// Whether texts are put in Unicode's normal form C.
    normal_form: bool,
    /// Whether a word that is a token is one, whatever the merges say.
    ignore_merges: bool,
    /// Whether texts begin with the begin token where the file does not say.
    adds_bos: bool,
}

const GPT2: Pre = Pre {
    names: &["gpt-2", "gpt2"],
    word: None,
    digits_apart: false,
    normal_form: false,
    ignore_merges: false,
    adds_bos: false,
};

const PRES: [Pre; 4] = [
    GPT2,
    Pre { names: &["smollm", "starcoder", "refact", "command-r", "codeshell"], digits_apart: true, ..GPT2 },
    Pre {
        names: &["qwen2", "deepseek-r1-qwen"],
        word: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        normal_form: true,
        ..GPT2
    },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3"],
        word: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        ignore_merges: true,
        adds_bos: true,
        ..GPT2
    },
];

impl Pre {
    fn of(gguf: &Gguf) -> Result<&'static Self> {
        let name = gguf.needed(PRE, gguf.text(PRE))?;
        PRES.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
            let known: Vec<&str> = PRES.iter().flat_map(|pre| pre.names).copied().collect();
            let (name, known) = (shown(name), known.join(", "));
            gguf.fault(format!(
                "`{PRE}` is `{name}`, a way to cut texts that is not supported; supported are {known}"
            ))
        })
    }

    /// The way of a `tokenizer.json` with these parts, if it is one of those that are known.
    pub fn of_file(normalizer: &Value, pre_tokenizer: &Value, model: &Value) -> Option<&'static Self> {
        let normal_form = match normalizer["type"].as_str() {
            Some("NFC") => true,
            None if normalizer.is_null() => false,
            _ => return None,
        };
        if model["type"] != "BPE" || model["byte_fallback"].as_bool() == Some(true) {
            return None;
        }
        let ignore_merges = model["ignore_merges"].as_bool().unwrap_or(false);
        let steps = match pre_tokenizer["type"].as_str()? {
            "Sequence" => pre_tokenizer["pretokenizers"].as_array()?.as_slice(),
            _ => std::slice::from_ref(pre_tokenizer),
        };
        let same_steps = |pre: &&Self| {
            let own = pre.steps();
            own.len() == steps.len() && own.iter().zip(steps).all(|(own, step)| same_step(own, step))
        };
        let mut known =
            PRES.iter().filter(|pre| (pre.normal_form, pre.ignore_merges) == (normal_form, ignore_merges));
        known.find(same_steps)
    }

    /// llama.cpp's name of it.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    fn pre_tokenizer(&self) -> Value {
        json!({"type": "Sequence", "pretokenizers": self.steps()})
    }

    fn steps(&self) -> Vec<Value> {
        let bytes = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": self.word.is_none(),
        });
        let word = self.word.map(|word| {
            json!({"type": "Split", "pattern": {"Regex": word}, "behavior": "Isolated", "invert": false})
        });
        let digits = self.digits_apart.then(|| json!({"type": "Digits", "individual_digits": true}));
        digits.into_iter().chain(word).chain([bytes]).collect()
    }
}

/// Whether two steps cut alike: `trim_offsets` is about places in the text alone, and what is not said is the library's
/// default.
fn same_step(own: &Value, found: &Value) -> bool {
    let default = json!({"use_regex": true});
    let fields = own.as_object().into_iter().flatten().filter(|(key, _)| *key != "trim_offsets");
    fields.into_iter().all(|(key, value)| found.get(key).or_else(|| default.get(key)) == Some(value))
}

/// How texts become tokens.
///
/// # Errors
/// A file that does not say how texts are cut, or by a rule that is not supported, or has no merges.
pub(super) fn form(gguf: &Gguf) -> Result<Form<'_>> {
    let pre = Pre::of(gguf)?;
    Ok(Form {
        normalizer: pre.normal_form.then(|| json!({"type": "NFC"})),
        pre_tokenizer: Some(pre.pre_tokenizer()),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}),
        merges: Merges::Written(gguf.needed(MERGES, gguf.texts(MERGES))?),
        ignore_merges: pre.ignore_merges,
        unknown: None,
        adds_bos: pre.adds_bos,
    })
}
