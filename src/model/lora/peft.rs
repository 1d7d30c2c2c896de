//! Adapters on disk, as PEFT writes and opens them (`adapter_model.safetensors`, `adapter_config.json`).

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};

use super::{Adapter, Layers, LoraLayout, LoraSpec};
use crate::checkpoint::{write_json, write_tensors};
use crate::config::PeftBase;
use crate::model::{DecoderConfig, Projection};
use crate::{Error, Result};

/// Name of the file that describes an adapter.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
/// Name of the file that holds an adapter's tensors.
pub const ADAPTER_FILE: &str = "adapter_model.safetensors";

impl Adapter {
    /// Writes the two files into `folder`, which is made if it is missing; tensors keep their type.
    ///
    /// `base` is what PEFT will take for the base model.
    ///
    /// # Errors
    /// A file or folder that cannot be written.
    pub fn save(&self, folder: &Path, base: impl Into<PeftBase>) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let named = self.tensors.iter().enumerate();
        let named = named.map(|(index, tensor)| (self.layout.name(index), tensor.clone())).collect();
        write_tensors(&folder.join(ADAPTER_FILE), named)?;
        write_json(&folder.join(ADAPTER_CONFIG_FILE), &peft_config(&self.layout, &base.into()))
    }

    /// Reads the adapter in `folder` for a decoder of shape `config`, as `dtype`.
    ///
    /// # Errors
    /// A missing or malformed file; a kind of adapter that this crate does not compute, or a key that it does not
    /// know; a tensor that is missing, or of another shape, or not part of the adapter.
    pub fn load(folder: &Path, config: &DecoderConfig, dtype: DType, device: &Device) -> Result<Self> {
        let spec = read_spec(&folder.join(ADAPTER_CONFIG_FILE), config)?;
        let layout = LoraLayout::new(spec, config);
        let path = folder.join(ADAPTER_FILE);
        let mut found = read_tensors(&path, device)?;
        let tensors = (0..layout.num_tensors())
            .map(|index| take(&mut found, &layout, index, &path)?.to_dtype(dtype).map_err(Error::from))
            .collect::<Result<Vec<_>>>()?;
        if let Some(name) = found.keys().min() {
            let reason = format!("is not part of the adapter that {ADAPTER_CONFIG_FILE} describes");
            return Err(Error::tensor(&path, name, reason));
        }
        Ok(Self { layout, tensors })
    }
}

fn read_tensors(path: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let damaged = |reason: String| Error::file(path, format!("is not a whole safetensors file: {reason}"));
    // The header is checked first: Candle's reader would convert types that no adapter has.
    let header = safetensors::SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    for (name, view) in header.iter() {
        use safetensors::Dtype::{BF16, F16, F32, F64};
        if !matches!(view.dtype(), BF16 | F16 | F32 | F64) {
            let reason = format!("has type {:?}, expected F32, F16, BF16 or F64", view.dtype());
            return Err(Error::tensor(path, name, reason));
        }
    }
    candle_core::safetensors::load_buffer(&bytes, device).map_err(|e| damaged(e.to_string()))
}

fn take(
    found: &mut HashMap<String, Tensor>,
    layout: &LoraLayout,
    index: usize,
    path: &Path,
) -> Result<Tensor> {
    let (name, (rows, columns)) = (layout.name(index), layout.shape(index));
    match found.remove(&name) {
        None => Err(Error::tensor(path, name, format!("is missing, expected [{rows}, {columns}]"))),
        Some(tensor) if tensor.dims() != [rows, columns] => {
            let reason = format!("has shape {:?}, expected [{rows}, {columns}]", tensor.dims());
            Err(Error::tensor(path, name, reason))
        }
        Some(tensor) => Ok(tensor),
    }
}

/// `adapter_config.json` with the fields that PEFT 0.15 writes.
fn peft_config(layout: &LoraLayout, base: &PeftBase) -> Value {
    let spec = &layout.spec;
    let targets: Vec<&str> = spec.targets.iter().map(|which| which.name()).collect();
    let layers = match spec.layers {
        Layers::All => Value::Null,
        Layers::Top(k) => {
            json!((layout.num_layers().saturating_sub(k)..layout.num_layers()).collect::<Vec<_>>())
        }
    };
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base.name,
        "bias": "none",
        "exclude_modules": null,
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layer_replication": null,
        "layers_pattern": null,
        "layers_to_transform": layers,
        "loftq_config": {},
        "lora_alpha": number(spec.alpha),
        "lora_bias": false,
        "lora_dropout": 0.0,
        "megatron_config": null,
        "megatron_core": "megatron.core",
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": spec.rank,
        "rank_pattern": {},
        "revision": base.revision,
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": spec.rslora,
    })
}

/// PEFT writes alpha as a whole number where it is one.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 2f64.powi(53) { json!(x as i64) } else { json!(x) }
}

fn read_spec(path: &Path, config: &DecoderConfig) -> Result<LoraSpec> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|e| Error::data(path, e.line().max(1), e.to_string()))?;
    let fields = value.as_object().ok_or_else(|| Error::file(path, "is not a JSON object"))?;
    parse_spec(fields, config).map_err(|reason| Error::file(path, reason))
}

