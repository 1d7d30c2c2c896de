//! A base with an adapter added to its weights, written as a GGUF file.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use candle_core::{DType, Device};
use perk::gguf::{Gguf, TensorType};
use perk::model::lora::{Adapter, Layers, LoraInit, LoraLayout, LoraSpec, merge};
use perk::model::{BaseFiles, Decoder, DecoderConfig, Family, Keeping, Projection, RopeScaling};
use serde_json::{Value as Json, json};

use crate::base::assert_same_weights;
use crate::file::{GgufBase, text};
use crate::{made, random, shape};

/// A template that ends an answer with the end token.
const TEMPLATE: &str = "{% for m in messages %}({{ m.role }}: {{ m.content }}<|end|>{% endfor %}";

/// An adapter of the second layer's q and down that changes a good deal.
fn adapter(shape: &DecoderConfig) -> Adapter {
    let targets = vec![Projection::QProj, Projection::DownProj];
    let spec = LoraSpec { rank: 4, alpha: 8.0, rslora: false, targets, layers: Layers::Top(1) };
    let layout = LoraLayout::new(spec, shape);
    Adapter::new(layout, LoraInit::SmallB { std: 0.5 }, 5, DType::F32, &Device::Cpu).unwrap()
}

/// The folder of a decoder whose tokens are bytes, and that has a chat template.
fn folder(decoder: &Decoder, room: &Path) -> PathBuf {
    let (file, folder) = (room.join("of_tokens.gguf"), room.join("base"));
    fs::create_dir(&folder).unwrap();
    let mut base = GgufBase::new(decoder, |_| GgmlDType::F32);
    base.set("tokenizer.chat_template", text(TEMPLATE)).write(&file);
    BaseFiles::Gguf(file).write_companions(&folder, DType::F32).unwrap();
    let ends = decoder.config.vocab_size as u32 - 1;
    decoder.save(&folder, ends).unwrap();
    folder
}

/// Writes the base with an adapter, and opens what was written.
fn merged(base: &BaseFiles, room: &Path) -> perk::Result<BaseFiles> {
    let (decoder, _) = base.decoder(Keeping::AsStored, DType::F32, &Device::Cpu)?;
    let (path, tokenizer) = (room.join("merged.gguf"), base.tokenizer(None, None)?);
    base.write_merged_gguf(&decoder, adapter(&decoder.config).parts(), &tokenizer, "a title", &path)?;
    Ok(BaseFiles::at(&path)?.unwrap())
}

fn decoder(base: &BaseFiles) -> Decoder {
    base.decoder(DType::F32, DType::F32, &Device::Cpu).unwrap().0
}

fn expected(base: &Decoder) -> Decoder {
    let adapter = adapter(&base.config);
    merge(base, &adapter.layout, &adapter.tensors).unwrap()
}

#[test]
fn a_folder_of_every_family_becomes_a_file_of_the_same_model_tokenizer_and_chat() {
    let scaling =
        RopeScaling { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_positions: 8192.0 };
    let scaled = DecoderConfig { rope_scaling: Some(scaling), ..shape(Family::Llama, true) };
    let shapes = Family::ALL.map(|family| shape(family, family == Family::Qwen2));
    for shape in shapes.into_iter().chain([scaled]) {
        let (room, before) = (tempfile::tempdir().unwrap(), random(&shape));
        let folder = BaseFiles::Folder(folder(&before, room.path()));
        let file = merged(&folder, room.path()).unwrap();
        assert_eq!(file.shape().unwrap(), shape);
        let gguf = Gguf::open(file.path()).unwrap();
        let kinds: Vec<i128> = gguf.value("tokenizer.ggml.token_type").unwrap().wholes().unwrap().collect();
        assert_eq!((kinds.len(), kinds[0], &kinds[268..]), (270, 1, &[3, 3][..]), "control tokens come last");
        assert_same_weights(&decoder(&file), &expected(&before));
        let [theirs, own] = [&folder, &file].map(|base| base.tokenizer(None, None).unwrap());
        assert_eq!((own.end_id(), own.begin()), (theirs.end_id(), theirs.begin()));
        for text in ["the the 123", "Zoë said: 東京, \u{1f980}!\r\n\n  x\t", "<|end|> don't"] {
            assert_eq!(own.encode(text).unwrap(), theirs.encode(text).unwrap());
        }
        assert_eq!(file.chat(None, &own).unwrap().unwrap(), folder.chat(None, &theirs).unwrap().unwrap());
    }
}

