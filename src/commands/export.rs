//! Exports: an encoded context in the form that another tool loads.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use crate::{
    checkpoint::{Lock, write_folder, write_new_at},
    config::PeftBase,
    error::{Error, Result, shown_path},
    model::{BaseFiles, HubSettings, Located},
    store::StoredAdapter,
};

use super::{
    merged,
    model_card::{card, write_card},
};

/// How PEFT gets to a base that is one file: its `adapter_config.json` can only name a folder.
const PEFT_ON_GGUF: &str = "the base is a GGUF file, which PEFT does not open by itself: load it with \
                            AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=FILE), and put the adapter on that \
                            with PeftModel.from_pretrained";

/// Form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// PEFT's two files: `adapter_config.json` and `adapter_model.safetensors`.
    Peft,
    /// A model folder: the base with the adapter added to its weights, and the base's tokenizer.
    Merged,
    /// llama.cpp's adapter file.
    GgufLora,
    /// llama.cpp's model file: the base with the adapter added to its weights.
    MergedGguf,
}

/// Writes the adapter in `stored` to `out`, whole or not at all, with a model card in its folder; `base` says where its
/// base is, if not where it was. A README.md that is in the card's place stays. Returns what to tell a person.
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
) -> Result<Vec<String>> {
    // Reserved before the base is read; what appears here meanwhile is not replaced either.
    let _lock = Lock::take(out)?;
    if out.exists() {
        return Err(Error::file(out, "exists: name a new file or folder"));
    }
    let Located { files, place } = stored.own_base(base, hub)?;
    let shape = files.shape()?;
    stored.verify()?;
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let card = card(stored, form, &name, files.path(), &place);
    let title = stored.dir.file_name().unwrap_or_default().to_string_lossy();
    let finish = |new: &Path| write_card(new, &name, &card);
    let has_card = match form {
        Form::Peft => {
            let adapter = stored.load(&shape, DType::F32, &Device::Cpu)?;
            write_folder(out, |new| {
                adapter.save(new, PeftBase::new(&place, stored.record.base.model.revision.as_deref()))?;
                finish(new).map(drop)
            })?;
            true
        }
        Form::GgufLora => {
            let adapter = stored.load(&shape, DType::F32, &Device::Cpu)?;
            write_new_at(out, |new| adapter.save_gguf(new, &shape, &title))?;
            finish(&beside(out))?
        }
        Form::MergedGguf => {
            write_new_at(out, |new| merged::write_gguf(stored, &files, &shape, new, &title))?;
            finish(&beside(out))?
        }
        Form::Merged => {
            merged::write(stored, &files, &shape, out, |new| finish(new).map(drop))?;
            true
        }
    };
    let mut notes = Vec::new();
    if !has_card {
        notes.push(
            "note: a README.md is there already and stays as it is, so there is no model card".to_owned(),
        );
    }
    if let (Form::Peft, BaseFiles::Gguf(path)) = (form, &files) {
        notes.push(format!("{}: {PEFT_ON_GGUF}", shown_path(path)));
    }
    Ok(notes)
}

/// The folder of a file.
fn beside(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
