//! What a file of weights holds beside what is needed, or in its place.

use candle_core::{DType, Device, Tensor};
use perk::model::{Decoder, Projection, WEIGHTS_FILE};

use crate::base::{assert_same, assert_same_weights, load, random, saved, write};

/// The decoder in a folder with another tensor, and what loading says.
fn with_tensor(decoder: &Decoder, name: &str, tensor: &Tensor) -> perk::Result<(Decoder, Vec<String>)> {
    let folder = saved(decoder);
    let mut all = decoder.named_tensors().unwrap();
    all.retain(|(other, _)| other != name);
    all.push((name.to_owned(), tensor.clone()));
    write(all, &folder.path().join(WEIGHTS_FILE));
    Decoder::load_and_note(folder.path(), DType::F32, DType::F32, &Device::Cpu)
}

#[test]
fn a_tensor_that_changes_nothing_is_said_to_be_unused() {
    let decoder = random(true);
    let frequencies = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
    let embedding = decoder.embed_tokens.tensor().unwrap();
    for (name, tensor) in
        [("lm_head.weight", &embedding), ("model.layers.1.self_attn.rotary_emb.inv_freq", &frequencies)]
    {
        let (loaded, notes) = with_tensor(&decoder, name, tensor).unwrap();
        assert_same_weights(&loaded, &decoder);
        assert_same(&loaded.lm_head.tensor().unwrap(), &embedding, "output matrix");
        let [note] = notes.as_slice() else { panic!("{notes:?}") };
        assert!(note.contains(name) && note.contains("not used"), "{note}");
    }
    let folder = saved(&decoder);
    let plain = Decoder::load_and_note(folder.path(), DType::F32, DType::F32, &Device::Cpu).unwrap();
    assert!(plain.1.is_empty());
}

#[test]
fn a_tensor_that_would_be_ignored_is_refused_by_name() {
    let decoder = random(true);
    let ones = decoder.norm.ones_like().unwrap();
    let other = decoder.embed_tokens.tensor().unwrap().zeros_like().unwrap();
    for (name, tensor, expected) in [
        ("lm_head.weight", &other, "differs from model.embed_tokens.weight"),
        ("model.layers.0.self_attn.q_norm.weight", &ones, "no part of a Qwen2ForCausalLM"),
        ("model.layers.1.self_attn.o_proj.bias", &ones, "no part of a Qwen2ForCausalLM"),
        ("model.layers.2.input_layernorm.weight", &ones, "no part of a Qwen2ForCausalLM"),
    ] {
        let error = with_tensor(&decoder, name, tensor).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(name) && error.contains(WEIGHTS_FILE), "{error}");
    }
}

#[test]
fn a_weight_that_is_no_number_is_refused_by_the_name_of_its_tensor() {
    let decoder = random(true);
    let name = "model.layers.1.mlp.up_proj.weight";
    let (weight, _) = decoder.projection(1, Projection::UpProj).unwrap();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let broken = (&weight + bad).unwrap();
        let error = with_tensor(&decoder, name, &broken).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("a NaN or an infinity"), "{error}");
    }
    let folder = saved(&decoder.map_weights(|weight| Ok((weight * 1e6)?)).unwrap());
    let error = Decoder::load(folder.path(), DType::F16, DType::F32, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("beyond the f16"), "{error}");
}

#[test]
fn what_stands_in_the_place_of_weights_is_named() {
    let folder = saved(&random(true));
    let path = folder.path().join(WEIGHTS_FILE);
    std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n").unwrap();
    assert!(load(folder.path()).unwrap_err().to_string().contains("git lfs pull"));
    #[cfg(unix)]
    {
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("../blobs/gone", &path).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(WEIGHTS_FILE) && error.contains("blobs/gone, which is not there"), "{error}");
    }
}
