//! A small base model on disk, whole or in shards.

#![allow(clippy::unwrap_used, dead_code)] // Each test file uses a part of these helpers.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use perk::model::{Decoder, DecoderConfig, Family, INDEX_FILE, WEIGHTS_FILE};
use serde_json::json;
use tempfile::TempDir;

pub fn shape(tied: bool) -> DecoderConfig {
    DecoderConfig {
        family: Family::Qwen2,
        vocab_size: 50,
        hidden_size: 32,
        intermediate_size: 48,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 8,
        max_positions: 1024,
        rms_norm_eps: 1e-5,
        rope_theta: 1e4,
        rope_scaling: None,
        tied,
    }
}

pub fn random(tied: bool) -> Decoder {
    Decoder::random_trained(&shape(tied), 7, DType::F32, DType::F32, &Device::Cpu).unwrap()
}

pub fn saved(decoder: &Decoder) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    decoder.save(folder.path(), 0).unwrap();
    folder
}

pub fn load(folder: &Path) -> perk::Result<Decoder> {
    Decoder::load(folder, DType::F32, DType::F32, &Device::Cpu)
}

pub fn write(tensors: Vec<(String, Tensor)>, path: &Path) {
    safetensors::serialize_to_file(tensors, None, path).unwrap();
}

pub fn assert_same(a: &Tensor, b: &Tensor, what: &str) {
    let values =
        |x: &Tensor| x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(a.dims(), b.dims(), "{what}");
    assert_eq!(values(a), values(b), "{what}");
}

pub fn assert_same_weights(a: &Decoder, b: &Decoder) {
    let (a, b) = (a.named_tensors().unwrap(), b.named_tensors().unwrap());
    assert_eq!(a.len(), b.len());
    for ((name, x), (other, y)) in a.iter().zip(&b) {
        assert_eq!(name, other);
        assert_same(x, y, name);
    }
}

/// Splits the one file of a checkpoint into two shards and an index.
pub fn shard(folder: &Path) {
    let single = folder.join(WEIGHTS_FILE);
    let all = candle_core::safetensors::load(&single, &Device::Cpu).unwrap();
    let mut map = serde_json::Map::new();
    for (number, keep) in [(1, true), (2, false)] {
        let file = format!("model-{number:05}-of-00002.safetensors");
        let part = all.iter().filter(|(name, _)| name.contains("layers.0") == keep);
        let part: Vec<_> = part.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        map.extend(part.iter().map(|(name, _)| (name.clone(), file.clone().into())));
        write(part, &folder.join(&file));
    }
    std::fs::remove_file(single).unwrap();
    std::fs::write(folder.join(INDEX_FILE), json!({ "metadata": {}, "weight_map": map }).to_string())
        .unwrap();
}
