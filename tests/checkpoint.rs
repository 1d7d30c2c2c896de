//! Checkpoints of base models: saved, loaded, sharded, damaged, refused.

#![allow(clippy::unwrap_used)] // Outside #[test] functions too: a helper that fails is a test that fails.

#[path = "support/base.rs"]
mod base;
#[path = "checkpoint/contents.rs"]
mod contents;

use std::path::Path;

use base::{assert_same, assert_same_weights, load, random, saved, shape, shard, write};
use candle_core::{DType, Device, Tensor};
use perk::checkpoint::Digest;
use perk::model::{
    CONFIG_FILE, Decoder, DecoderConfig, Family, INDEX_FILE, Projection, RopeScaling, WEIGHTS_FILE,
    WeightSpec,
};
use serde_json::{Value, json};

fn llama() -> DecoderConfig {
    let scaling =
        RopeScaling { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_positions: 64.0 };
    DecoderConfig { family: Family::Llama, rope_scaling: Some(scaling), ..shape(true) }
}

fn qwen3(tied: bool) -> DecoderConfig {
    DecoderConfig { family: Family::Qwen3, head_dim: 16, ..shape(tied) }
}

#[test]
fn a_checkpoint_is_the_same_after_saving_and_loading() {
    for config in [shape(true), shape(false), llama(), qwen3(true), qwen3(false)] {
        let decoder = Decoder::random_trained(&config, 7, DType::F32, DType::F32, &Device::Cpu).unwrap();
        let loaded = load(saved(&decoder).path()).unwrap();
        assert_eq!(loaded.config, decoder.config);
        assert_same_weights(&loaded, &decoder);
    }
}

/// Made with the code that first wrote checkpoints: what it drew and wrote must not change.
#[test]
fn a_seed_draws_the_same_weights_and_saves_the_same_bytes_as_ever() {
    for (config, weights, described) in [
        (shape(true), "d5dce18dbdbc", "ec2583a8eebf"),
        (shape(false), "6fafb970a707", "e0c9162cd27a"),
        (llama(), "8c5f09b9f3bd", "c46a9ea6a1d6"),
    ] {
        let decoder = Decoder::random_trained(&config, 7, DType::F32, DType::F32, &Device::Cpu).unwrap();
        let folder = saved(&decoder);
        for (file, expected) in [(WEIGHTS_FILE, weights), (CONFIG_FILE, described)] {
            let digest = Digest::of_file(&folder.path().join(file)).unwrap();
            assert_eq!(digest.short(), expected, "{file} of {config:?}");
        }
    }
}

#[test]
fn every_type_on_disk_loads_into_the_types_that_are_asked_for() {
    for disk in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let decoder = Decoder::random_trained(&shape(true), 7, disk, disk, &Device::Cpu).unwrap();
        let folder = saved(&decoder);
        let loaded = Decoder::load(folder.path(), DType::BF16, DType::F64, &Device::Cpu).unwrap();
        assert_eq!(loaded.layers[0].linears[0].weight.dtype(), DType::BF16);
        assert_eq!(loaded.embed_tokens.dtype(), DType::BF16);
        assert_eq!(loaded.norm.dtype(), DType::F64);
        let rounded = decoder.embed_tokens.tensor().unwrap().to_dtype(DType::BF16).unwrap();
        assert_same(&loaded.embed_tokens.tensor().unwrap(), &rounded, "embedding");
        assert_same(&loaded.norm, &decoder.norm, "norm");
    }
}

#[test]
fn shards_load_as_one_checkpoint() {
    let decoder = random(false);
    let folder = saved(&decoder);
    shard(folder.path());
    assert_same_weights(&load(folder.path()).unwrap(), &decoder);
}

