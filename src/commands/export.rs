//! Exports: an encoded context in the form that another tool loads.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use crate::{
    checkpoint::{Lock, write_folder, write_new_at},
    error::{Error, Result},
    model::{DecoderConfig, HubSettings, Located},
    store::StoredAdapter,
};

use super::{
    merged,
    model_card::{card, write_card},
};

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

/// Writes the adapter in `stored` to `out`, whole or not at all, with a model card in its folder; `base` says where its
/// base is, if not where it was. Returns whether the card was written: a README.md that is in its place stays.
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
) -> Result<bool> {
    // Reserved before the base is read; what appears here meanwhile is not replaced either.
    let _lock = Lock::take(out)?;
    if out.exists() {
        return Err(Error::file(out, "exists: name a new file or folder"));
    }
    let Located { folder, place } = stored.own_base(base, hub)?;
    let shape = DecoderConfig::from_folder(&folder)?;
    stored.verify()?;
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let card = card(stored, form, &name, &folder, &place);
    match form {
        Form::Peft => {
            let adapter = stored.load(&shape, DType::F32, &Device::Cpu)?;
            write_folder(out, |new| {
                adapter.save(new, &place.for_transformers())?;
                write_card(new, &name, &card).map(drop)
            })?;
            Ok(true)
        }
        Form::GgufLora => {
            let adapter = stored.load(&shape, DType::F32, &Device::Cpu)?;
            let title = stored.dir.file_name().unwrap_or_default().to_string_lossy();
            write_new_at(out, |new| adapter.save_gguf(new, &shape, &title))?;
            write_card(&beside(out), &name, &card)
        }
        Form::Merged => {
            merged::write(stored, &folder, &shape, out, |new| write_card(new, &name, &card).map(drop))?;
            Ok(true)
        }
    }
}

/// The folder of a file.
fn beside(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
