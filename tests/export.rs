//! Adapters and merged models as other programs open them: PEFT, Candle, llama.cpp.

#![allow(clippy::unwrap_used)] // Outside #[test] functions too: a helper that fails is a test that fails.

#[path = "support/base.rs"]
mod base;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use base::{load, saved};
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, qwen2, qwen3};
use perk::model::lora::{ADAPTER_CONFIG_FILE, Adapter, Layers, LoraInit, LoraLayout, LoraSpec, merge};
use perk::model::{CONFIG_FILE, Decoder, DecoderConfig, Family, Projection, WEIGHTS_FILE, tape};

fn shape(family: Family, tied: bool) -> DecoderConfig {
    // Qwen3's heads are wider than their share of the stream.
    let head_dim = if family == Family::Qwen3 { 16 } else { 8 };
    DecoderConfig { family, num_layers: 3, head_dim, ..base::shape(tied) }
}

fn random(config: &DecoderConfig, dtype: DType) -> Decoder {
    Decoder::random_trained(config, 7, dtype, dtype, &Device::Cpu).unwrap()
}

fn spec(rank: usize, alpha: f64, rslora: bool, layers: Layers) -> LoraSpec {
    LoraSpec { rank, alpha, rslora, targets: Projection::ALL.to_vec(), layers }
}

/// Rank 6, so that neither the scale nor the alpha without rsLoRA is a whole number.
fn adapter(config: &DecoderConfig, layers: Layers, dtype: DType) -> Adapter {
    let layout = LoraLayout::new(spec(6, 7.0, true, layers), config);
    Adapter::new(layout, LoraInit::SmallB { std: 0.1 }, 3, dtype, &Device::Cpu).unwrap()
}

fn merged(decoder: &Decoder, adapter: &Adapter) -> Decoder {
    merge(decoder, &adapter.layout, &adapter.tensors).unwrap()
}

fn ids() -> Tensor {
    Tensor::new(&[[1u32, 8, 3, 22, 5, 31, 12], [9, 2, 39, 0, 17, 48, 4]], &Device::Cpu).unwrap()
}

fn logits(decoder: &Decoder, adapter: Option<&Adapter>) -> Tensor {
    tape::logits(decoder, adapter.map(Adapter::parts), &ids(), None).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let difference = (a.to_dtype(DType::F64).unwrap() - b.to_dtype(DType::F64).unwrap()).unwrap();
    difference.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap()
}

#[test]
fn the_form_without_rslora_has_the_same_scale() {
    let plain = spec(16, 4.0, true, Layers::Top(2)).plain();
    assert_eq!(plain, spec(16, 16.0, false, Layers::Top(2)));
    let (with, without) = (spec(6, 7.0, true, Layers::All), spec(6, 7.0, true, Layers::All).plain());
    assert!(!without.rslora && without.alpha.fract() != 0.0, "{}", without.alpha);
    assert!((without.scale() / with.scale() - 1.0).abs() < 1e-15);
    let already = spec(3, 0.1, false, Layers::All);
    assert_eq!(already.plain(), already);
}

#[test]
fn an_adapter_saved_without_rslora_computes_the_same() {
    for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-10)] {
        let decoder = random(&shape(Family::Qwen2, true), dtype);
        let adapter = adapter(&decoder.config, Layers::All, dtype);
        let folder = tempfile::tempdir().unwrap();
        adapter.plain().save(folder.path(), "").unwrap();
        let text = std::fs::read_to_string(folder.path().join(ADAPTER_CONFIG_FILE)).unwrap();
        assert!(text.contains("\"use_rslora\": false"), "{text}");
        let mut read = Adapter::load(folder.path(), &decoder.config, dtype, &Device::Cpu).unwrap();
        let expected = logits(&decoder, Some(&adapter));
        let difference = largest_difference(&logits(&decoder, Some(&read)), &expected);
        assert!(difference < tolerance, "{dtype:?}: {difference}");
        read.layout.spec.alpha = adapter.layout.spec.alpha;
        let ignored = largest_difference(&logits(&decoder, Some(&read)), &expected);
        assert!(ignored > 1e-2, "the folded alpha changes nothing, so it is not tested");
    }
}