#[test]
fn a_bad_shard_index_is_one_clear_error() {
    let folder = saved(&random(false));
    shard(folder.path());
    let index = folder.path().join(INDEX_FILE);
    let good = std::fs::read_to_string(&index).unwrap();
    for (from, to, expected) in [
        ("model-00002-of-00002", "../model-00002-of-00002", "not a file of its folder"),
        ("model-00002-of-00002.safetensors", "/etc/passwd", "not a file of its folder"),
        ("model-00002-of-00002.safetensors", "..", "not a file of its folder"),
        ("model-00002-of-00002.safetensors", "", "not a file of its folder"),
        ("model-00002-of-00002", "model-00003-of-00002", "model-00003-of-00002.safetensors"),
        ("model-00002-of-00002", "model-00001-of-00002", "model.embed_tokens.weight"),
        ("weight_map", "weights", "weight_map"),
        ("{", "", "model.safetensors.index.json:1: "),
    ] {
        std::fs::write(&index, good.replace(from, to)).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
}

fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn damaged_weights_are_one_clear_error() {
    let folder = saved(&random(true));
    let path = folder.path().join(WEIGHTS_FILE);
    let whole = std::fs::read(&path).unwrap();
    let longest = [u64::MAX.to_le_bytes().to_vec(), whole[8..].to_vec()].concat();
    let overlap = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#;
    let backwards = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#;
    let outside = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    for (case, bytes) in [
        ("empty", Vec::new()),
        ("short", whole[..5].to_vec()),
        ("header only", whole[..200].to_vec()),
        ("truncated", whole[..whole.len() - 1].to_vec()),
        ("trailing bytes", [whole.clone(), vec![0; 9]].concat()),
        ("longest header", longest),
        ("not JSON", with_header("{\"a\"", 8)),
        ("overlap", with_header(overlap, 12)),
        ("huge", with_header(huge, 8)),
        ("backwards", with_header(backwards, 8)),
        ("outside", with_header(outside, 4)),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("model.safetensors: is not a whole safetensors file"), "{case}: {error}");
    }
}