#[test]
fn matrices_of_a_folder_keep_their_type_and_all_else_is_f32() {
    for (dtype, stored, number) in [(DType::BF16, TensorType::Bf16, 32), (DType::F16, TensorType::F16, 1)] {
        let room = tempfile::tempdir().unwrap();
        let shape = shape(Family::Qwen2, false);
        let before = Decoder::random_trained(&shape, 3, dtype, DType::F32, &Device::Cpu).unwrap();
        let file = merged(&BaseFiles::Folder(folder(&before, room.path())), room.path()).unwrap();
        let gguf = Gguf::open(file.path()).unwrap();
        for (name, info) in gguf.tensors() {
            let expected = if info.shape.len() == 2 { stored } else { TensorType::F32 };
            assert_eq!(info.tensor_type, expected, "{name}");
        }
        assert_eq!(gguf.whole("general.file_type").unwrap(), Some(number));
    }
}

#[test]
fn of_a_file_only_what_the_adapter_changes_is_written_anew() {
    let room = tempfile::tempdir().unwrap();
    let before = random(&shape(Family::Llama, true));
    let types = |name: &str| match name {
        name if name.contains("down_proj") => GgmlDType::BF16,
        name if name.contains("embed") => GgmlDType::Q6K,
        _ => GgmlDType::Q4K,
    };
    let (path, mut base) = (room.path().join("base.gguf"), GgufBase::new(&before, types));
    base.set("general.file_type", Value::U32(15)).set("general.license", text("apache-2.0"));
    base.write(&path);
    let file = merged(&BaseFiles::Gguf(path.clone()), room.path()).unwrap();
    let [base, new] = [&path, file.path()].map(|path| Gguf::open(path).unwrap());
    assert_eq!(base.tensors().len(), new.tensors().len());
    for (name, info) in base.tensors() {
        let found = &new.tensors()[name];
        let rows: usize = info.shape.iter().rev().skip(1).product();
        let [old, new] = [(&base, info), (&new, found)].map(|(file, info)| file.read_rows(info, 0..rows));
        match name.as_str() {
            "blk.1.attn_q.weight" => assert_eq!(found.tensor_type, TensorType::F16),
            "blk.1.ffn_down.weight" => {
                assert_eq!((found.tensor_type, old.unwrap() == new.unwrap()), (TensorType::Bf16, false));
            }
            _ => assert_eq!((found.tensor_type, new.unwrap()), (info.tensor_type, old.unwrap()), "{name}"),
        }
    }
    assert_eq!(new.text("general.license").unwrap(), Some("apache-2.0"));
    assert_eq!(new.text("general.name").unwrap(), Some("a title"));
    assert_eq!(new.whole("general.file_type").unwrap(), Some(1));
    // The numbers of blocks with the adapter, rounded to half precision or bf16.
    let (found, wanted) = (decoder(&file), expected(&decoder(&BaseFiles::Gguf(path))));
    for which in [Projection::QProj, Projection::DownProj] {
        let [found, wanted] = [&found, &wanted].map(|decoder| decoder.projection(1, which).unwrap().0);
        let largest = |tensor: &candle_core::Tensor| {
            tensor.abs().and_then(|t| t.max_all()).and_then(|t| t.to_scalar::<f32>()).unwrap()
        };
        let (difference, size) = (largest(&(found - &wanted).unwrap()), largest(&wanted));
        let rounding = if which == Projection::QProj { 1.0 / 2048.0 } else { 1.0 / 256.0 };
        assert!(difference > 0.0 && difference <= rounding * size, "{which:?} {difference} {size}");
    }
}

