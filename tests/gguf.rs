//! Bases that are one GGUF file.

#![allow(clippy::unwrap_used)] // Outside #[test] functions too: a helper that fails is a test that fails.

#[path = "support/base.rs"]
mod base;
#[path = "gguf/damaged.rs"]
mod damaged;
#[path = "support/gguf.rs"]
mod file;
#[path = "gguf/kept.rs"]
mod kept;
#[path = "gguf/merged.rs"]
mod merged;
#[path = "support/hub.rs"]
mod server;
#[path = "gguf/tokens.rs"]
mod tokens;

use std::path::Path;

use base::assert_same_weights;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use candle_core::{DType, Device, Tensor};
use file::{GgufBase, quantised, text};
use perk::checkpoint::Digest;
use perk::config::Place;
use perk::model::{BaseFiles, Decoder, DecoderConfig, Family, HubSettings, RopeScaling, resolve};

/// Wide enough for blocks of 256.
fn shape(family: Family, tied: bool) -> DecoderConfig {
    DecoderConfig {
        family,
        vocab_size: 270,
        hidden_size: 256,
        intermediate_size: 512,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 64,
        max_positions: 128,
        rms_norm_eps: 1e-6,
        rope_theta: 5e5,
        rope_scaling: None,
        tied,
    }
}

fn random(config: &DecoderConfig) -> Decoder {
    Decoder::random_trained(config, 3, DType::F32, DType::F32, &Device::Cpu).unwrap()
}

/// A base of a shape, its matrices in one type, with the decoder that it was made of.
fn made(family: Family, tied: bool, dtype: GgmlDType) -> (Decoder, GgufBase) {
    let decoder = random(&shape(family, tied));
    let file = GgufBase::new(&decoder, |_| dtype);
    (decoder, file)
}

fn load(path: &Path) -> perk::Result<Decoder> {
    let files = BaseFiles::at(path)?.unwrap();
    files.decoder(DType::F32, DType::F32, &Device::Cpu).map(|(decoder, _)| decoder)
}

/// A file as it is written, read again.
fn read(file: &GgufBase) -> (perk::Result<Decoder>, Vec<String>, perk::Result<DecoderConfig>) {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("base.gguf");
    file.write(&path);
    let files = BaseFiles::at(&path).unwrap().unwrap();
    let shape = files.shape();
    match files.decoder(DType::F32, DType::F32, &Device::Cpu) {
        Ok((decoder, notes)) => (Ok(decoder), notes, shape),
        Err(fault) => (Err(fault), Vec::new(), shape),
    }
}

/// The error of a file, from the shape or from the weights.
fn refused(file: &GgufBase) -> String {
    let (decoder, _, shape) = read(file);
    let message = decoder.unwrap_err().to_string();
    if let Err(fault) = shape {
        assert_eq!(fault.to_string(), message);
    }
    assert!(message.contains("base.gguf"), "{message}");
    message
}

const TYPES: [GgmlDType; 11] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

#[test]
fn a_file_is_the_same_base_as_its_numbers_in_safetensors_whatever_their_type() {
    for dtype in TYPES {
        let (decoder, file) = made(Family::Llama, true, dtype);
        let (found, notes, shape) = read(&file);
        assert_eq!((shape.unwrap(), notes), (decoder.config.clone(), vec![]), "{dtype:?}");
        assert_same_weights(&found.unwrap(), &file.dequantised(&decoder));
    }
}

#[test]
fn every_family_is_read_tied_or_not_and_with_types_mixed() {
    use GgmlDType::{Q4_1, Q4K, Q5_0, Q6K, Q8_0};
    for family in Family::ALL {
        for tied in [true, false] {
            let decoder = random(&shape(family, tied));
            // As Q4_K_M has them: those of a layer in several types.
            let mixed = |name: &str| match name {
                name if name.contains("v_proj") => Q6K,
                name if name.contains("k_proj") => Q8_0,
                name if name.contains("gate_proj") => Q5_0,
                name if name.contains("lm_head") => Q6K,
                name if name.contains("embed_tokens") => Q4_1,
                _ => Q4K,
            };
            let file = GgufBase::new(&decoder, mixed);
            let (found, notes, shape) = read(&file);
            assert_eq!((shape.unwrap(), notes), (decoder.config.clone(), vec![]), "{family:?}");
            assert_same_weights(&found.unwrap(), &file.dequantised(&decoder));
        }
    }
}

#[test]
fn weights_are_rounded_once_to_the_storage_type() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("base.gguf");
    let (decoder, file) = made(Family::Llama, false, GgmlDType::Q5K);
    file.write(&path);
    let files = BaseFiles::Gguf(path);
    let whole = files.decoder(DType::F32, DType::F32, &Device::Cpu).unwrap().0;
    assert_same_weights(&whole, &file.dequantised(&decoder));
    for storage in [DType::BF16, DType::F16] {
        let (found, _) = files.decoder(storage, DType::F32, &Device::Cpu).unwrap();
        assert_eq!(found.lm_head.dtype(), storage);
        let expected = |name: &str, tensor: &Tensor| match name.contains("norm") {
            true => tensor.clone(),
            false => tensor.to_dtype(storage).unwrap(),
        };
        for ((name, found), (_, whole)) in
            found.named_tensors().unwrap().iter().zip(whole.named_tensors().unwrap())
        {
            base::assert_same(found, &expected(name, &whole), name);
        }
    }
    let types = files.weight_types().unwrap();
    assert_eq!(types["model.layers.1.mlp.up_proj.weight"], DType::F32, "what holds d · q exactly");
}