#[test]
fn a_tensor_that_is_missing_or_wrong_is_named() {
    let decoder = random(true);
    let folder = saved(&decoder);
    let name = "model.layers.1.mlp.up_proj.weight";
    let zeros = |shape: (usize, usize), dtype| Some(Tensor::zeros(shape, dtype, &Device::Cpu).unwrap());
    for (tensor, expected) in [
        (None, "is missing, expected [48, 32]"),
        (zeros((32, 48), DType::F32), "has shape [32, 48], expected [48, 32]"),
        (zeros((48, 32), DType::I64), "has type I64, expected F32"),
    ] {
        let mut all = decoder.named_tensors().unwrap();
        all.retain(|(other, _)| other != name);
        all.extend(tensor.map(|tensor| (name.to_owned(), tensor)));
        write(all, &folder.path().join(WEIGHTS_FILE));
        let error = load(folder.path()).unwrap_err();
        assert!(matches!(error, perk::Error::Tensor { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains(name) && error.contains(WEIGHTS_FILE), "{error}");
    }
}

#[test]
fn a_folder_without_weights_or_config_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    assert!(load(folder.path()).unwrap_err().to_string().contains(CONFIG_FILE));
    random(true).save(folder.path(), 0).unwrap();
    std::fs::remove_file(folder.path().join(WEIGHTS_FILE)).unwrap();
    assert!(load(folder.path()).unwrap_err().to_string().contains("neither model.safetensors nor"));
    std::fs::create_dir(folder.path().join(WEIGHTS_FILE)).unwrap();
    assert!(load(folder.path()).unwrap_err().to_string().contains("is not a file"));
}

fn parse(change: impl FnOnce(&mut Value)) -> perk::Result<DecoderConfig> {
    let mut value = llama().to_json(0);
    change(&mut value);
    DecoderConfig::from_json(Path::new("config.json"), &value.to_string())
}

#[test]
fn what_the_decoder_does_not_compute_is_refused_by_name() {
    for (key, value, expected) in [
        ("model_type", json!("mistral"), "family `mistral` is not supported; supported are qwen2"),
        ("architectures", json!(["LlamaForSequenceClassification"]), "expected `LlamaForCausalLM`"),
        ("use_sliding_window", json!(true), "sliding window"),
        ("layer_types", json!(["full_attention", "sliding_attention"]), "layer_types"),
        ("hidden_act", json!("gelu"), "activation `gelu`"),
        ("attention_bias", json!(true), "`attention_bias`"),
        ("mlp_bias", json!(true), "`mlp_bias`"),
        ("quantization_config", json!({"bits": 4}), "quantised"),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0}), "rope scaling `linear`"),
        ("rope_scaling", json!({"factor": 2.0}), "`rope_scaling` has factor and no `rope_type`"),
        ("rope_scaling", json!("llama3"), "`rope_scaling` is \"llama3\", expected an object"),
        (
            "rope_scaling",
            json!({"type": "llama3", "rope_type": "yarn"}),
            "the `rope_type` yarn and the `type` llama3",
        ),
        (
            "rope_parameters",
            json!({"full_attention": {}}),
            "`rope_parameters` has full_attention and no `rope_type`",
        ),
        (
            "rope_parameters",
            json!({"rope_theta": 3.0}),
            "`rope_parameters` and `rope_theta` say different things",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "default"}),
            "`rope_parameters` and `rope_scaling` say different",
        ),
        ("partial_rotary_factor", json!(0.5), "`partial_rotary_factor` is 0.5"),
        ("use_sliding_window", json!("no"), "`use_sliding_window` is \"no\", expected true or false"),
        ("layer_types", json!("full_attention"), "`layer_types` is \"full_attention\", expected a list"),
        ("hidden_act", json!(3), "`hidden_act` is 3, expected a string"),
        ("model_type", json!(["llama"]), "`model_type` is [\"llama\"], expected a string"),
        ("hidden_size", json!(null), "`hidden_size` is missing or null, expected a whole number"),
        ("num_hidden_layers", json!("2"), "`num_hidden_layers` is \"2\", expected a whole number"),
        ("rope_scaling", json!({"rope_type": "llama3"}), "factor"),
        ("num_attention_heads", json!(0), "heads"),
        ("num_key_value_heads", json!(3), "key-value heads"),
        ("num_hidden_layers", json!(u64::MAX), "num_hidden_layers"),
        ("vocab_size", json!(1u64 << 60), "vocab_size"),
        ("hidden_size", json!(30), "heads"),
        ("hidden_size", json!(-1), "-1"),
        ("head_dim", json!(7), "even"),
        ("rms_norm_eps", json!(0.0), "rms_norm_eps"),
    ] {
        let error = parse(|config| config[key] = value).unwrap_err().to_string();
        assert!(error.contains(expected) && error.starts_with("config.json: "), "{key}: {error}");
    }
    let error = DecoderConfig::from_json(Path::new("config.json"), "{\n\"a\": }").unwrap_err().to_string();
    assert!(error.starts_with("config.json:2: "), "{error}");
    let missing = parse(|config| drop(config.as_object_mut().unwrap().remove("hidden_size"))).unwrap_err();
    assert!(missing.to_string().contains("hidden_size"), "{missing}");
}

