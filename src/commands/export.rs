//! Exports: an encoded context in the form that another tool loads.

use std::{fs, path::Path};

use candle_core::{DType, Device};

use crate::{
    checkpoint::{Lock, write_folder},
    error::{Error, Result},
    model::lora::merge,
    model::{Decoder, DecoderConfig, HubSettings},
    store::StoredAdapter,
    text::Tokenizer,
};

use super::setup::dtypes;

/// Form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// PEFT's two files: `adapter_config.json` and `adapter_model.safetensors`.
    Peft,
    /// A model folder: the base with the adapter added to its weights, and the base's tokenizer.
    Merged,
    /// llama.cpp's adapter file.
    GgufLora,
}

/// Files of a base that a merged model needs too.
const TOKENIZER_FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];

/// Writes the adapter in `stored` to `out`, whole or not at all; `base` says where its base is, if not where
/// it was.
///
/// # Errors
/// Something at `out` already, a base that cannot be found or is another one, a damaged adapter, a file
/// that cannot be written.
pub fn export(
    stored: &StoredAdapter,
    form: Form,
    out: &Path,
    base: Option<&str>,
    hub: &HubSettings,
) -> Result<()> {
    if fs::symlink_metadata(out).is_ok() {
        return Err(Error::file(out, "exists: name a new file or folder"));
    }
    let model = &stored.record.base.model;
    let folder = stored.own_base(base, hub)?;
    let shape = DecoderConfig::from_folder(&folder)?;
    let _lock = Lock::take(out)?;
    match form {
        Form::Peft => {
            let adapter = stored.load(&shape, DType::F32, &Device::Cpu)?;
            write_folder(out, |new| adapter.save(new, &model.base))
        }
        Form::GgufLora => {
            let adapter = stored.load(&shape, DType::F32, &Device::Cpu)?;
            let name = stored.dir.file_name().unwrap_or_default().to_string_lossy();
            adapter.save_gguf(out, &shape, &name)
        }
        Form::Merged => {
            let (storage, compute) = dtypes(model.storage);
            let decoder = Decoder::load(&folder, storage, compute, &Device::Cpu)?;
            let adapter = stored.load(&shape, compute, &Device::Cpu)?;
            let merged = merge(&decoder, &adapter.layout, &adapter.tensors)?;
            let end = Tokenizer::from_folder(&folder, model.end_token.as_deref())?.end_id();
            write_folder(out, |new| {
                merged.save(new, end)?;
                copy_tokenizer(&folder, new)
            })
        }
    }
}

fn copy_tokenizer(from: &Path, to: &Path) -> Result<()> {
    for name in TOKENIZER_FILES {
        let path = from.join(name);
        if path.is_file() {
            fs::copy(&path, to.join(name)).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}