#[test]
fn a_tied_matrix_that_is_stored_twice_is_taken_from_the_more_precise_copy() {
    let decoder = random(&shape(Family::Qwen2, true));
    for (embedding, output, better) in [
        (GgmlDType::Q4_0, GgmlDType::Q8_0, "output.weight"),
        (GgmlDType::Q6K, GgmlDType::Q4_0, "token_embd.weight"),
        (GgmlDType::F16, GgmlDType::F16, "token_embd.weight"),
    ] {
        let mut file = GgufBase::new(&decoder, |_| embedding);
        let matrix = decoder.embed_tokens.tensor().unwrap();
        file.tensors.push(("output.weight".to_owned(), quantised(&matrix, output)));
        let (found, notes, shape) = read(&file);
        assert!(shape.unwrap().tied);
        let note = notes.concat();
        assert!(note.contains(&format!("taken from {better}")), "{note}");
        let expected =
            file.tensors.iter().find(|(name, _)| name == better).unwrap().1.dequantize(&Device::Cpu);
        base::assert_same(&found.unwrap().embed_tokens.tensor().unwrap(), &expected.unwrap(), better);
    }
    // Another matrix is another matrix.
    let mut file = GgufBase::new(&decoder, |_| GgmlDType::Q8_0);
    let other = (decoder.embed_tokens.tensor().unwrap() * -0.9).unwrap();
    file.tensors.push(("output.weight".to_owned(), quantised(&other, GgmlDType::Q8_0)));
    let (found, notes, shape) = read(&file);
    assert!(!shape.unwrap().tied && !found.unwrap().config.tied && notes.is_empty());
}

#[test]
fn llama_3_s_rope_scaling_is_found_in_the_divisors_that_a_file_has_of_it() {
    let scaling =
        RopeScaling { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_positions: 8192.0 };
    let plain = shape(Family::Llama, true);
    let scaled = DecoderConfig { rope_scaling: Some(scaling), ..plain.clone() };
    let divisors = |scaled: &DecoderConfig| {
        let pairs = plain.rope_frequencies().into_iter().zip(scaled.rope_frequencies());
        Tensor::from_iter(pairs.map(|(plain, scaled)| (plain / scaled) as f32), &Device::Cpu).unwrap()
    };
    let with = |divisors: &Tensor, family| {
        let mut file = GgufBase::new(&random(&shape(family, true)), |_| GgmlDType::Q8_0);
        file.tensors.push(("rope_freqs.weight".to_owned(), quantised(divisors, GgmlDType::F32)));
        file
    };
    assert_eq!(read(&with(&divisors(&scaled), Family::Llama)).2.unwrap(), scaled);
    assert_eq!(read(&with(&divisors(&plain), Family::Llama)).2.unwrap(), plain, "divisors of one");
    let other = RopeScaling { high_freq_factor: 2.0, ..scaling };
    let other = divisors(&DecoderConfig { rope_scaling: Some(other), ..plain.clone() });
    assert!(refused(&with(&other, Family::Llama)).contains("another rope scaling"));
    assert!(refused(&with(&divisors(&scaled), Family::Qwen3)).contains("not supported with Qwen3"));
    let short = Tensor::ones(7, DType::F32, &Device::Cpu).unwrap();
    assert!(refused(&with(&short, Family::Llama)).contains("has shape [7]"));
}

#[test]
fn a_base_is_found_as_a_file_whatever_its_name_and_has_the_digest_of_that_file() {
    let room = tempfile::tempdir().unwrap();
    let (_, file) = made(Family::Qwen2, true, GgmlDType::Q8_0);
    for name in ["base.gguf", "blob"] {
        let path = room.path().join(name);
        file.write(&path);
        let found = resolve(path.to_str().unwrap(), None, false, &HubSettings::default()).unwrap();
        assert_eq!(found.files, BaseFiles::Gguf(path.clone()));
        assert_eq!(found.place, Place::Local(path.canonicalize().unwrap()));
        assert_eq!(found.files.digest().unwrap(), Digest::of_file(&path).unwrap());
    }
    let missing = resolve("models/none.gguf", None, false, &HubSettings::default()).unwrap_err().to_string();
    assert!(missing.contains("models/none.gguf: does not exist"), "{missing}");
}