#[test]
fn a_merged_model_computes_the_same_after_saving_and_loading() {
    for (family, tied) in
        [(Family::Qwen2, true), (Family::Qwen2, false), (Family::Llama, true), (Family::Qwen3, false)]
    {
        let decoder = random(&shape(family, tied), DType::F32);
        let adapter = adapter(&decoder.config, Layers::Top(2), DType::F32);
        let folder = saved(&merged(&decoder, &adapter));
        let read = load(folder.path()).unwrap();
        assert_eq!(read.config, decoder.config);
        let expected = logits(&decoder, Some(&adapter));
        let difference = largest_difference(&logits(&read, None), &expected);
        assert!(difference < 1e-4, "{family:?}, tied {tied}: {difference}");
        assert!(largest_difference(&logits(&decoder, None), &expected) > 1e-2);
    }
}

fn builder(folder: &Path) -> VarBuilder<'static> {
    let weights = candle_core::safetensors::load(folder.join(WEIGHTS_FILE), &Device::Cpu).unwrap();
    VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu)
}

/// Logits of the last position as Candle's own model of the family computes them.
fn candles_last_logits(folder: &Path, family: Family) -> Tensor {
    let text = std::fs::read_to_string(folder.join(CONFIG_FILE)).unwrap();
    match family {
        Family::Qwen2 => {
            let config: qwen2::Config = serde_json::from_str(&text).unwrap();
            let mut model = qwen2::ModelForCausalLM::new(&config, builder(folder)).unwrap();
            model.forward(&ids(), 0).unwrap().squeeze(1).unwrap()
        }
        Family::Qwen3 => {
            let config: qwen3::Config = serde_json::from_str(&text).unwrap();
            let mut model = qwen3::ModelForCausalLM::new(&config, builder(folder)).unwrap();
            model.forward(&ids(), 0).unwrap().squeeze(1).unwrap()
        }
        Family::Llama => {
            let config: llama::LlamaConfig = serde_json::from_str(&text).unwrap();
            let config = config.into_config(false);
            let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
            let model = llama::Llama::load(builder(folder), &config).unwrap();
            model.forward(&ids(), 0, &mut cache).unwrap()
        }
    }
}

#[test]
fn candles_own_models_open_a_merged_model_and_compute_the_same() {
    for family in Family::ALL {
        let decoder = random(&shape(family, true), DType::F32);
        let adapter = adapter(&decoder.config, Layers::All, DType::F32);
        let folder = saved(&merged(&decoder, &adapter));
        let expected = logits(&decoder, Some(&adapter));
        let expected = expected.narrow(1, expected.dim(1).unwrap() - 1, 1).unwrap().squeeze(1).unwrap();
        let difference = largest_difference(&candles_last_logits(folder.path(), family), &expected);
        assert!(difference < 1e-4, "{family:?}: {difference}");
    }
}

/// The metadata of a GGUF file, and its tensors by name.
fn read_gguf(path: &Path) -> (HashMap<String, Value>, HashMap<String, Tensor>) {
    let mut file = File::open(path).unwrap();
    let content = Content::read(&mut file).unwrap();
    let tensors = content.tensor_infos.keys().map(|name| {
        let tensor = content.tensor(&mut file, name, &Device::Cpu).unwrap();
        (name.clone(), tensor.dequantize(&Device::Cpu).unwrap())
    });
    let tensors = tensors.collect();
    (content.metadata, tensors)
}

fn exported(adapter: &Adapter, config: &DecoderConfig) -> (HashMap<String, Value>, HashMap<String, Tensor>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.gguf");
    adapter.save_gguf(&path, config, "a memory").unwrap();
    read_gguf(&path)
}

