//! A merged export: the base's own folder, in which only the adapted weights are others.

use std::{collections::HashMap, fs, path::Path};

use candle_core::{DType, Device};
use serde_json::{Value, json};

use crate::{
    checkpoint::{write_folder, write_json},
    error::{Error, Result},
    files::{parse_json, read_text_if_there},
    model::lora::merge,
    model::{CONFIG_FILE, Decoder, DecoderConfig, GENERATION_CONFIG_FILE, weight_types},
    store::StoredAdapter,
    text::CHAT_TEMPLATE_FILE,
};

use super::setup::recorded_tokenizer;

/// Files of a base that a merged model has too, as they are.
const FILES: [&str; 10] = [
    CONFIG_FILE,
    GENERATION_CONFIG_FILE,
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    CHAT_TEMPLATE_FILE,
];

/// Writes the base in folder `base`, of shape `shape`, with the adapter added to its weights, to the new folder `out`.
///
/// Every weight has the type that it has in the base, whatever type it was held in to encode; the other files are
/// the base's, but for what `finish` puts beside them.
///
/// # Errors
/// A base or an adapter that cannot be read, a file that cannot be written.
pub fn write(
    stored: &StoredAdapter,
    base: &Path,
    shape: &DecoderConfig,
    out: &Path,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let types = weight_types(base)?;
    let (storage, compute) = widest(&types);
    let decoder = Decoder::load(base, storage, compute, &Device::Cpu)?;
    let adapter = stored.load(shape, compute, &Device::Cpu)?;
    let merged = merge(&decoder, &adapter.layout, &adapter.tensors)?;
    write_folder(out, |new| {
        merged.save_weights(new, &types)?;
        for name in FILES {
            copy(&base.join(name), &new.join(name))?;
        }
        let model = &stored.record.base.model;
        if model.end_token.is_some() {
            end_with(recorded_tokenizer(model, base)?.end_id(), new)?;
        }
        finish(new)
    })
}

/// A type that holds every weight exactly, and the one to add in.
pub(super) fn widest(types: &HashMap<String, DType>) -> (DType, DType) {
    let has = |dtype| types.values().any(|found| *found == dtype);
    let storage = match (has(DType::F64), has(DType::F32), has(DType::F16), has(DType::BF16)) {
        (true, ..) => DType::F64,
        (_, true, ..) | (_, _, true, true) => DType::F32,
        (_, _, true, false) => DType::F16,
        (_, _, false, true) => DType::BF16,
        (_, _, false, false) => DType::F32,
    };
    (storage, if storage == DType::F64 { DType::F64 } else { DType::F32 })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        fs::copy(from, to).map_err(|e| Error::io(from, e))?;
    }
    Ok(())
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
    fn weights_are_held_in_a_type_that_holds_all_of_them() {
        use DType::{BF16, F16, F32, F64};
        for (types, expected) in [
            (vec![BF16], (BF16, F32)),
            (vec![F16], (F16, F32)),
            (vec![F16, BF16], (F32, F32)),
            (vec![BF16, F32], (F32, F32)),
            (vec![F64, F32], (F64, F64)),
        ] {
            let types = types.into_iter().enumerate().map(|(n, dtype)| (n.to_string(), dtype)).collect();
            assert_eq!(widest(&types), expected);
        }
    }
}
