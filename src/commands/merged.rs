//! Merged exports, in which only the adapted weights are other than the base's: its own folder, or what a GGUF file
//! would be as one; or one GGUF file, as the base is or would be.

use std::path::Path;

use candle_core::{DType, Device};
use serde_json::{Value, json};

use crate::{
    checkpoint::{write_folder, write_json},
    error::{Error, Result},
    files::{parse_json, read_text_if_there},
    model::{BaseFiles, Decoder, DecoderConfig, GENERATION_CONFIG_FILE, Keeping, lora::Adapter},
    store::StoredAdapter,
};

use super::setup::recorded_tokenizer;

/// Writes the base `base`, of shape `shape`, with the adapter added to its weights, to the new folder `out`.
///
/// Every weight has the type that it has in the base, whatever type it was held in to encode, and f32 where that is
/// blocks of a GGUF file; the other files are the base's, but for what `finish` puts beside them.
///
/// # Errors
/// A base or an adapter that cannot be read, a file that cannot be written.
pub fn write(
    stored: &StoredAdapter,
    base: &BaseFiles,
    shape: &DecoderConfig,
    out: &Path,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let types = base.weight_types()?;
    let widest = widest(types.values().copied());
    let (decoder, adapter) = load(stored, base, shape, widest)?;
    write_folder(out, |new| {
        decoder.save_merged(adapter.parts(), new, &types)?;
        base.write_companions(new, widest)?;
        let model = &stored.record.base.model;
        if model.end_token.is_some() {
            end_with(recorded_tokenizer(model, base)?.end_id(), new)?;
        }
        finish(new)
    })
}

/// Writes the same as one GGUF file, `path`, which calls itself `title`.
///
/// # Errors
/// As [`write`], and a tokenizer of a kind that such a file cannot hold.
pub fn write_gguf(
    stored: &StoredAdapter,
    base: &BaseFiles,
    shape: &DecoderConfig,
    path: &Path,
    title: &str,
) -> Result<()> {
    let (decoder, adapter) = load(stored, base, shape, widest(base.weight_types()?.into_values()))?;
    let tokenizer = recorded_tokenizer(&stored.record.base.model, base)?;
    base.write_merged_gguf(&decoder, adapter.parts(), &tokenizer, title, path)
}

/// The base as it is stored and the adapter, for sums in the wider of f32 and `widest`.
fn load(
    stored: &StoredAdapter,
    base: &BaseFiles,
    shape: &DecoderConfig,
    widest: DType,
) -> Result<(Decoder, Adapter)> {
    let compute = if widest == DType::F64 { DType::F64 } else { DType::F32 };
    let decoder = base.decoder(Keeping::AsStored, compute, &Device::Cpu)?.0;
    Ok((decoder, stored.load(shape, compute, &Device::Cpu)?))
}

/// A type that holds the numbers of all these exactly; without any, f32.
pub(super) fn widest(types: impl IntoIterator<Item = DType>) -> DType {
    let join = |a, b| match (a, b) {
        (a, b) if a == b => a,
        (DType::F64, _) | (_, DType::F64) => DType::F64,
        _ => DType::F32,
    };
    types.into_iter().reduce(join).unwrap_or(DType::F32)
}

/// Adds the end token that the configuration names to those at which a generation ends, if it is not among them.
fn end_with(token: u32, folder: &Path) -> Result<()> {
    let path = folder.join(GENERATION_CONFIG_FILE);
    let mut config = match read_text_if_there(&path)? {
        Some(text) => parse_json(&path, &text)?,
        None => json!({}),
    };
    let Value::Object(fields) = &mut config else { return Err(Error::file(&path, "is not a JSON object")) };
    let mut ends = match fields.remove("eos_token_id") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(ends)) => ends,
        Some(one) => vec![one],
    };
    if ends.contains(&json!(token)) {
        return Ok(());
    }
    ends.insert(0, json!(token));
    fields.insert("eos_token_id".to_owned(), ends.into());
    write_json(&path, &config)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_end_token_of_a_configuration_joins_those_of_the_base() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join(GENERATION_CONFIG_FILE);
        for (before, after) in [
            (json!({"eos_token_id": [5, 7], "top_p": 0.5}), json!({"eos_token_id": [5, 7], "top_p": 0.5})),
            (json!({"eos_token_id": 5, "top_p": 0.5}), json!({"eos_token_id": [7, 5], "top_p": 0.5})),
            (json!({"eos_token_id": null}), json!({"eos_token_id": [7]})),
            (json!({}), json!({"eos_token_id": [7]})),
        ] {
            write_json(&path, &before).unwrap();
            end_with(7, room.path()).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap(), after);
        }
    }

    #[test]
    fn a_type_holds_all_the_others() {
        use DType::{BF16, F16, F32, F64};
        for (types, expected) in [
            (vec![BF16], BF16),
            (vec![F16, F16], F16),
            (vec![F16, BF16], F32),
            (vec![BF16, F32], F32),
            (vec![F64, F32], F64),
            (vec![], F32),
        ] {
            assert_eq!(widest(types), expected);
        }
    }
}