#[test]
fn a_gguf_file_says_what_llama_cpp_reads_of_an_adapter() {
    for (family, architecture) in
        [(Family::Qwen2, "qwen2"), (Family::Llama, "llama"), (Family::Qwen3, "qwen3")]
    {
        let config = shape(family, true);
        let adapter = adapter(&config, Layers::All, DType::F32);
        let (metadata, _) = exported(&adapter, &config);
        for (key, expected) in [
            ("general.architecture", architecture),
            ("general.type", "adapter"),
            ("adapter.type", "lora"),
            ("general.name", "a memory"),
        ] {
            assert_eq!(metadata[key].to_string().unwrap(), expected, "{key}");
        }
        let alpha = metadata["adapter.lora.alpha"].to_f32().unwrap();
        assert!((f64::from(alpha) / 6.0 / adapter.layout.spec.scale() - 1.0).abs() < 1e-7, "{alpha}");
    }
}

#[test]
fn a_gguf_file_holds_the_adapted_layers_and_no_others() {
    let config = shape(Family::Qwen2, true);
    let (_, tensors) = exported(&adapter(&config, Layers::Top(2), DType::F32), &config);
    assert_eq!(tensors.len(), 2 * 2 * 7);
    for (name, dims) in [
        ("attn_q", [32, 32]),
        ("attn_k", [16, 32]),
        ("attn_v", [16, 32]),
        ("attn_output", [32, 32]),
        ("ffn_gate", [48, 32]),
        ("ffn_up", [48, 32]),
        ("ffn_down", [32, 48]),
    ] {
        assert!(!tensors.contains_key(&format!("blk.0.{name}.weight.lora_a")));
        for layer in [1, 2] {
            let stem = format!("blk.{layer}.{name}.weight");
            assert_eq!(tensors[&format!("{stem}.lora_a")].dims(), [6, dims[1]], "{stem}");
            assert_eq!(tensors[&format!("{stem}.lora_b")].dims(), [dims[0], 6], "{stem}");
        }
    }
}

/// llama.cpp's row of each of Hugging Face's rows of q or k, for heads of width `head_dim`: the two halves
/// of a head lie there in turn.
fn rows_in_llama_cpp(rows: usize, head_dim: usize) -> Tensor {
    let row = |at: usize| {
        let (head, within) = (at / head_dim, at % head_dim);
        let (half, pair) = (within / (head_dim / 2), within % (head_dim / 2));
        (head * head_dim + 2 * pair + half) as u32
    };
    Tensor::from_iter((0..rows).map(row), &Device::Cpu).unwrap()
}

#[test]
fn a_gguf_file_gives_the_change_of_weights_that_the_adapter_makes() {
    for family in Family::ALL {
        let config = shape(family, true);
        let adapter = adapter(&config, Layers::All, DType::F32);
        let (metadata, tensors) = exported(&adapter, &config);
        let scale = f64::from(metadata["adapter.lora.alpha"].to_f32().unwrap()) / 6.0;
        let names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
        for (site, pair) in adapter.layout.sites.iter().zip(adapter.tensors.chunks_exact(2)) {
            let stem = format!("blk.{}.{}.weight", site.layer, names[site.projection as usize]);
            let (a, b) = (&tensors[&format!("{stem}.lora_a")], &tensors[&format!("{stem}.lora_b")]);
            let rotated = matches!(site.projection, Projection::QProj | Projection::KProj);
            let b = if family == Family::Llama && rotated {
                assert!(largest_difference(b, &pair[1]) > 1e-2, "{stem}: the rows are where they were");
                b.index_select(&rows_in_llama_cpp(site.out_features, config.head_dim), 0).unwrap()
            } else {
                b.clone()
            };
            let found = (b.matmul(a).unwrap() * scale).unwrap();
            let expected = (pair[1].matmul(&pair[0]).unwrap() * adapter.layout.spec.scale()).unwrap();
            let difference = largest_difference(&found, &expected);
            assert!(difference < 1e-6, "{family:?} {stem}: {difference}");
        }
    }
}

