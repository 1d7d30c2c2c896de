//! Adapters: their start, their files, and their effect on the decoder.

#![allow(clippy::unwrap_used)] // Outside #[test] functions too: a helper that fails is a test that fails.

#[path = "support/shared_folder.rs"]
mod shared_folder;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use perk::model::lora::{
    ADAPTER_CONFIG_FILE, ADAPTER_FILE, Adapter, Layers, LoraInit, LoraLayout, LoraSpec, merge,
};
use perk::model::{Decoder, DecoderConfig, Family, Projection, tape};
use serde_json::{Map, Value, json};

fn shape() -> DecoderConfig {
    DecoderConfig {
        family: Family::Qwen2,
        vocab_size: 40,
        hidden_size: 24,
        intermediate_size: 40,
        num_layers: 3,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 6,
        max_positions: 64,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        rope_scaling: None,
        tied: true,
    }
}

fn spec(layers: Layers) -> LoraSpec {
    LoraSpec { rank: 4, alpha: 7.0, rslora: true, targets: Projection::ALL.to_vec(), layers }
}

fn adapter(spec: LoraSpec, init: LoraInit, dtype: DType) -> Adapter {
    Adapter::new(LoraLayout::new(spec, &shape()), init, 5, dtype, &Device::Cpu).unwrap()
}

fn saved() -> (tempfile::TempDir, Adapter) {
    let adapter = adapter(spec(Layers::Top(2)), LoraInit::SmallB { std: 0.1 }, DType::F32);
    let folder = tempfile::tempdir().unwrap();
    adapter.save(folder.path(), "owner/base").unwrap();
    (folder, adapter)
}