#[test]
fn of_a_repository_on_the_hub_only_the_file_that_is_named_is_downloaded() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(source.path().join("q8")).unwrap();
    let (decoder, file) = made(Family::Qwen2, true, GgmlDType::Q8_0);
    for name in ["q8/base.gguf", "other.gguf"] {
        file.write(&source.path().join(name));
    }
    let hub = server::serve(source.path().to_owned());
    let settings =
        |endpoint| HubSettings { cache_dir: cache.path().to_owned(), endpoint, ..HubSettings::default() };
    let online = settings(Some(hub.address.clone()));
    let name = "hf:owner/name:q8/base.gguf";
    let absent = resolve(name, Some("v1"), true, &online).unwrap_err().to_string();
    assert!(absent.contains("offline mode"), "{absent}");
    let found = resolve(name, Some("v1"), false, &online).unwrap();
    assert_eq!(found.place.to_string(), name);
    assert_same_weights(&load(found.files.path()).unwrap(), &file.dequantised(&decoder));
    let asked = hub
        .requests
        .lock()
        .unwrap()
        .iter()
        .filter(|line| line.starts_with("GET"))
        .cloned()
        .collect::<Vec<_>>();
    assert!(asked.iter().all(|line| line.contains("/q8/base.gguf")), "{asked:?}");
    let offline = resolve(name, Some("v1"), true, &settings(None)).unwrap();
    assert_eq!(offline, found, "it is in the cache");
    let missing = resolve("hf:owner/name:none.gguf", Some("v1"), false, &online).unwrap_err().to_string();
    assert!(
        missing.contains("`none.gguf` could not be fetched") && missing.contains("check the name"),
        "{missing}"
    );
}

#[test]
fn what_a_file_of_another_model_says_of_itself_is_refused_by_name() {
    let changed = |key: &str, value: Value| {
        let (_, mut file) = made(Family::Llama, true, GgmlDType::Q8_0);
        file.set(key, value);
        refused(&file)
    };
    for (key, value, expected) in [
        ("general.architecture", text("gemma3"), "the architecture `gemma3` is not supported"),
        ("general.type", text("adapter"), "holds what GGUF calls `adapter`"),
        ("split.count", Value::U16(3), "one of 3 parts"),
        ("llama.expert_count", Value::U32(8), "`llama.expert_count` is 8"),
        ("llama.rope.scaling.type", text("yarn"), "the rope scaling `yarn`"),
        ("llama.rope.scaling.factor", Value::F32(4.0), "`llama.rope.scaling.factor` is 4"),
        ("llama.rope.dimension_count", Value::U32(32), "rotated parts of 32"),
        ("llama.attention.value_length", Value::U32(32), "values of 32"),
        ("llama.attention.head_count_kv", Value::U32(3), "cannot share 3 key-value heads"),
        ("llama.attention.head_count_kv", text("2"), "is the text `2`, expected a whole number"),
        ("llama.block_count", Value::I32(-1), "`llama.block_count` is -1"),
        ("llama.block_count", Value::U32(3), "tensor `blk.2.attn_norm.weight`: is missing"),
        ("llama.block_count", Value::U32(1), "tensor `blk.1.attn_k.weight`: is no part of a llama"),
        ("llama.feed_forward_length", Value::U32(256), "has shape [512, 256], expected [256, 256]"),
        ("llama.embedding_length", Value::U64(u64::MAX), "`hidden_size` is 18446744073709551615"),
        ("general.alignment", Value::U32(7), "`general.alignment` is 7"),
    ] {
        let message = changed(key, value);
        assert!(message.contains(expected), "{key}: {message}");
    }
    for key in ["llama.context_length", "llama.attention.layer_norm_rms_epsilon", "general.architecture"] {
        let (_, mut file) = made(Family::Llama, true, GgmlDType::Q8_0);
        assert!(refused(file.unset(key)).contains(&format!("has no `{key}`")));
    }
}

#[test]
fn a_conversation_has_the_form_of_the_template_in_the_file() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("base.gguf");
    let (_, mut file) = made(Family::Qwen2, true, GgmlDType::Q8_0);
    let chat = |name| -> perk::Result<Option<String>> {
        let base = BaseFiles::at(&path)?.unwrap();
        let chat = base.chat(name, &base.tokenizer(None, None)?)?;
        Ok(chat.map(|chat| chat.form.to_string()))
    };
    file.write(&path);
    assert_eq!(chat(None).unwrap(), None);
    assert!(chat(Some("default")).unwrap_err().to_string().contains("the base has none"));
    let template = "{% for m in messages %}({{ m.role }}: {{ m.content }}){% endfor %}\
                    {% if add_generation_prompt %}(assistant: {% endif %}";
    file.set("tokenizer.chat_template", text(template)).write(&path);
    let form = chat(None).unwrap().unwrap();
    assert!(form.contains("(user: ") && form.contains("(assistant: "), "{form}");
    assert_eq!(chat(Some("default")).unwrap(), Some(form));
    assert!(chat(Some("tool")).unwrap_err().to_string().contains("`default`"));
    file.set("tokenizer.chat_template", text("{{ messages }")).write(&path);
    let message = chat(None).unwrap_err().to_string();
    assert!(message.contains("base.gguf") && message.contains("template"), "{message}");
}
