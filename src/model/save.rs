//! Writing a checkpoint that transformers, Candle and this crate read.

use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::json;

use super::weights::WEIGHTS_FILE;
use super::{CONFIG_FILE, Decoder, Projection};
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
        write_tensors(&folder.join(WEIGHTS_FILE), self.named_tensors())?;
        let mut config = self.config.to_json(end_token);
        config["torch_dtype"] = json!(torch_name(self.embed_tokens.dtype()));
        let generation = json!({ "do_sample": false, "eos_token_id": end_token });
        write_json(&folder.join(GENERATION_CONFIG_FILE), &generation)?;
        write_json(&folder.join(CONFIG_FILE), &config)
    }

    /// Every weight with its name in Hugging Face checkpoints; a tied output matrix is left out.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let mut named = vec![("model.embed_tokens.weight".to_owned(), self.embed_tokens.clone())];
        for (index, layer) in self.layers.iter().enumerate() {
            let prefix = format!("model.layers.{index}");
            named.push((format!("{prefix}.input_layernorm.weight"), layer.input_norm.clone()));
            let norm = layer.post_attention_norm.clone();
            named.push((format!("{prefix}.post_attention_layernorm.weight"), norm));
            for which in Projection::ALL {
                let linear = layer.projection(which);
                let path = format!("{prefix}.{}", which.path());
                named.push((format!("{path}.weight"), linear.weight.clone()));
                named.extend(linear.bias.iter().map(|bias| (format!("{path}.bias"), bias.clone())));
            }
        }
        named.push(("model.norm.weight".to_owned(), self.norm.clone()));
        if !self.config.tied {
            named.push(("lm_head.weight".to_owned(), self.lm_head.clone()));
        }
        named
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