fn load(folder: &Path) -> perk::Result<Adapter> {
    Adapter::load(folder, &shape(), DType::F32, &Device::Cpu)
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

fn logits(decoder: &Decoder, adapter: Option<&Adapter>) -> Tensor {
    let ids = Tensor::new(&[[1u32, 8, 3, 22, 5], [9, 2, 39, 0, 17]], &Device::Cpu).unwrap();
    tape::logits(decoder, adapter.map(Adapter::parts), &ids, None).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
    difference.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap()
}

#[test]
fn an_adapter_starts_as_peft_starts_it() {
    let fresh = adapter(spec(Layers::All), LoraInit::Peft, DType::F32);
    assert_eq!(fresh.tensors.len(), 42);
    for (index, tensor) in fresh.tensors.iter().enumerate() {
        let (rows, columns) = fresh.layout.shape(index);
        assert_eq!(tensor.dims(), [rows, columns]);
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let largest = values.iter().fold(0f32, |most, x| most.max(x.abs()));
        let bound = 1.0 / (columns as f32).sqrt();
        match index % 2 {
            0 => assert!((0.8 * bound..=bound).contains(&largest), "{largest} {bound}"),
            _ => assert_eq!(largest, 0.0),
        }
    }
    assert_ne!(bits(&fresh.tensors[0]), bits(&fresh.tensors[2]), "tensors are drawn apart");
    let again = adapter(spec(Layers::All), LoraInit::Peft, DType::F32);
    assert_eq!(bits(&fresh.tensors[0]), bits(&again.tensors[0]), "the same seed gives the same numbers");
}

#[test]
fn a_small_b_has_the_deviation_that_was_asked_for() {
    let fresh = adapter(spec(Layers::All), LoraInit::SmallB { std: 0.01 }, DType::F64);
    let b = fresh.tensors.iter().skip(1).step_by(2).map(|tensor| tensor.flatten_all().unwrap());
    let b = Tensor::cat(&b.collect::<Vec<_>>(), 0).unwrap();
    let std = b.sqr().unwrap().mean_all().unwrap().to_scalar::<f64>().unwrap().sqrt();
    assert!((std / 0.01 - 1.0).abs() < 0.1, "{std}");
}

#[test]
fn an_adapter_whose_b_is_zero_changes_nothing() {
    let decoder = Decoder::random_trained(&shape(), 1, DType::F64, DType::F64, &Device::Cpu).unwrap();
    let fresh = adapter(spec(Layers::All), LoraInit::Peft, DType::F64);
    assert_eq!(largest_difference(&logits(&decoder, Some(&fresh)), &logits(&decoder, None)), 0.0);
}

#[test]
fn a_merged_adapter_computes_what_the_adapter_does() {
    let decoder = Decoder::random_trained(&shape(), 1, DType::F64, DType::F64, &Device::Cpu).unwrap();
    for (layers, rslora) in [(Layers::All, true), (Layers::All, false), (Layers::Top(1), true)] {
        let spec = LoraSpec { rslora, ..spec(layers) };
        assert!((spec.scale() - 1.0).abs() > 0.5);
        let adapter = adapter(spec, LoraInit::SmallB { std: 0.1 }, DType::F64);
        let merged = merge(&decoder, &adapter.layout, &adapter.tensors).unwrap();
        let (with, base) = (logits(&decoder, Some(&adapter)), logits(&decoder, None));
        assert!(largest_difference(&with, &base) > 1e-2);
        assert!(largest_difference(&logits(&merged, None), &with) < 1e-10);
    }
}

#[test]
fn an_adapter_of_another_shape_is_not_merged() {
    let decoder = Decoder::random(&shape(), 1, DType::F32, DType::F32, &Device::Cpu).unwrap();
    let mut adapter = adapter(spec(Layers::All), LoraInit::Peft, DType::F32);
    assert!(merge(&decoder, &adapter.layout, &adapter.tensors[1..]).is_err());
    let other = LoraLayout::new(spec(Layers::All), &DecoderConfig { num_layers: 5, ..shape() });
    assert!(merge(&decoder, &other, &adapter.tensors).is_err());
    adapter.tensors[3] = adapter.tensors[3].t().unwrap();
    let error = merge(&decoder, &adapter.layout, &adapter.tensors).unwrap_err().to_string();
    assert!(error.contains("layers.0.self_attn.k_proj.lora_B.weight"), "{error}");
}

#[test]
fn an_adapter_is_bitwise_the_same_after_saving_and_loading() {
    let (folder, adapter) = saved();
    let loaded = load(folder.path()).unwrap();
    assert_eq!(loaded.layout, adapter.layout);
    for (a, b) in adapter.tensors.iter().zip(&loaded.tensors) {
        assert_eq!(bits(a), bits(b));
    }
}

fn read_config(folder: &Path) -> Map<String, Value> {
    let text = std::fs::read_to_string(folder.join(ADAPTER_CONFIG_FILE)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_files_have_pefts_names() {
    let (folder, adapter) = saved();
    let bytes = std::fs::read(folder.path().join(ADAPTER_FILE)).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
    let info = header.info("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight").unwrap();
    assert_eq!(info.shape, [4, 24]);
    assert_eq!(header.tensors().len(), adapter.tensors.len());
    let config = read_config(folder.path());
    for (key, expected) in [
        ("peft_type", json!("LORA")),
        ("task_type", json!("CAUSAL_LM")),
        ("r", json!(4)),
        ("lora_alpha", json!(7)),
        ("use_rslora", json!(true)),
        ("bias", json!("none")),
        ("base_model_name_or_path", json!("owner/base")),
        ("layers_to_transform", json!([1, 2])),
    ] {
        assert_eq!(config[key], expected, "{key}");
    }
}

#[test]
fn a_tensor_that_is_missing_extra_or_wrong_is_named() {
    let (folder, adapter) = saved();
    let path = folder.path().join(ADAPTER_FILE);
    let name = adapter.layout.name(3);
    type Named = Vec<(String, Tensor)>;
    let broken = |change: &dyn Fn(&mut Named)| {
        let named = adapter.tensors.iter().enumerate();
        let mut named = named.map(|(i, t)| (adapter.layout.name(i), t.clone())).collect();
        change(&mut named);
        safetensors::serialize_to_file(named, None, &path).unwrap();
        load(folder.path()).unwrap_err()
    };
    let missing = broken(&|named| drop(named.remove(3)));
    let turned = broken(&|named| named[3].1 = named[3].1.t().unwrap().contiguous().unwrap());
    let counts = broken(&|named| named[3].1 = named[3].1.to_dtype(DType::U32).unwrap());
    for (error, expected) in [(missing, "missing"), (turned, "has shape"), (counts, "has type U32")] {
        assert!(matches!(error, perk::Error::Tensor { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains(&name) && error.contains(ADAPTER_FILE), "{error}");
    }
    let extra = broken(&|named| named.push(("surplus".to_owned(), named[0].1.clone())));
    assert!(extra.to_string().contains("tensor `surplus`: is not part of the adapter"), "{extra}");
}

#[test]
fn damaged_adapter_files_are_errors() {
    let (folder, _) = saved();
    let path = folder.path().join(ADAPTER_FILE);
    let whole = std::fs::read(&path).unwrap();
    for len in [0, 5, 100, whole.len() - 1] {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not a whole safetensors file"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(load(folder.path()).unwrap_err().to_string().contains(ADAPTER_FILE));
}

#[test]
fn an_adapter_that_computes_something_else_is_refused() {
    let (folder, _) = saved();
    let path = folder.path().join(ADAPTER_CONFIG_FILE);
    let good = read_config(folder.path());
    for (key, value, expected) in [
        ("peft_type", json!("IA3"), "IA3"),
        ("peft_type", json!(7), "peft_type"),
        ("use_dora", json!(true), "use_dora"),
        ("use_rslora", json!("yes"), "use_rslora"),
        ("bias", json!("all"), "bias"),
        ("bias", json!(true), "bias"),
        ("alora_invocation_tokens", json!([1, 2]), "alora_invocation_tokens"),
        ("target_parameters", json!(["experts.w1"]), "target_parameters"),
        ("trainable_token_indices", json!([5]), "trainable_token_indices"),
        ("use_qalora", json!(true), "use_qalora"),
        ("layers_pattern", json!("blocks"), "layers_pattern"),
        ("init_lora_weights", json!("pissa_niter_4"), "init_lora_weights"),
        ("init_lora_weights", json!("loftq"), "init_lora_weights"),
        ("rank_pattern", json!({"q_proj": 2}), "rank_pattern"),
        ("modules_to_save", json!(["lm_head"]), "modules_to_save"),
        ("target_modules", json!(["q_proj", "c_attn"]), "c_attn"),
        ("target_modules", json!(["q_proj", 3]), "target_modules"),
        ("target_modules", json!([]), "no projection"),
        ("target_modules", json!(".*"), "target_modules"),
        ("layers_to_transform", json!([0, 2]), "layers_to_transform"),
        ("layers_to_transform", json!([1, 2, 3]), "layers_to_transform"),
        ("layers_to_transform", json!(["1", 2]), "layers_to_transform"),
        ("layers_to_transform", json!([1.5, 2]), "layers_to_transform"),
        ("r", json!(0), "rank"),
        ("r", json!(u64::MAX), "`r`"),
        ("r", json!("four"), "`r`"),
        ("lora_alpha", json!(null), "lora_alpha"),
        ("lora_alpha", json!(0), "alpha"),
    ] {
        let mut changed = good.clone();
        changed.insert(key.to_owned(), value);
        std::fs::write(&path, Value::Object(changed).to_string()).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(ADAPTER_CONFIG_FILE), "{key}: {error}");
    }
    std::fs::write(&path, "{\n,").unwrap();
    assert!(load(folder.path()).unwrap_err().to_string().contains("adapter_config.json:2:"));
}

#[test]
fn a_key_that_is_not_known_is_refused_by_name() {
    let (folder, _) = saved();
    let path = folder.path().join(ADAPTER_CONFIG_FILE);
    let good = read_config(folder.path());
    for key in ["use_newlora", "R", "lora-alpha", "", "odd\u{1b}"] {
        let mut changed = good.clone();
        changed.insert(key.to_owned(), json!(null));
        std::fs::write(&path, Value::Object(changed).to_string()).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is not known") && error.contains(&perk::error::shown(key)), "{error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}

#[test]
fn what_pefts_versions_write_of_a_plain_adapter_is_read() {
    let (folder, adapter) = saved();
    let path = folder.path().join(ADAPTER_CONFIG_FILE);
    let mut fields = read_config(folder.path());
    let of_other_versions = json!({
        "alora_invocation_tokens": null, "arrow_config": null, "corda_config": null, "enable_lora": null,
        "ensure_weight_tying": false, "eva_config": null, "init_lora_weights": "gaussian",
        "layers_pattern": "layers", "lora_dropout": 0.05, "merge_weights": false, "peft_version": "0.18.0",
        "qalora_group_size": 16, "target_parameters": null, "trainable_token_indices": null, "use_qalora": false,
        "auto_mapping": {"base_model_class": "Qwen2ForCausalLM"}, "revision": "main",
    });
    fields.extend(of_other_versions.as_object().unwrap().clone());
    std::fs::write(&path, Value::Object(fields).to_string()).unwrap();
    assert_eq!(load(folder.path()).unwrap().layout, adapter.layout);
}

/// What holds of the real data that is not part of this repository.
mod shared_data {
    use super::*;

    #[test]
    #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
    fn an_adapter_that_peft_wrote_is_read() {
        let golden = shared_folder::shared("golden");
        let config = DecoderConfig::from_folder(&golden.join("model_f64")).unwrap();
        let adapter = Adapter::load(&golden.join("adapter"), &config, DType::F64, &Device::Cpu).unwrap();
        assert_eq!(adapter.layout.spec.rank, 8);
        assert_eq!(adapter.layout.spec.targets, Projection::ALL);
        assert!((adapter.layout.spec.scale() - 16.0 / 8f64.sqrt()).abs() < 1e-12);
        // Every field that this crate writes is one that PEFT wrote.
        let folder = tempfile::tempdir().unwrap();
        adapter.save(folder.path(), "").unwrap();
        let (ours, pefts) = (read_config(folder.path()), read_config(&golden.join("adapter")));
        for (key, value) in ours.iter().filter(|(key, _)| *key != "target_modules") {
            assert_eq!(Some(value), pefts.get(key), "{key}");
        }
    }
}