#[test]
fn newer_and_older_forms_of_a_config_mean_the_same() {
    assert_eq!(parse(|_| ()).unwrap(), llama());
    let newer = parse(|config| {
        let fields = config.as_object_mut().unwrap();
        let mut rope = fields.remove("rope_scaling").unwrap();
        rope["rope_theta"] = fields.remove("rope_theta").unwrap();
        fields.insert("rope_parameters".to_owned(), rope);
    });
    assert_eq!(newer.unwrap(), llama());
    let newer_beside_null = parse(|config| {
        let rope = config["rope_scaling"].take();
        config["rope_parameters"] = rope;
        config["rope_parameters"]["rope_theta"] = json!(null);
    });
    assert_eq!(newer_beside_null.unwrap(), llama());
    let both = parse(|config| config["rope_parameters"] = config["rope_scaling"].clone());
    assert_eq!(both.unwrap(), llama());
    let older = parse(|config| {
        let kind = config["rope_scaling"].as_object_mut().unwrap().remove("rope_type").unwrap();
        config["rope_scaling"]["type"] = kind;
    });
    assert_eq!(older.unwrap(), llama());
    let theta_alone = parse(|config| {
        config["rope_parameters"] = json!({"rope_theta": 1e4});
    });
    assert_eq!(theta_alone.unwrap(), llama());
    let wide = parse(|config| config["head_dim"] = json!(16)).unwrap();
    assert_eq!(wide.projection_shape(Projection::QProj), (64, 32));
    let nulls = parse(|config| {
        let optional = [
            "head_dim",
            "rope_parameters",
            "layer_types",
            "attention_bias",
            "mlp_bias",
            "hidden_act",
            "quantization_config",
            "use_sliding_window",
            "architectures",
            "torch_dtype",
            "dtype",
            "rope_theta",
            "partial_rotary_factor",
            "num_key_value_heads",
        ];
        optional.into_iter().for_each(|key| config[key] = json!(null));
        config["num_key_value_heads"] = json!(2);
    });
    assert_eq!(nulls.unwrap(), llama());
    let marked = format!("\u{feff}{}", llama().to_json(0));
    assert_eq!(DecoderConfig::from_json(Path::new("config.json"), &marked).unwrap(), llama());
    let sparse = json!({"model_type": "qwen2", "vocab_size": 9, "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": null});
    let sparse = DecoderConfig::from_json(Path::new("config.json"), &sparse.to_string()).unwrap();
    assert!(!sparse.tied && sparse.rope_theta == 1e4 && sparse.head_dim == 4);
}

/// The published file of Qwen3-0.6B, and the parameters that transformers counts.
#[test]
fn the_config_of_qwen3_0_6b_makes_a_decoder_of_596_million_parameters() {
    let text = json!({"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 151_643, "eos_token_id": 151_645, "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
        "max_position_embeddings": 40_960, "max_window_layers": 28, "model_type": "qwen3",
        "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-6,
        "rope_scaling": null, "rope_theta": 1_000_000, "sliding_window": null, "tie_word_embeddings": true,
        "torch_dtype": "bfloat16", "use_cache": true, "use_sliding_window": false, "vocab_size": 151_936});
    let config = DecoderConfig::from_json(Path::new("config.json"), &text.to_string()).unwrap();
    assert_eq!(config.projection_shape(Projection::QProj), (2048, 1024));
    assert_eq!(config.weights().iter().map(WeightSpec::count).sum::<usize>(), 596_049_920);
}

#[test]
fn a_qwen3_config_has_heads_of_its_own_width_and_no_variants() {
    let parse = |change: &dyn Fn(&mut Value)| {
        let mut value = qwen3(true).to_json(0);
        change(&mut value);
        DecoderConfig::from_json(Path::new("config.json"), &value.to_string())
    };
    assert_eq!(parse(&|_| ()).unwrap(), qwen3(true));
    let plain = parse(&|config| drop(config.as_object_mut().unwrap().remove("head_dim"))).unwrap();
    assert_eq!(plain.head_dim, 128, "what transformers leaves out");
    let named: Vec<String> = plain.weights().into_iter().map(|spec| spec.name).collect();
    for norm in ["q_norm", "k_norm"] {
        assert!(named.contains(&format!("model.layers.1.self_attn.{norm}.weight")), "{named:?}");
    }
    assert!(named.iter().all(|name| !name.ends_with(".bias")), "{named:?}");
    for (key, value, expected) in [
        ("attention_bias", json!(true), "`attention_bias`"),
        ("use_sliding_window", json!(true), "sliding window"),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), "rope scaling `yarn`"),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 4.0}), "not supported with Qwen3"),
        ("architectures", json!(["Qwen3ForSequenceClassification"]), "expected `Qwen3ForCausalLM`"),
        ("model_type", json!("qwen3_moe"), "family `qwen3_moe` is not supported"),
        ("num_key_value_heads", json!(null), "num_key_value_heads"),
    ] {
        let error = parse(&|config| config[key] = value.clone()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.starts_with("config.json: "), "{key}: {error}");
    }
}
