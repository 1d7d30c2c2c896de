//! `config.json` of a checkpoint: Candle's own config structs, checked and brought to one form.

use std::path::Path;

use candle_nn::Activation;
use candle_transformers::models::{llama, qwen2};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{DecoderConfig, Family, RopeScaling};
use crate::{Error, Result};

/// Name of the file in a checkpoint's folder.
pub const CONFIG_FILE: &str = "config.json";

const SUPPORTED: &str = "supported are qwen2 (Qwen2, Qwen2.5) and llama (Llama 2 and 3.x, SmolLM2)";

/// No dimension of a real decoder comes near this; a larger one is a damaged file.
const LARGEST: usize = 1 << 24;
const MOST_LAYERS: usize = 1 << 12;

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
        let mut fields = json!({
            "attention_dropout": 0.0,
            "bos_token_id": null,
            "eos_token_id": end_token,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_positions,
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
        let special = match self.family {
            Family::Qwen2 => json!({
                "architectures": ["Qwen2ForCausalLM"],
                "model_type": "qwen2",
                "max_window_layers": self.num_layers,
                "sliding_window": self.max_positions,
                "use_sliding_window": false,
            }),
            Family::Llama => json!({
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "attention_bias": false,
                "mlp_bias": false,
                "rope_scaling": self.rope_scaling.map(|s| s.to_json()),
            }),
        };
        let fields_map = fields.as_object_mut().expect("json! made an object");
        fields_map.extend(special.as_object().expect("json! made an object").clone());
        if self.head_dim * self.num_heads != self.hidden_size {
            fields_map.insert("head_dim".to_owned(), json!(self.head_dim));
        }
        fields
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
    fn to_json(self) -> Value {
        json!({
            "rope_type": "llama3",
            "factor": self.factor,
            "low_freq_factor": self.low_freq_factor,
            "high_freq_factor": self.high_freq_factor,
            "original_max_position_embeddings": self.original_positions as u64,
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
    lift_rope_parameters(fields);
    refuse_variants(fields)?;
    let explicit_head_dim = size(fields, "head_dim")?;
    let mut config = match family {
        Family::Qwen2 => read_qwen2(fields)?,
        Family::Llama => read_llama(fields)?,
    };
    match explicit_head_dim {
        Some(head_dim) => config.head_dim = head_dim,
        None if config.num_heads == 0 || !config.hidden_size.is_multiple_of(config.num_heads) => {
            let (hidden, heads) = (config.hidden_size, config.num_heads);
            return Err(format!("a hidden size of {hidden} does not divide into {heads} heads"));
        }
        None => config.head_dim = config.hidden_size / config.num_heads,
    }
    Ok(config)
}

/// The family by `model_type`, confirmed by `architectures` where that is given.
fn family(fields: &Fields) -> std::result::Result<Family, String> {
    let architectures: Vec<&str> = match fields.get("architectures") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let (family, class) = match fields.get("model_type").and_then(Value::as_str) {
        Some("qwen2") => (Family::Qwen2, "Qwen2ForCausalLM"),
        Some("llama") => (Family::Llama, "LlamaForCausalLM"),
        Some(other) => return Err(format!("the model family `{other}` is not supported; {SUPPORTED}")),
        None if architectures.contains(&"Qwen2ForCausalLM") => (Family::Qwen2, "Qwen2ForCausalLM"),
        None if architectures.contains(&"LlamaForCausalLM") => (Family::Llama, "LlamaForCausalLM"),
        None => return Err(format!("names no `model_type`; {SUPPORTED}")),
    };
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

fn refuse_variants(fields: &mut Fields) -> std::result::Result<(), String> {
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
        None | Some("silu" | "swish") => fields.insert("hidden_act".to_owned(), json!("silu")),
        Some(other) => return Err(format!("the activation `{other}` is not supported, only silu is")),
    };
    normalize_rope_scaling(fields)
}

/// Leaves `rope_scaling` only where it is Llama 3's; refuses every other kind by name.
fn normalize_rope_scaling(fields: &mut Fields) -> std::result::Result<(), String> {
    let scaling = match fields.get("rope_scaling") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(scaling)) => scaling,
        Some(_) => return Err("`rope_scaling` is neither null nor an object".to_owned()),
    };
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str);
    match kind {
        Some("llama3") => Ok(()),
        Some("default") => {
            fields.remove("rope_scaling");
            Ok(())
        }
        other => {
            let name = other.unwrap_or("without a type");
            Err(format!("the rope scaling `{name}` is not supported, only `llama3` is"))
        }
    }
}

fn read_qwen2(fields: &mut Fields) -> std::result::Result<DecoderConfig, String> {
    if fields.get("rope_scaling").is_some_and(|scaling| !scaling.is_null()) {
        return Err("a rope scaling is not supported with Qwen2".to_owned());
    }
    // transformers leaves these out or null where they are at its own defaults.
    let positions = fields.get("max_position_embeddings").cloned().unwrap_or(json!(32768));
    let layers = fields.get("num_hidden_layers").cloned().unwrap_or(Value::Null);
    for (key, default) in [
        ("sliding_window", positions.clone()),
        ("max_position_embeddings", positions),
        ("max_window_layers", layers),
        ("use_sliding_window", json!(false)),
        ("tie_word_embeddings", json!(false)),
        ("rope_theta", json!(10000.0)),
        ("rms_norm_eps", json!(1e-6)),
    ] {
        fill(fields, key, default);
    }
    let read: qwen2::Config = typed(fields)?;
    debug_assert_eq!(read.hidden_act, Activation::Silu);
    Ok(DecoderConfig {
        family: Family::Qwen2,
        vocab_size: read.vocab_size,
        hidden_size: read.hidden_size,
        intermediate_size: read.intermediate_size,
        num_layers: read.num_hidden_layers,
        num_heads: read.num_attention_heads,
        num_kv_heads: read.num_key_value_heads,
        head_dim: 0,
        max_positions: read.max_position_embeddings,
        rms_norm_eps: read.rms_norm_eps,
        rope_theta: read.rope_theta,
        rope_scaling: None,
        tied: read.tie_word_embeddings,
    })
}

fn read_llama(fields: &mut Fields) -> std::result::Result<DecoderConfig, String> {
    fill(fields, "max_position_embeddings", json!(llama::DEFAULT_MAX_SEQ_LEN));
    fill(fields, "rms_norm_eps", json!(1e-6));
    fill(fields, "rope_theta", json!(10000.0));
    // Only the shape is wanted here; some checkpoints hold token ids in forms that Candle does not read.
    fields.remove("bos_token_id");
    fields.remove("eos_token_id");
    let read: llama::LlamaConfig = typed(fields)?;
    let num_kv_heads = read.num_key_value_heads();
    Ok(DecoderConfig {
        family: Family::Llama,
        vocab_size: read.vocab_size,
        hidden_size: read.hidden_size,
        intermediate_size: read.intermediate_size,
        num_layers: read.num_hidden_layers,
        num_heads: read.num_attention_heads,
        num_kv_heads,
        head_dim: 0,
        max_positions: read.max_position_embeddings,
        rms_norm_eps: read.rms_norm_eps,
        rope_theta: f64::from(read.rope_theta),
        rope_scaling: read.rope_scaling.map(|scaling| RopeScaling {
            factor: f64::from(scaling.factor),
            low_freq_factor: f64::from(scaling.low_freq_factor),
            high_freq_factor: f64::from(scaling.high_freq_factor),
            original_positions: scaling.original_max_position_embeddings as f64,
        }),
        tied: read.tie_word_embeddings.unwrap_or(false),
    })
}

fn fill(fields: &mut Fields, key: &str, default: Value) {
    let slot = fields.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = default;
    }
}

fn size(fields: &Fields, key: &str) -> std::result::Result<Option<usize>, String> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .map(Some)
            .ok_or_else(|| format!("`{key}` is {value}, expected a whole number")),
    }
}

fn typed<T: DeserializeOwned>(fields: &Fields) -> std::result::Result<T, String> {
    serde_json::from_value(Value::Object(fields.clone())).map_err(|e| e.to_string())
}
