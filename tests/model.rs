//! The decoder against Candle's own models and the golden files, and its generation against its forward pass.

#![allow(clippy::unwrap_used)] // Outside #[test] functions too: a helper that fails is a test that fails.

#[path = "support/base.rs"]
mod base;
#[path = "model/candle.rs"]
mod candle;
#[path = "support/device.rs"]
mod device;
#[path = "model/many.rs"]
mod many;
#[path = "support/shared_folder.rs"]
mod shared_folder;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use base::saved;
use candle_core::{D, DType, Tensor};
use device::under_test;
use perk::model::lora::{Adapter, Layers, LoraInit, LoraLayout, LoraSpec};
use perk::model::{
    Decoder, DecoderConfig, Decoding, Ended, Family, Generation, Projection, RopeScaling, Sampling, Session,
    greedy, keep_going, tape,
};

fn shape(family: Family, tied: bool) -> DecoderConfig {
    let llama3 =
        RopeScaling { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_positions: 64.0 };
    let rope_scaling = (family == Family::Llama).then_some(llama3);
    // Qwen3's heads are wider than their share of the stream.
    let head_dim = if family == Family::Qwen3 { 16 } else { 8 };
    DecoderConfig { family, num_layers: 3, head_dim, rope_scaling, ..base::shape(tied) }
}

fn random(config: &DecoderConfig, dtype: DType) -> Decoder {
    Decoder::random_trained(config, 7, dtype, dtype, &under_test()).unwrap()
}

fn load(folder: &Path, dtype: DType) -> Decoder {
    Decoder::load(folder, dtype, dtype, &under_test()).unwrap()
}

fn adapter(config: &DecoderConfig, dtype: DType) -> Adapter {
    let spec = LoraSpec {
        rank: 4,
        alpha: 6.0,
        rslora: true,
        targets: Projection::ALL.to_vec(),
        layers: Layers::Top(2),
    };
    let layout = LoraLayout::new(spec, config);
    Adapter::new(layout, LoraInit::SmallB { std: 0.2 }, 3, dtype, &under_test()).unwrap()
}

fn tokens(len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (i * i * 7 + 3 * i + 11) % 50).collect()
}

fn row(ids: &[u32]) -> Tensor {
    Tensor::new(ids, &under_test()).unwrap().unsqueeze(0).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let difference = (a.to_dtype(DType::F64).unwrap() - b.to_dtype(DType::F64).unwrap()).unwrap();
    difference.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap()
}

fn last_logits(decoder: &Decoder, ids: &Tensor) -> Tensor {
    let logits = tape::logits(decoder, None, ids, None).unwrap();
    logits.narrow(1, logits.dim(1).unwrap() - 1, 1).unwrap()
}

/// Largest difference to a golden tensor, where `mask` is not zero.
fn difference_where(mask: &Tensor, found: &Tensor, golden: &HashMap<String, Tensor>, name: &str) -> f64 {
    let keep = mask.to_dtype(DType::F64).unwrap().unsqueeze(D::Minus1).unwrap();
    let kept = |x: &Tensor| x.broadcast_mul(&keep).unwrap();
    largest_difference(&kept(found), &kept(&golden[name]))
}

#[test]
fn generation_with_a_cache_equals_the_forward_pass_without() {
    for (family, dtype) in
        [(Family::Qwen2, DType::F64), (Family::Llama, DType::F32), (Family::Qwen3, DType::F64)]
    {
        let decoder = random(&shape(family, true), dtype);
        let adapter = adapter(&decoder.config, dtype);
        // Longer than one piece of a prompt, so that pieces meet in the cache.
        let prompt = tokens(600);
        let mut expected = prompt.clone();
        for _ in 0..6 {
            let logits = tape::logits(&decoder, Some(adapter.parts()), &row(&expected), None).unwrap();
            let last = logits.narrow(1, expected.len() - 1, 1).unwrap().flatten_all().unwrap();
            expected.push(last.argmax(0).unwrap().to_scalar::<u32>().unwrap());
        }
        let found = greedy(&decoder, Some(adapter.parts()), &prompt, 999, 6).unwrap();
        assert_eq!(found, expected[600..]);
        let stopped = greedy(&decoder, Some(adapter.parts()), &prompt, expected[600], 6).unwrap();
        assert!(stopped.is_empty());
    }
}

fn generate(decoder: &Decoder, prompt: &[u32], decoding: &Decoding) -> Generation {
    Session::new(decoder, None, 1).unwrap().generate(prompt, decoding, &mut keep_going).unwrap()
}

