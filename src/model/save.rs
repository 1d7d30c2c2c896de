//! Writing a checkpoint that transformers, Candle and this crate read.

use std::collections::HashMap;
use std::path::Path;

use candle_core::DType;
use serde_json::json;

use super::lora::{self, AdapterRef};
use super::weights::WEIGHTS_FILE;
use super::{CONFIG_FILE, Decoder, WeightSpec};
use crate::checkpoint::{TensorEntry, write_json, write_tensors, write_tensors_in_turn};
use crate::{Error, Result};

/// Name of the file that holds the defaults of generation, the end token among them.
pub const GENERATION_CONFIG_FILE: &str = "generation_config.json";

impl Decoder {
    /// Writes `model.safetensors`, `config.json` and `generation_config.json` into `folder`, which is made
    /// if it is missing. `end_token` is the id of the token that ends a text.
    ///
    /// Each file is whole at every moment. The weights are written in the types they are held in.
    ///
    /// # Errors
    /// A file or folder that cannot be written.
    pub fn save(&self, folder: &Path, end_token: u32) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        write_tensors(&folder.join(WEIGHTS_FILE), self.named_tensors()?)?;
        let mut config = self.config.to_json(end_token);
        config["torch_dtype"] = json!(torch_name(self.embed_tokens.dtype()));
        let generation = json!({ "do_sample": false, "eos_token_id": end_token });
        write_json(&folder.join(GENERATION_CONFIG_FILE), &generation)?;
        write_json(&folder.join(CONFIG_FILE), &config)
    }
}

impl Decoder {
    /// Writes `model.safetensors` with an adapter added to the weights into `folder`, each weight in the type that `types`
    /// has for its name, or else in f32. One tensor is merged and written after the other.
    ///
    /// # Errors
    /// An adapter of another shape than the decoder takes, or a file that cannot be written.
    pub fn save_merged(
        &self,
        adapter: AdapterRef<'_>,
        folder: &Path,
        types: &HashMap<String, DType>,
    ) -> Result<()> {
        lora::check(&self.config, adapter.0, adapter.1)?;
        let entry = |spec: WeightSpec| TensorEntry {
            dtype: types.get(&spec.name).copied().unwrap_or(DType::F32),
            name: spec.name,
            shape: spec.shape,
        };
        let entries: Vec<TensorEntry> = self.config.weights().into_iter().map(entry).collect();
        write_tensors_in_turn(&folder.join(WEIGHTS_FILE), &entries, |write| {
            self.each_weight(|index, which| lora::merged_projection(self, adapter, index, which), write)
        })
    }
}

pub(super) fn torch_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "float64",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        _ => "float32",
    }
}
