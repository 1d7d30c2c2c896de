//! `config.json` of a checkpoint: what all families share in it; the rest is in [`Form`](super::family::Form).

use std::path::Path;

use serde_json::{Map, Value, json};

use super::family::Form;
use super::{DecoderConfig, Family, RopeScaling};
use crate::error::shown;
use crate::files::{parse_json, read_text};
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
        Self::from_json(&path, &read_text(&path)?)
    }

    /// Parses the text of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// As [`DecoderConfig::from_folder`].
    pub fn from_json(path: &Path, text: &str) -> Result<Self> {
        let Value::Object(mut fields) = parse_json(path, text)? else {
            return Err(Error::file(path, "is not a JSON object"));
        };
        // transformers writes null for what is not there.
        fields.retain(|_, value| !value.is_null());
        let config = read_fields(&fields).map_err(|reason| Error::file(path, shown(&reason)))?;
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

    /// From the object `key`, of which null fields are gone.
    fn from_json(key: &str, fields: &Fields) -> std::result::Result<Self, String> {
        let within = |reason| format!("`{key}`: {reason}");
        let real = |field| needed(real, fields, field, "a number").map_err(within);
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

/// A part of the file, or what is wrong with it: key, what was found, what was expected.
type Read<T> = std::result::Result<T, String>;

/// The shape, from fields of which none is null.
fn read_fields(fields: &Fields) -> Read<DecoderConfig> {
    let family = family(fields)?;
    let form = family.form();
    refuse_variants(fields)?;
    let whole = |key| needed(size, fields, key, "a whole number");
    let (hidden_size, num_heads) = (whole("hidden_size")?, whole("num_attention_heads")?);
    let num_kv_heads = match size(fields, "num_key_value_heads")? {
        None if form.kv_heads_default_to_heads => num_heads,
        _ => whole("num_key_value_heads")?,
    };
    let head_dim = match size(fields, "head_dim")?.or(form.head_dim) {
        Some(head_dim) => head_dim,
        None if num_heads == 0 || !hidden_size.is_multiple_of(num_heads) => {
            return Err(format!("a hidden size of {hidden_size} does not divide into {num_heads} heads"));
        }
        None => hidden_size / num_heads,
    };
    let (rope_theta, rope_scaling) = rope(fields, form)?;
    Ok(DecoderConfig {
        family,
        vocab_size: whole("vocab_size")?,
        hidden_size,
        intermediate_size: whole("intermediate_size")?,
        num_layers: whole("num_hidden_layers")?,
        num_heads,
        num_kv_heads,
        head_dim,
        max_positions: size(fields, "max_position_embeddings")?.unwrap_or(form.max_positions),
        rms_norm_eps: real(fields, "rms_norm_eps")?.unwrap_or(RMS_NORM_EPS),
        rope_theta: rope_theta.unwrap_or(ROPE_THETA),
        rope_scaling,
        tied: flag(fields, "tie_word_embeddings")?,
    })
}

/// The family by `model_type`, confirmed by `architectures` where that is given.
fn family(fields: &Fields) -> Read<Family> {
    let architectures = texts(fields, "architectures")?;
    let find = |fits: &dyn Fn(Family) -> bool| Family::ALL.into_iter().find(|&family| fits(family));
    let family = match text(fields, "model_type")? {
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

fn refuse_variants(fields: &Fields) -> Read<()> {
    if flag(fields, "use_sliding_window")? {
        return Err("`use_sliding_window` is on, sliding window attention is not supported".to_owned());
    }
    if texts(fields, "layer_types")?.into_iter().any(|kind| kind != "full_attention") {
        return Err("`layer_types` has layers without full attention, which are not supported".to_owned());
    }
    for key in ["attention_bias", "mlp_bias"] {
        if flag(fields, key)? {
            return Err(format!("`{key}` is on, which is not supported"));
        }
    }
    if fields.contains_key("quantization_config") {
        return Err("the weights are quantised (`quantization_config`), which is not supported".to_owned());
    }
    match text(fields, "hidden_act")? {
        None | Some("silu" | "swish") => Ok(()),
        Some(other) => Err(format!("the activation `{other}` is not supported, only silu is")),
    }
}

/// Theta and the scaling. transformers 5 keeps them together in `rope_parameters`; older files have `rope_theta` and
/// `rope_scaling`, and some have both.
fn rope(fields: &Fields, form: &Form) -> Read<(Option<f64>, Option<RopeScaling>)> {
    const PARTIAL: &str = "partial_rotary_factor";
    let (newer, older) = (object(fields, "rope_parameters")?, object(fields, "rope_scaling")?);
    let parameters = newer.clone().unwrap_or_default();
    let scaling = |rope: Option<Fields>, key| rope.map_or(Ok(None), |rope| scaling(key, &rope, form));
    let thetas = (real(&parameters, "rope_theta")?, real(fields, "rope_theta")?);
    let scalings = (scaling(newer, "rope_parameters")?, scaling(older, "rope_scaling")?);
    for fields in [fields, &parameters] {
        if let Some(part) = real(fields, PARTIAL)?.filter(|&part| part != 1.0) {
            return Err(format!(
                "`{PARTIAL}` is {part}: only heads that are turned as a whole are supported"
            ));
        }
    }
    let differ = |key: &str| format!("`rope_parameters` and `{key}` say different things: keep one of them");
    match (thetas, scalings) {
        ((Some(new), Some(old)), _) if new != old => Err(differ("rope_theta")),
        (_, (Some(new), Some(old))) if new != old => Err(differ("rope_scaling")),
        ((new_theta, old_theta), (new, old)) => Ok((new_theta.or(old_theta), new.or(old).flatten())),
    }
}

/// Llama 3's scaling where the object `key` has it and the family knows it; every other kind is refused by name.
/// `None` where the object says nothing of a scaling.
fn scaling(key: &str, rope: &Fields, form: &Form) -> Read<Option<Option<RopeScaling>>> {
    // `type` is the older spelling.
    let kind = match (text(rope, "rope_type")?, text(rope, "type")?) {
        (Some(new), Some(old)) if new != old => {
            return Err(format!("`{key}` has the `rope_type` {new} and the `type` {old}: keep one of them"));
        }
        (new, old) => new.or(old),
    };
    match kind {
        Some("default") => Ok(Some(None)),
        Some("llama3") if form.rope_scaling => RopeScaling::from_json(key, rope).map(Some).map(Some),
        Some("llama3") => Err(format!("a rope scaling (`{key}`) is not supported with {}", form.title)),
        Some(other) => {
            Err(format!("the rope scaling `{other}` (`{key}`) is not supported, only `llama3` is"))
        }
        None if rope.keys().all(|field| field == "rope_theta") => Ok(None),
        None => {
            let found: Vec<&str> = rope.keys().map(String::as_str).collect();
            Err(format!("`{key}` has {} and no `rope_type`, which says what they mean", found.join(", ")))
        }
    }
}

fn size(fields: &Fields, key: &str) -> Read<Option<usize>> {
    let read = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    field(fields, key, "a whole number", read)
}

fn real(fields: &Fields, key: &str) -> Read<Option<f64>> {
    field(fields, key, "a number", Value::as_f64)
}

fn flag(fields: &Fields, key: &str) -> Read<bool> {
    Ok(field(fields, key, "true or false", Value::as_bool)?.unwrap_or(false))
}

fn text<'f>(fields: &'f Fields, key: &str) -> Read<Option<&'f str>> {
    field(fields, key, "a string", Value::as_str)
}

/// A list of strings; an empty one where there is none.
fn texts<'f>(fields: &'f Fields, key: &str) -> Read<Vec<&'f str>> {
    let read = |value: &'f Value| value.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
    Ok(field(fields, key, "a list of strings", read)?.unwrap_or_default())
}

/// An object without its fields that are null.
fn object(fields: &Fields, key: &str) -> Read<Option<Fields>> {
    let mut found = field(fields, key, "an object", |value| value.as_object().cloned())?;
    if let Some(fields) = &mut found {
        fields.retain(|_, value| !value.is_null());
    }
    Ok(found)
}

/// A field that may be missing or null, which transformers means alike.
fn field<'f, T>(
    fields: &'f Fields,
    key: &str,
    expected: &str,
    read: impl Fn(&'f Value) -> Option<T>,
) -> Read<Option<T>> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match read(value) {
            None => Err(format!("`{key}` is {value}, expected {expected}")),
            read => Ok(read),
        },
    }
}

/// A field that must be there.
fn needed<T>(
    read: impl Fn(&Fields, &str) -> Read<Option<T>>,
    fields: &Fields,
    key: &str,
    expected: &str,
) -> Read<T> {
    read(fields, key)?.ok_or_else(|| format!("`{key}` is missing or null, expected {expected}"))
}