fn parse_spec(fields: &Map<String, Value>, config: &DecoderConfig) -> std::result::Result<LoraSpec, String> {
    for (key, value) in fields {
        check_key(key, value)?;
    }
    if !fields.contains_key("peft_type") {
        return Err("`peft_type` is missing, expected LORA".to_owned());
    }
    let rank = fields.get("r").and_then(Value::as_u64).and_then(|r| usize::try_from(r).ok());
    let rank = rank.ok_or("`r` is missing or not a whole number")?;
    // A rank beyond every width is a damaged file; it must not reach a multiplication.
    let widest = config.hidden_size.max(config.intermediate_size).max(config.num_heads * config.head_dim);
    if rank > widest {
        return Err(format!("`r` is {rank}, beyond the decoder's widest matrix ({widest})"));
    }
    let spec = LoraSpec {
        rank,
        alpha: fields.get("lora_alpha").and_then(Value::as_f64).ok_or("`lora_alpha` is not a number")?,
        rslora: fields.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
        targets: targets(fields.get("target_modules"))?,
        layers: layers(fields.get("layers_to_transform"), config.num_layers)?,
    };
    spec.check()?;
    Ok(spec)
}

/// What a key of PEFT's file is to the function of an adapter that is loaded.
enum Key {
    /// It is read.
    Read,
    /// It says how the adapter was trained, found or saved.
    Harmless,
    /// Whatever it turns on is not computed here.
    Off,
    /// Its value must be this, or a list of this alone; null means the same.
    Only(&'static str),
    /// True or false.
    Flag,
    /// How the adapter began. Some starts change the base's weights too, and the adapter is a difference from those.
    Start,
}

/// The keys that PEFT has written, from 0.1 on.
fn key_of(name: &str) -> Option<Key> {
    Some(match name {
        "r" | "lora_alpha" | "target_modules" | "layers_to_transform" => Key::Read,
        "use_rslora" => Key::Flag,
        "peft_type" => Key::Only("LORA"),
        "bias" => Key::Only("none"),
        // All families here call their list of layers so.
        "layers_pattern" => Key::Only("layers"),
        "init_lora_weights" => Key::Start,
        "auto_mapping" | "base_model_name_or_path" | "inference_mode" | "lora_dropout" | "megatron_core" => {
            Key::Harmless
        }
        "peft_version" | "revision" | "runtime_config" | "task_type" => Key::Harmless,
        // Of a start or a variant that is refused by its own key.
        "corda_config" | "eva_config" | "lora_ga_config" | "loftq_config" => Key::Harmless,
        "ensure_weight_tying" | "merge_weights" | "qalora_group_size" => Key::Harmless,
        "alora_invocation_tokens" | "enable_lora" | "exclude_modules" | "fan_in_fan_out" => Key::Off,
        "layer_replication" | "lora_bias" | "megatron_config" | "modules_to_save" => Key::Off,
        "alpha_pattern"
        | "arrow_config"
        | "rank_pattern"
        | "target_parameters"
        | "trainable_token_indices" => Key::Off,
        "use_bdlora" | "use_dora" | "use_qalora" => Key::Off,
        _ => return None,
    })
}

/// Refuses what is not known, and what changes the adapter's function in a way that this crate does not compute.
fn check_key(name: &str, value: &Value) -> std::result::Result<(), String> {
    let Some(key) = key_of(name) else {
        return Err(format!(
            "`{name}` is not known: it may change what the adapter computes; if it does not, take it out of the file"
        ));
    };
    match key {
        Key::Read | Key::Harmless => Ok(()),
        Key::Flag if value.is_boolean() || value.is_null() => Ok(()),
        Key::Flag => Err(format!("`{name}` is {value}, expected true or false")),
        Key::Off if is_off(value) => Ok(()),
        Key::Off => Err(format!("`{name}` is used, which is not supported")),
        Key::Only(expected) if is_only(value, expected) => Ok(()),
        Key::Only(expected) => Err(format!("`{name}` is {value}, only `{expected}` is supported")),
        Key::Start => check_start(name, value),
    }
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn is_only(value: &Value, expected: &str) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().all(|item| item == expected),
        one => one == expected,
    }
}

fn check_start(name: &str, value: &Value) -> std::result::Result<(), String> {
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::String(start) if ["gaussian", "eva", "orthogonal"].contains(&start.as_str()) => Ok(()),
        other => Err(format!(
            "`{name}` is {other}: such a start changes the base's weights, or is not known; save the adapter with \
             PEFT as a difference from the base as it was (path_initial_model_for_weight_conversion)"
        )),
    }
}

fn targets(value: Option<&Value>) -> std::result::Result<Vec<Projection>, String> {
    let names = match value {
        Some(Value::String(all)) if all == "all-linear" => return Ok(Projection::ALL.to_vec()),
        Some(Value::Array(names)) => names,
        _ => return Err("`target_modules` is not a list of names".to_owned()),
    };
    let is_one = |name: &Value| Projection::ALL.iter().any(|which| name == which.name());
    if let Some(name) = names.iter().find(|name| !is_one(name)) {
        return Err(format!("`target_modules` has {name}, which is not a projection of this decoder"));
    }
    Ok(Projection::ALL.into_iter().filter(|which| names.iter().any(|name| name == which.name())).collect())
}

fn layers(value: Option<&Value>, num_layers: usize) -> std::result::Result<Layers, String> {
    // A list with something else in it is none.
    let mut listed: Vec<u64> = match value {
        None | Some(Value::Null) => return Ok(Layers::All),
        Some(Value::Array(list)) => list.iter().map(Value::as_u64).collect::<Option<_>>().unwrap_or_default(),
        Some(one) => one.as_u64().into_iter().collect(),
    };
    listed.sort_unstable();
    listed.dedup();
    let count = listed.len();
    let is_top = count > 0
        && count <= num_layers
        && listed.iter().zip(num_layers - count..).all(|(&layer, expected)| layer == expected as u64);
    match is_top {
        true => Ok(Layers::Top(count)),
        false => Err(format!("`layers_to_transform` is not the last of the {num_layers} layers")),
    }
}
