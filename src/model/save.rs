//! Writing a checkpoint that transformers, Candle and this crate read.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::json;

use super::weights::WEIGHTS_FILE;
use super::{CONFIG_FILE, Decoder};
use crate::checkpoint::{write_json, write_tensors};
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
    /// Writes `model.safetensors` into `folder`, each weight in the type that `types` has for its name, if it has one.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save_weights(&self, folder: &Path, types: &HashMap<String, DType>) -> Result<()> {
        let typed = |(name, tensor): (String, Tensor)| {
            let dtype = types.get(&name).copied().unwrap_or(tensor.dtype());
            Ok((name, tensor.to_dtype(dtype)?))
        };
        let tensors = self.named_tensors()?.into_iter().map(typed).collect::<Result<_>>()?;
        write_tensors(&folder.join(WEIGHTS_FILE), tensors)
    }
}

fn torch_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "float64",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        _ => "float32",
    }
}