#[test]
fn a_gguf_file_is_read_back_to_the_bit_and_refused_where_it_holds_something_else() {
    for family in [Family::Qwen2, Family::Llama, Family::Qwen3] {
        let config = shape(family, true);
        let adapter = adapter(&config, Layers::Top(2), DType::F32);
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("a.gguf");
        adapter.save_gguf(&path, &config, "a").unwrap();
        let read = Adapter::load_gguf(&path, &adapter.layout, &config, DType::F32).unwrap();
        assert!((read.layout.spec.scale() / adapter.layout.spec.scale() - 1.0).abs() < 1e-6);
        for (index, (a, b)) in read.tensors.iter().zip(&adapter.tensors).enumerate() {
            base::assert_same(a, b, &format!("{family:?} {}", adapter.layout.name(index)));
        }
        let other = |layers| LoraLayout::new(spec(6, 7.0, true, layers), &config);
        let fewer =
            Adapter::load_gguf(&path, &other(Layers::Top(1)), &config, DType::F32).unwrap_err().to_string();
        assert!(fewer.contains("is none of this adapter's"), "{fewer}");
        let more =
            Adapter::load_gguf(&path, &other(Layers::All), &config, DType::F32).unwrap_err().to_string();
        assert!(more.contains("blk.0.attn_q.weight.lora_a"), "{more}");
    }
}

#[test]
fn a_tensor_that_is_a_view_is_written_as_what_it_shows() {
    let config = shape(Family::Qwen2, true);
    for dtype in [DType::F32, DType::F64] {
        let whole = adapter(&config, Layers::Top(1), dtype);
        let mut views = whole.clone();
        for tensor in &mut views.tensors {
            let (rows, around) = (tensor.dim(0).unwrap(), tensor.ones_like().unwrap());
            let around = Tensor::cat(&[&around, &*tensor, &around], 0).unwrap();
            *tensor = around.narrow(0, rows, rows).unwrap();
        }
        let ((_, expected), (_, found)) = (exported(&whole, &config), exported(&views, &config));
        assert_eq!(found.len(), expected.len());
        for (name, tensor) in &expected {
            assert_eq!(largest_difference(&found[name], tensor), 0.0, "{dtype:?} {name}");
        }
    }
}

#[test]
fn a_gguf_file_that_would_be_wrong_is_not_written() {
    let config = shape(Family::Llama, true);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.gguf");
    let good = adapter(&config, Layers::All, DType::F32);
    let refused = |adapter: &Adapter, config: &DecoderConfig| {
        let error = adapter.save_gguf(&path, config, "").unwrap_err().to_string();
        assert!(!path.exists(), "{error}");
        error
    };
    let other = DecoderConfig { num_layers: 4, ..config.clone() };
    assert!(refused(&good, &other).contains("another shape"));
    for alpha in [1e300, 1e-300] {
        let mut extreme = good.clone();
        extreme.layout.spec.alpha = alpha;
        assert!(refused(&extreme, &config).contains("beyond the f32"));
    }
    let missing = folder.path().join("missing/adapter.gguf");
    let error = good.save_gguf(&missing, &config, "").unwrap_err().to_string();
    assert!(error.contains("missing/adapter.gguf"), "{error}");
}

/// Writes what `scripts/check_exports.py` compares with other programs into `PERK_EXPORT_DIR`, a folder for
/// each family.
#[test]
#[ignore = "writes files for scripts/check_exports.py"]
fn exports_of_every_family_are_written_for_other_programs_to_open() {
    let root =
        std::env::var_os("PERK_EXPORT_DIR").map(PathBuf::from).expect("PERK_EXPORT_DIR names a folder");
    for (family, name) in [(Family::Qwen2, "qwen2"), (Family::Llama, "llama"), (Family::Qwen3, "qwen3")] {
        let folder = root.join(name);
        let decoder = random(&shape(family, true), DType::F32);
        let adapter = adapter(&decoder.config, Layers::Top(2), DType::F32);
        decoder.save(&folder.join("base"), 0).unwrap();
        adapter.save(&folder.join("adapter"), "").unwrap();
        adapter.plain().save(&folder.join("plain"), "").unwrap();
        merged(&decoder, &adapter).save(&folder.join("merged"), 0).unwrap();
        adapter.save_gguf(&folder.join("adapter.gguf"), &decoder.config, name).unwrap();
        let expected = vec![
            ("ids".to_owned(), ids().to_dtype(DType::I64).unwrap()),
            ("base_logits".to_owned(), logits(&decoder, None)),
            ("logits".to_owned(), logits(&decoder, Some(&adapter))),
        ];
        safetensors::serialize_to_file(expected, None, &folder.join("expected.safetensors")).unwrap();
    }
}