fn decoding(stops: &[u32], max_new_tokens: usize, sampling: Sampling) -> Decoding {
    Decoding { stops: stops.to_vec(), max_new_tokens, sampling }
}

#[test]
fn a_stream_yields_the_tokens_that_greedy_decoding_yields_one_by_one() {
    let decoder = random(&shape(Family::Qwen2, false), DType::F32);
    let prompt = tokens(9);
    let expected = greedy(&decoder, None, &prompt, 999, 12).unwrap();
    assert_eq!(expected.len(), 12);
    let mut session = Session::new(&decoder, None, 30).unwrap();
    let mut seen = Vec::new();
    let mut on_token = |token| {
        seen.push(token);
        Ok(ControlFlow::Continue(()))
    };
    let found = session.generate(&prompt, &decoding(&[], 12, Sampling::Greedy), &mut on_token).unwrap();
    assert_eq!(found, Generation { tokens: expected.clone(), ended: Ended::Limit });
    assert_eq!(seen, expected);
    assert_eq!(session.len(), 9 + 11, "the last token is not read");
}

#[test]
fn a_generation_ends_before_the_first_stop_token() {
    let decoder = random(&shape(Family::Qwen2, false), DType::F32);
    let all = greedy(&decoder, None, &tokens(9), 999, 12).unwrap();
    // A token in the middle that did not come before, listed among others.
    let middle = (2..12).find(|&i| !all[..i].contains(&all[i])).unwrap();
    let found = generate(&decoder, &tokens(9), &decoding(&[999, all[middle]], 12, Sampling::Greedy));
    assert_eq!(found, Generation { tokens: all[..middle].to_vec(), ended: Ended::StopToken });
    // The stop token needs room too.
    let found = generate(&decoder, &tokens(9), &decoding(&[all[middle]], middle, Sampling::Greedy));
    assert_eq!(found.ended, Ended::Limit);
}

