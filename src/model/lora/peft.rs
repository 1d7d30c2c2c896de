//! Adapters on disk, as PEFT writes and opens them (`adapter_model.safetensors`, `adapter_config.json`).

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};

use super::{Adapter, Layers, LoraLayout, LoraSpec};
use crate::checkpoint::{write_json, write_tensors};
use crate::model::{DecoderConfig, Projection};
use crate::{Error, Result};

/// Name of the file that describes an adapter.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
/// Name of the file that holds an adapter's tensors.
pub const ADAPTER_FILE: &str = "adapter_model.safetensors";

impl Adapter {
    /// Writes the two files into `folder`, which is made if it is missing; tensors keep their type.
    ///
    /// `base` is what PEFT will take for the base model: a folder or a hub id, or empty.
    ///
    /// # Errors
    /// A file or folder that cannot be written.
    pub fn save(&self, folder: &Path, base: &str) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let named = self.tensors.iter().enumerate();
        let named = named.map(|(index, tensor)| (self.layout.name(index), tensor.clone())).collect();
        write_tensors(&folder.join(ADAPTER_FILE), named)?;
        write_json(&folder.join(ADAPTER_CONFIG_FILE), &peft_config(&self.layout, base))
    }

    /// Reads the adapter in `folder` for a decoder of shape `config`, as `dtype`.
    ///
    /// # Errors
    /// A missing or malformed file; a kind of adapter that this crate does not compute; a tensor that is
    /// missing, or of another shape, or not part of the adapter.
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
fn peft_config(layout: &LoraLayout, base: &str) -> Value {
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
        "base_model_name_or_path": base,
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
        "revision": null,
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
    refuse_variants(fields)?;
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

/// Refuses what changes the adapter's function in a way that this crate does not compute.
fn refuse_variants(fields: &Map<String, Value>) -> std::result::Result<(), String> {
    match fields.get("peft_type").and_then(Value::as_str) {
        Some("LORA") => {}
        other => return Err(format!("`peft_type` is {}, expected LORA", other.unwrap_or("missing"))),
    }
    if let Some(bias) = fields.get("bias").and_then(Value::as_str).filter(|bias| *bias != "none") {
        return Err(format!("`bias` is {bias}, only `none` is supported"));
    }
    let off = ["use_dora", "lora_bias", "fan_in_fan_out", "rank_pattern", "alpha_pattern"];
    let off = off.into_iter().chain(["modules_to_save", "exclude_modules", "layer_replication"]);
    for key in off {
        let unused = match fields.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(_) => false,
        };
        if !unused {
            return Err(format!("`{key}` is used, which is not supported"));
        }
    }
    Ok(())
}

fn targets(value: Option<&Value>) -> std::result::Result<Vec<Projection>, String> {
    let names: Vec<&str> = match value {
        Some(Value::String(all)) if all == "all-linear" => return Ok(Projection::ALL.to_vec()),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => return Err("`target_modules` is not a list of names".to_owned()),
    };
    if let Some(name) = names.iter().find(|name| Projection::ALL.iter().all(|which| which.name() != **name)) {
        return Err(format!("`target_modules` has `{name}`, which is not a projection of this decoder"));
    }
    Ok(Projection::ALL.into_iter().filter(|which| names.contains(&which.name())).collect())
}

fn layers(value: Option<&Value>, num_layers: usize) -> std::result::Result<Layers, String> {
    let mut listed: Vec<u64> = match value {
        None | Some(Value::Null) => return Ok(Layers::All),
        Some(Value::Number(one)) => one.as_u64().into_iter().collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_u64).collect(),
        Some(_) => Vec::new(),
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
