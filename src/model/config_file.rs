//! `config.json` of a checkpoint: what all families share in it; the rest is in [`Form`](super::family::Form).

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{DecoderConfig, Family, RopeScaling};
use crate::{Error, Result};

/// Name of the file in a checkpoint's folder.
pub const CONFIG_FILE: &str = "config.json";

/// No dimension of a real decoder comes near this; a larger one is a damaged file.
const LARGEST: usize = 1 << 24;
const MOST_LAYERS: usize = 1 << 12;

/// What transformers takes where a file does not say.
const RMS_NORM_EPS: f64 = 1e-6;
const ROPE_THETA: f64 = 10_000.0;

impl DecoderConfig {
    /// Reads `config.json` of the checkpoint in `folder`.
    ///
    /// # Errors
    /// A missing or malformed file, a family or a variant (sliding window, other rope scalings, other
    /// activations, biases where the family has none) that this decoder does not compute.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        Self::from_json(&path, &text)
    }

    /// Parses the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// As [`DecoderConfig::from_folder`].
    pub fn from_json(path: &Path, text: &str) -> Result<Self> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| Error::data(path, e.line().max(1), e.to_string()))?;
        let Value::Object(mut fields) = value else {
            return Err(Error::file(path, "is not a JSON object"));
        };
        let config = read_fields(&mut fields).map_err(|reason| Error::file(path, reason))?;
        config.check().map_err(|reason| Error::file(path, reason))?;
        Ok(config)
    }

    /// The `config.json` that Hugging Face's transformers would write for this shape.
    ///
    /// `end_token` is the id of the token that ends a text.
    pub fn to_json(&self, end_token: u32) -> Value {
        let form = self.family.form();
        let mut json = json!({
            "architectures": [form.class],
            "attention_dropout": 0.0,
            "bos_token_id": null,
            "eos_token_id": end_token,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_positions,
            "model_type": form.model_type,
            "num_attention_heads": self.num_heads,
            "num_hidden_layers": self.num_layers,
            "num_key_value_heads": self.num_kv_heads,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "float32",
            "use_cache": true,
            "vocab_size": self.vocab_size,
        });
        let fields = json.as_object_mut().expect("json! made an object");
        fields.extend((form.own_fields)(self).as_object().expect("a family's fields are an object").clone());
        if form.head_dim.is_some() || self.head_dim * self.num_heads != self.hidden_size {
            fields.insert("head_dim".to_owned(), json!(self.head_dim));
        }
        json
    }

    /// Says what makes this shape impossible, if anything.
    ///
    /// # Errors
    /// The reason as a sentence without a subject.
    pub fn check(&self) -> std::result::Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size, LARGEST),
            ("hidden_size", self.hidden_size, LARGEST),
            ("intermediate_size", self.intermediate_size, LARGEST),
            ("num_hidden_layers", self.num_layers, MOST_LAYERS),
            ("num_attention_heads", self.num_heads, MOST_LAYERS),
            ("num_key_value_heads", self.num_kv_heads, MOST_LAYERS),
            ("head_dim", self.head_dim, LARGEST),
            ("max_position_embeddings", self.max_positions, usize::MAX),
        ];
        if let Some((name, size, most)) = sizes.iter().find(|(_, size, most)| *size == 0 || size > most) {
            return Err(format!("`{name}` is {size}, expected 1 to {most}"));
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            let (heads, kv) = (self.num_heads, self.num_kv_heads);
            return Err(format!("{heads} attention heads cannot share {kv} key-value heads evenly"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("`head_dim` is {}, rotary positions need an even width", self.head_dim));
        }
        let reals = [("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)];
        match reals.iter().find(|(_, x)| !x.is_finite() || *x <= 0.0) {
            Some((name, x)) => Err(format!("`{name}` is {x}, expected a positive number")),
            None => self.rope_scaling.map_or(Ok(()), RopeScaling::check),
        }
    }
}

impl RopeScaling {
    pub(super) fn to_json(self) -> Value {
        json!({
            "rope_type": "llama3",
            "factor": self.factor,
            "low_freq_factor": self.low_freq_factor,
            "high_freq_factor": self.high_freq_factor,
            "original_max_position_embeddings": self.original_positions as u64,
        })
    }

    fn from_json(fields: &Fields) -> std::result::Result<Self, String> {
        let real =
            |key| required(real(fields, key)?, key).map_err(|reason| format!("`rope_scaling` {reason}"));
        Ok(Self {
            factor: real("factor")?,
            low_freq_factor: real("low_freq_factor")?,
            high_freq_factor: real("high_freq_factor")?,
            original_positions: real("original_max_position_embeddings")?,
        })
    }

    fn check(self) -> std::result::Result<(), String> {
        let positive = [self.factor, self.low_freq_factor, self.high_freq_factor, self.original_positions];
        if positive.iter().any(|x| !x.is_finite() || *x <= 0.0) {
            return Err("`rope_scaling` needs positive numbers".to_owned());
        }
        if self.high_freq_factor <= self.low_freq_factor {
            return Err("`rope_scaling` needs high_freq_factor above low_freq_factor".to_owned());
        }
        Ok(())
    }
}

type Fields = Map<String, Value>;

fn read_fields(fields: &mut Fields) -> std::result::Result<DecoderConfig, String> {
    let family = family(fields)?;
    let form = family.form();
    lift_rope_parameters(fields);
    refuse_variants(fields)?;
    let needed = |key| required(size(fields, key)?, key);
    let (hidden_size, num_heads) = (needed("hidden_size")?, needed("num_attention_heads")?);
    let num_kv_heads = match size(fields, "num_key_value_heads")? {
        None if form.kv_heads_default_to_heads => num_heads,
        given => required(given, "num_key_value_heads")?,
    };
    let head_dim = match size(fields, "head_dim")?.or(form.head_dim) {
        Some(head_dim) => head_dim,
        None if num_heads == 0 || !hidden_size.is_multiple_of(num_heads) => {
            return Err(format!("a hidden size of {hidden_size} does not divide into {num_heads} heads"));
        }
        None => hidden_size / num_heads,
    };
    Ok(DecoderConfig {
        family,
        vocab_size: needed("vocab_size")?,
        hidden_size,
        intermediate_size: needed("intermediate_size")?,
        num_layers: needed("num_hidden_layers")?,
        num_heads,
        num_kv_heads,
        head_dim,
        max_positions: size(fields, "max_position_embeddings")?.unwrap_or(form.max_positions),
        rms_norm_eps: real(fields, "rms_norm_eps")?.unwrap_or(RMS_NORM_EPS),
        rope_theta: real(fields, "rope_theta")?.unwrap_or(ROPE_THETA),
        rope_scaling: rope_scaling(fields, family)?,
        tied: flag(fields, "tie_word_embeddings")?,
    })
}

/// The family by `model_type`, confirmed by `architectures` where that is given.
fn family(fields: &Fields) -> std::result::Result<Family, String> {
    let architectures: Vec<&str> = match fields.get("architectures") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let find = |fits: &dyn Fn(Family) -> bool| Family::ALL.into_iter().find(|&family| fits(family));
    let family = match fields.get("model_type").and_then(Value::as_str) {
        Some(kind) => find(&|family| family.form().model_type == kind)
            .ok_or_else(|| format!("the model family `{kind}` is not supported; {}", Family::supported()))?,
        None => find(&|family| architectures.contains(&family.form().class))
            .ok_or_else(|| format!("names no `model_type`; {}", Family::supported()))?,
    };
    let class = family.form().class;
    if architectures.is_empty() || architectures.contains(&class) {
        return Ok(family);
    }
    let found = architectures.join(", ");
    Err(format!("the architecture `{found}` is not a language model of this kind, expected `{class}`"))
}

/// transformers 5 keeps theta and the scaling together in `rope_parameters`; older files do not.
fn lift_rope_parameters(fields: &mut Fields) {
    let Some(Value::Object(rope)) = fields.remove("rope_parameters") else { return };
    if let Some(theta) = rope.get("rope_theta") {
        fields.insert("rope_theta".to_owned(), theta.clone());
    }
    fields.entry("rope_scaling").or_insert(Value::Object(rope));
}

fn refuse_variants(fields: &Fields) -> std::result::Result<(), String> {
    if fields.get("use_sliding_window").and_then(Value::as_bool) == Some(true) {
        return Err("`use_sliding_window` is on, sliding window attention is not supported".to_owned());
    }
    let layer_types = fields.get("layer_types").and_then(Value::as_array);
    if layer_types.is_some_and(|types| types.iter().any(|t| t.as_str() != Some("full_attention"))) {
        return Err("`layer_types` has layers without full attention, which are not supported".to_owned());
    }
    for key in ["attention_bias", "mlp_bias"] {
        if fields.get(key).and_then(Value::as_bool) == Some(true) {
            return Err(format!("`{key}` is on, which is not supported"));
        }
    }
    if fields.get("quantization_config").is_some_and(|q| !q.is_null()) {
        return Err("the weights are quantised (`quantization_config`), which is not supported".to_owned());
    }
    match fields.get("hidden_act").and_then(Value::as_str) {
        None | Some("silu" | "swish") => Ok(()),
        Some(other) => Err(format!("the activation `{other}` is not supported, only silu is")),
    }
}

/// Llama 3's scaling where the file has it and the family knows it; every other kind is refused by name.
fn rope_scaling(fields: &Fields, family: Family) -> std::result::Result<Option<RopeScaling>, String> {
    let scaling = match fields.get("rope_scaling") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(scaling)) => scaling,
        Some(_) => return Err("`rope_scaling` is neither null nor an object".to_owned()),
    };
    let form = family.form();
    match scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str) {
        Some("default") => Ok(None),
        Some("llama3") if form.rope_scaling => RopeScaling::from_json(scaling).map(Some),
        Some("llama3") => Err(format!("a rope scaling is not supported with {}", form.title)),
        other => {
            let name = other.unwrap_or("without a type");
            Err(format!("the rope scaling `{name}` is not supported, only `llama3` is"))
        }
    }
}

fn size(fields: &Fields, key: &str) -> std::result::Result<Option<usize>, String> {
    let read = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    field(fields, key, "a whole number", read)
}

fn real(fields: &Fields, key: &str) -> std::result::Result<Option<f64>, String> {
    field(fields, key, "a number", Value::as_f64)
}

fn flag(fields: &Fields, key: &str) -> std::result::Result<bool, String> {
    Ok(field(fields, key, "true or false", Value::as_bool)?.unwrap_or(false))
}

/// A field that may be missing or null, which transformers means alike.
fn field<T>(
    fields: &Fields,
    key: &str,
    expected: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> std::result::Result<Option<T>, String> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match read(value) {
            None => Err(format!("`{key}` is {value}, expected {expected}")),
            read => Ok(read),
        },
    }
}

fn required<T>(value: Option<T>, key: &str) -> std::result::Result<T, String> {
    value.ok_or_else(|| format!("has no `{key}`"))
}