#[test]
fn the_caller_can_break_off_or_fail_and_no_tokens_are_read_for_nothing() {
    let decoder = random(&shape(Family::Qwen2, false), DType::F32);
    let mut session = Session::new(&decoder, None, 1).unwrap();
    let mut left = 3;
    let mut on_token = |_| {
        left -= 1;
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    let greedy = |max_new_tokens| decoding(&[], max_new_tokens, Sampling::Greedy);
    let found = session.generate(&tokens(9), &greedy(12), &mut on_token).unwrap();
    assert_eq!((found.tokens.len(), found.ended), (3, Ended::Caller));
    let mut fail = |_| Err(perk::Error::Invalid("the pipe is closed".to_owned()));
    let error = session.generate(&tokens(9), &greedy(12), &mut fail).unwrap_err().to_string();
    assert!(error.contains("pipe"), "{error}");
    session.clear();
    let found = session.generate(&tokens(9), &greedy(0), &mut keep_going).unwrap();
    assert_eq!(found, Generation { tokens: vec![], ended: Ended::Limit });
    assert!(session.is_empty());
}

#[test]
fn sampling_follows_its_seed_and_a_tiny_nucleus_is_greedy() {
    let decoder = random(&shape(Family::Qwen2, false), DType::F32);
    let sampled = |top_p, seed| {
        let sampling = Sampling::Random { temperature: 1.5, top_p, seed };
        generate(&decoder, &tokens(9), &decoding(&[], 20, sampling)).tokens
    };
    assert_eq!(sampled(0.95, 1), sampled(0.95, 1));
    assert_ne!(sampled(0.95, 1), sampled(0.95, 2));
    assert_eq!(sampled(1e-6, 3), greedy(&decoder, None, &tokens(9), 999, 20).unwrap());
    let out_of_range = Sampling::Random { temperature: 0.0, top_p: 1.0, seed: 1 };
    let mut session = Session::new(&decoder, None, 1).unwrap();
    let found = session.generate(&tokens(9), &decoding(&[], 4, out_of_range), &mut keep_going);
    assert!(found.unwrap_err().to_string().contains("temperature"));
}

#[test]
fn a_session_read_in_pieces_gives_the_logits_of_one_pass() {
    let decoder = random(&shape(Family::Qwen2, false), DType::F64);
    let adapter = adapter(&decoder.config, DType::F64);
    let ids = tokens(40);
    let expected = tape::logits(&decoder, Some(adapter.parts()), &row(&ids), None).unwrap();
    let expected = expected.narrow(1, 39, 1).unwrap().flatten_all().unwrap();
    // Room for three tokens: the cache has to grow on the way.
    let mut session = Session::new(&decoder, Some(adapter.parts()), 3).unwrap();
    for round in 0..2 {
        session.feed(&ids[..2]).unwrap();
        session.feed(&ids[2..17]).unwrap();
        session.feed(&ids[17..18]).unwrap();
        let logits = session.feed(&ids[18..]).unwrap();
        assert_eq!(session.len(), 40);
        let difference = largest_difference(&logits, &expected);
        assert!(difference < 1e-9, "round {round}: {difference}");
        session.clear();
    }
}

#[test]
fn weights_stored_in_half_precision_generate_what_the_forward_pass_computes() {
    let config = shape(Family::Qwen2, false);
    for stored in [DType::BF16, DType::F16] {
        let decoder = Decoder::random_trained(&config, 7, stored, DType::F32, &under_test()).unwrap();
        let mut session = Session::new(&decoder, None, 20).unwrap();
        // The last alone: one token and many are multiplied differently.
        session.feed(&tokens(20)[..19]).unwrap();
        let logits = session.feed(&tokens(20)[19..]).unwrap();
        let expected = last_logits(&decoder, &row(&tokens(20))).flatten_all().unwrap();
        let difference = largest_difference(&logits, &expected);
        assert!(difference < 1e-4, "{stored:?}: {difference}");
    }
}

#[test]
fn future_tokens_cannot_change_past_logits() {
    let decoder = random(&shape(Family::Qwen2, true), DType::F64);
    let (first, mut second) = (tokens(12), tokens(12));
    second[8] = 49 - second[8];
    let logits = |ids: &[u32]| tape::logits(&decoder, None, &row(ids), None).unwrap();
    let (first, second) = (logits(&first), logits(&second));
    let past = |x: &Tensor| x.narrow(1, 0, 8).unwrap();
    assert_eq!(largest_difference(&past(&first), &past(&second)), 0.0);
    let changed = |x: &Tensor| x.narrow(1, 8, 1).unwrap();
    assert!(largest_difference(&changed(&first), &changed(&second)) > 1e-3);
}

#[test]
fn masked_tokens_cannot_change_the_logits_of_others() {
    let decoder = random(&shape(Family::Qwen2, true), DType::F64);
    let mask = Tensor::new(&[[0u8, 0, 0, 1, 1, 1, 1, 1]], &under_test()).unwrap();
    let (first, mut second) = (tokens(8), tokens(8));
    second[1] = 49 - second[1];
    let logits = |ids: &[u32], mask: Option<&Tensor>| {
        tape::logits(&decoder, None, &row(ids), mask).unwrap().narrow(1, 3, 5).unwrap()
    };
    let masked = largest_difference(&logits(&first, Some(&mask)), &logits(&second, Some(&mask)));
    assert!(masked < 1e-12, "{masked}");
    assert!(largest_difference(&logits(&first, None), &logits(&second, None)) > 1e-3);
}

#[test]
fn every_weight_and_every_adapter_tensor_gets_a_gradient_on_the_tape() {
    let config = shape(Family::Qwen2, false);
    let mut decoder = random(&config, DType::F64);
    let var = |tensor: &Tensor| candle_core::Var::from_tensor(tensor).unwrap();
    let gain = var(&decoder.layers[0].norms.input);
    let bias = var(decoder.layers[0].linears[0].bias.as_ref().unwrap());
    let embedding = var(&decoder.embed_tokens.tensor().unwrap());
    decoder.layers[0].norms.input = gain.as_tensor().clone();
    decoder.layers[0].linears[0].bias = Some(bias.as_tensor().clone());
    decoder.embed_tokens = embedding.as_tensor().clone().into();
    let adapter = adapter(&config, DType::F64);
    let mut vars: Vec<_> = adapter.tensors.iter().map(var).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let loss = || {
        let logits = tape::logits(&decoder, Some((&adapter.layout, &tensors)), &row(&tokens(9)), None);
        logits.unwrap().sin().unwrap().sum_all().unwrap()
    };
    vars.extend([gain, bias, embedding]);
    let gradients = loss().backward().unwrap();
    for (index, var) in vars.iter().enumerate() {
        // The derivative along the gradient itself is its squared norm.
        let gradient = gradients.get(var).expect("every variable takes part").clone();
        let (start, step) = (var.as_detached_tensor().copy().unwrap(), 1e-6);
        let at = |by: f64| {
            var.set(&(&start + (&gradient * by).unwrap()).unwrap()).unwrap();
            loss().to_scalar::<f64>().unwrap()
        };
        let slope = (at(step) - at(-step)) / (2.0 * step);
        var.set(&start).unwrap();
        let squared = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        assert!(squared > 0.0 && (slope / squared - 1.0).abs() < 1e-4, "{index}: {slope} {squared}");
    }
}

#[test]
fn bad_tokens_prompts_and_adapters_are_errors() {
    let decoder = random(&shape(Family::Qwen2, true), DType::F32);
    assert!(greedy(&decoder, None, &[], 0, 4).unwrap_err().to_string().contains("empty"));
    assert!(greedy(&decoder, None, &[50], 0, 4).unwrap_err().to_string().contains("token 50"));
    let adapter = adapter(&decoder.config, DType::F32);
    let part = Some((&adapter.layout, &adapter.tensors[1..]));
    assert!(greedy(&decoder, part, &[1], 0, 4).unwrap_err().to_string().contains("adapter"));
    let mut diverged = adapter.clone();
    diverged.tensors[1] = (&diverged.tensors[1] * f64::NAN).unwrap();
    let error = greedy(&decoder, Some(diverged.parts()), &[1], 0, 4).unwrap_err().to_string();
    assert!(error.contains("diverged"), "{error}");
}

#[test]
fn random_weights_depend_on_the_seed_alone() {
    let config = shape(Family::Qwen2, false);
    let draw = |seed, dtype| Decoder::random(&config, seed, dtype, dtype, &under_test()).unwrap();
    let head = |decoder: &Decoder| decoder.lm_head.tensor().unwrap();
    let (first, again, other) = (draw(1, DType::F32), draw(1, DType::F64), draw(2, DType::F32));
    assert_eq!(largest_difference(&head(&first), &head(&again)), 0.0);
    assert!(largest_difference(&head(&first), &head(&other)) > 0.1);
    assert!(largest_difference(&head(&first), &first.embed_tokens.tensor().unwrap()) > 0.1);
    let (down, _) = first.projection(1, Projection::DownProj).unwrap();
    let std = down.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    let expected = 1.0 / 48f32.sqrt() / 6f32.sqrt();
    assert!((std / expected - 1.0).abs() < 0.1, "{std} {expected}");
}

#[test]
fn a_head_wider_than_its_share_of_the_stream_works_throughout() {
    let config = DecoderConfig { head_dim: 16, ..shape(Family::Llama, true) };
    let folder = saved(&random(&config, DType::F64));
    let decoder = load(folder.path(), DType::F64);
    assert_eq!(decoder.config, config);
    let logits = Session::new(&decoder, None, 8).unwrap().feed(&tokens(8)).unwrap();
    let expected = last_logits(&decoder, &row(&tokens(8))).flatten_all().unwrap();
    assert!(largest_difference(&logits, &expected) < 1e-9);
}

/// What holds of the real data that is not part of this repository.
mod shared_data {
    use super::*;

    #[test]
    #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
    fn the_forward_pass_equals_the_golden_files() {
        let golden = shared_folder::shared("golden");
        let model = load(&golden.join("model_f64"), DType::F64);
        let adapter =
            Adapter::load(&golden.join("adapter"), &model.config, DType::F64, &under_test()).unwrap();
        let read = |name: &str| candle_core::safetensors::load(golden.join(name), &under_test()).unwrap();
        let (batch, debug) = (read("batch.safetensors"), read("debug.f64.safetensors"));
        for part in ["inner", "outer"] {
            let ids = batch[&format!("{part}.input_ids")].to_dtype(DType::U32).unwrap();
            let mask = &batch[&format!("{part}.attention_mask")];
            let close = |name: &str, found: &Tensor| {
                let difference = difference_where(mask, found, &debug, &format!("{part}.{name}"));
                assert!(difference < 1e-10, "{part}.{name}: {difference}");
            };
            close("base_logits", &tape::logits(&model, None, &ids, Some(mask)).unwrap());
            close("logits", &tape::logits(&model, Some(adapter.parts()), &ids, Some(mask)).unwrap());
            let states = tape::hidden_states(&model, Some(adapter.parts()), &ids, Some(mask)).unwrap();
            for (index, state) in states.iter().enumerate() {
                close(&format!("hidden.{index}"), state);
            }
        }
    }
}