#[test]
fn the_tokens_that_begin_and_end_texts_are_those_that_the_adapter_was_encoded_with() {
    let room = tempfile::tempdir().unwrap();
    let (before, file) = made(Family::Qwen2, true, GgmlDType::Q8_0);
    let path = room.path().join("base.gguf");
    file.write(&path);
    let base = BaseFiles::Gguf(path);
    let tokenizer = base.tokenizer(Some("Ġthe"), Some("<|begin|>")).unwrap();
    let out = room.path().join("merged.gguf");
    base.write_merged_gguf(&decoder(&base), adapter(&before.config).parts(), &tokenizer, "x", &out).unwrap();
    let found = BaseFiles::Gguf(out).tokenizer(None, None).unwrap();
    assert_eq!((found.stop_ids(), found.begin()), (tokenizer.stop_ids(), tokenizer.begin()));
    assert_eq!(found.stop_ids().len(), 2);
}

#[test]
fn a_number_beyond_half_precision_is_refused_and_nothing_is_left() {
    let room = tempfile::tempdir().unwrap();
    let (_, file) = made(Family::Qwen2, true, GgmlDType::Q8_0);
    file.write(&room.path().join("base.gguf"));
    let base = BaseFiles::Gguf(room.path().join("base.gguf"));
    let decoder = decoder(&base);
    let mut adapter = adapter(&decoder.config);
    adapter.tensors[1] = (&adapter.tensors[1] * 1e6).unwrap();
    let (tokenizer, out) = (base.tokenizer(None, None).unwrap(), room.path().join("merged.gguf"));
    let fault =
        base.write_merged_gguf(&decoder, adapter.parts(), &tokenizer, "x", &out).unwrap_err().to_string();
    assert!(fault.contains("blk.1.attn_q.weight") && fault.contains("--format merged"), "{fault}");
    assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1);
}

/// The error of a folder whose `tokenizer.json` is changed.
fn refused(change: impl Fn(&mut Json)) -> String {
    let room = tempfile::tempdir().unwrap();
    let folder = folder(&random(&shape(Family::Qwen2, true)), room.path());
    let path = folder.join("tokenizer.json");
    let mut file: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut file);
    fs::write(&path, file.to_string()).unwrap();
    let fault = merged(&BaseFiles::Folder(folder), room.path()).unwrap_err().to_string();
    assert!(fault.contains("tokenizer.json") && !room.path().join("merged.gguf").exists(), "{fault}");
    fault
}

#[test]
fn a_tokenizer_that_such_a_file_cannot_say_is_refused() {
    for change in [
        |file: &mut Json| file["normalizer"] = json!({"type": "NFKC"}),
        |file: &mut Json| file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("\\w+"),
        |file: &mut Json| file["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = json!(true),
        |file: &mut Json| file["pre_tokenizer"] = json!({"type": "Whitespace"}),
        |file: &mut Json| file["model"]["byte_fallback"] = json!(true),
        |file: &mut Json| file["model"]["ignore_merges"] = json!(true),
    ] {
        let fault = refused(change);
        assert!(fault.contains("convert_hf_to_gguf.py"), "{fault}");
    }
    let beyond = refused(|file| {
        let mut token = file["added_tokens"][0].clone();
        (token["id"], token["content"]) = (json!(400), json!("<|far|>"));
        file["model"]["vocab"]["<|far|>"] = json!(400);
        file["added_tokens"].as_array_mut().unwrap().push(token);
    });
    assert!(beyond.contains("`<|far|>` is token 400") && beyond.contains("270 rows"), "{beyond}");
}
