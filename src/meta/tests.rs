//! The engine against the tape, against central differences through the whole unroll, and its symmetries.

#![allow(clippy::disallowed_methods)]

use candle_core::{DType, Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

mod families;
mod invariance;
mod parameters;
mod together;
mod trajectory;
mod uneven;

use super::inner::InnerSteps;
use super::options::with_rule;
use super::*;
use crate::autodiff::Dual;
use crate::device::under_test;
use crate::model::lora::{Layers, LoraLayout, LoraSpec};
use crate::model::{Activations, Decoder, DecoderConfig, Family, Projection, tape};
use crate::optim::{AdamW, Momentum, Sgd};
use crate::text::Sequence;

fn config() -> DecoderConfig {
    DecoderConfig {
        family: Family::Qwen2,
        vocab_size: 23,
        hidden_size: 12,
        intermediate_size: 20,
        num_layers: 3,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 4,
        max_positions: 64,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        rope_scaling: None,
        tied: true,
    }
}

fn options() -> InnerOptions {
    InnerOptions {
        steps: 3,
        differentiated: 3,
        // A root's ε keeps Adam's first step smooth enough for differences.
        optimizer: InnerOptimizer::AdamW(AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, eps_root: 1e-4 }),
        weight_decay: 0.05,
        clip_norm: None,
        head: true,
        normalize_weights: false,
        reduction: Reduction::Positions,
        micro_batch_segments: 2,
        activations: Activations::Keep,
    }
}

fn random(shape: &[usize], spread: f64, seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let numbers: Vec<f64> = (0..shape.iter().product()).map(|_| rng.random_range(-spread..spread)).collect();
    Tensor::from_vec(numbers, shape, &under_test()).unwrap()
}

struct Case {
    learner: Learner,
    params: MetaParams,
    segments: Vec<Sequence>,
    queries: Vec<Sequence>,
}

fn case_of(config: &DecoderConfig, layers: Layers, options: InnerOptions) -> Case {
    let decoder = Decoder::random_trained(config, 3, DType::F64, DType::F64, &under_test()).unwrap();
    let spec = LoraSpec { rank: 2, alpha: 3.0, rslora: true, targets: Projection::ALL.to_vec(), layers };
    let layout = LoraLayout::new(spec, &decoder.config);
    let tensor = |i: usize| random(&[layout.shape(i).0, layout.shape(i).1], 0.4, 50 + i as u64);
    let adapter = (0..layout.num_tensors()).map(tensor).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let count = layout.num_tensors() * options.steps;
    let rates: Vec<f64> = (0..count).map(|_| rng.random_range(0.01..0.05)).collect();
    let inner_lr = Tensor::from_vec(rates, (layout.num_tensors(), options.steps), &Device::Cpu).unwrap();
    let head = options.head.then(|| {
        let shapes: [&[usize]; 4] = [&[6, 12], &[6], &[1, 6], &[1]];
        Head::from_tensors([0, 1, 2, 3].map(|i| random(shapes[i], 0.5, 900 + i as u64)))
    });
    let sequence = |seed: u32, len: u32, loss_from| {
        Sequence::new((0..len).map(|i| (i * i * 7 + i * 3 + seed * 5) % 23).collect(), loss_from)
    };
    let segments = vec![sequence(1, 7, 2), sequence(2, 9, 3), sequence(3, 5, 1)];
    let queries = vec![sequence(4, 6, 4), sequence(5, 5, 3)];
    let learner = Learner::new(decoder, layout, options).unwrap();
    Case { learner, params: MetaParams { adapter, inner_lr, head }, segments, queries }
}

fn case_on(layers: Layers, options: InnerOptions) -> Case {
    case_of(&config(), layers, options)
}

fn case(options: InnerOptions) -> Case {
    case_on(Layers::All, options)
}

fn dot(a: &[Tensor], b: &[Tensor]) -> f64 {
    let one = |(a, b): (&Tensor, &Tensor)| (a * b).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
    a.iter().zip(b).map(one).sum()
}

fn squared(x: &Tensor) -> f64 {
    dot(std::slice::from_ref(x), std::slice::from_ref(x))
}

fn moved(x: &[Tensor], direction: &[Tensor], by: f64) -> Vec<Tensor> {
    x.iter().zip(direction).map(|(x, d)| (x + (d * by).unwrap()).unwrap()).collect()
}

/// A random direction in the space of all meta-parameters.
fn direction(params: &MetaParams, seed: u64) -> MetaParams {
    let like = |(i, t): (usize, &Tensor)| random(t.dims(), 1.0, seed * 1000 + i as u64);
    let head = |h: &Head| {
        let tensors = h.tensors();
        Head::from_tensors([0, 1, 2, 3].map(|i| random(tensors[i].dims(), 1.0, seed * 77 + i as u64)))
    };
    MetaTree {
        adapter: params.adapter.iter().enumerate().map(like).collect(),
        inner_lr: random(params.inner_lr.dims(), 0.05, seed).to_device(&Device::Cpu).unwrap(),
        head: params.head.as_ref().map(head),
    }
}

fn step_along(params: &MetaParams, direction: &MetaParams, by: f64) -> MetaParams {
    params.add(&direction.scale(by).unwrap()).unwrap()
}

/// ⟨gradient, direction⟩.
fn along(gradient: &MetaParams, direction: &MetaParams) -> f64 {
    let pairs = gradient.leaves().zip(direction.leaves());
    pairs.map(|(a, b)| dot(std::slice::from_ref(a), std::slice::from_ref(b))).sum()
}

/// The outer loss after the unroll, with the gradients of the first `frozen.len()` steps held at `frozen`:
/// the function whose exact gradient the truncated meta-gradient is.
fn outer_loss(case: &Case, params: &MetaParams, frozen: &[Vec<Tensor>]) -> f64 {
    let learner = &case.learner;
    let (phi, _) = unrolled(case, params, learner.options.steps, frozen);
    let questions = learner.outer_loss(&case.queries).unwrap();
    questions.losses(&learner.backbone, &learner.layout, &phi, None, &mut |_| Ok(())).unwrap()[0].loss
}

/// The adapter after the first `count` steps, and the gradient of each: those of `frozen` where there are any.
fn unrolled(
    case: &Case,
    params: &MetaParams,
    count: usize,
    frozen: &[Vec<Tensor>],
) -> (Vec<Tensor>, Vec<Vec<Tensor>>) {
    let options = &case.learner.options;
    let context = case.learner.inner_loss(&case.segments).unwrap();
    with_rule!(options.optimizer, rule => {
        let steps = InnerSteps::new(options, rule, params, 1).unwrap();
        let mut at = steps.start();
        let mut all = vec![];
        for step in 0..count {
            let grads = match frozen.get(step) {
                Some(grads) => grads.clone(),
                None => inner_gradient(&case.learner, params, &context, &inner::adapter(&at)).1,
            };
            at = steps.step(&at, &grads, step).unwrap();
            all.push(grads);
        }
        (inner::adapter(&at), all)
    })
}

/// Gradients of the first steps from the start of `case`.
fn first_gradients(case: &Case, count: usize) -> Vec<Vec<Tensor>> {
    unrolled(case, &case.params, count, &[]).1
}

/// The inner loss and its gradient at `phi`.
fn inner_gradient(
    learner: &Learner,
    params: &MetaParams,
    context: &SequenceLoss,
    phi: &[Tensor],
) -> (f64, Vec<Tensor>) {
    let head = params.head.as_ref();
    let found = context.gradient(&learner.backbone, &learner.layout, phi, head, &mut |_| Ok(()));
    let (losses, grads) = found.unwrap();
    (losses[0].loss, grads.adapter)
}

/// Richardson's fourth-order difference at 0: the unroll bends too much for the second-order one.
fn slope(at: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-5;
    (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h)
}

fn check_meta_gradient(name: &str, case: &Case) {
    let options = &case.learner.options;
    let found = case.learner.meta_gradient(&case.params, &case.segments, &case.queries).unwrap();
    let frozen = first_gradients(case, options.steps - options.differentiated);
    assert!((outer_loss(case, &case.params, &frozen) - found.outer_loss).abs() < 1e-12);
    for seed in [1, 2] {
        let direction = direction(&case.params, seed);
        let slope = slope(|by| outer_loss(case, &step_along(&case.params, &direction, by), &frozen));
        let found = along(&found.tree, &direction);
        let error = (found - slope).abs() / slope.abs().max(1e-2);
        assert!(error < 1e-6, "{name}: {found} against {slope}, {error:e} off");
    }
}

#[test]
fn the_answers_own_gradient_equals_differences_and_leaves_rates_and_head_alone() {
    let case = case_on(Layers::All, options());
    let found = case.learner.answer_gradients(&case.params, &[&case.queries[..]]).unwrap();
    let (outer_loss, norm) = (found.episodes[0].outer_loss, found.episodes[0].norm);
    let questions = case.learner.outer_loss(&case.queries).unwrap();
    let loss = |params: &MetaParams| {
        let (backbone, layout) = (&case.learner.backbone, &case.learner.layout);
        questions.losses(backbone, layout, &params.adapter, None, &mut |_| Ok(())).unwrap()[0].loss
    };
    assert!((loss(&case.params) - outer_loss).abs() < 1e-12);
    assert!((dot(&found.tree.adapter, &found.tree.adapter).sqrt() - norm).abs() < 1e-12);
    for seed in [1, 2] {
        // The direction moves rates and head too, which the loss does not see.
        let direction = direction(&case.params, seed);
        let slope = slope(|by| loss(&step_along(&case.params, &direction, by)));
        let found = along(&found.tree, &direction);
        let error = (found - slope).abs() / slope.abs().max(1e-2);
        assert!(error < 1e-6, "{found} against {slope}, {error:e} off");
    }
}

#[test]
fn the_meta_gradient_equals_differences_for_every_truncation_optimiser_and_weighting() {
    for optimizer in
        [options().optimizer, InnerOptimizer::Sgd(Sgd), InnerOptimizer::Momentum(Momentum { momentum: 0.8 })]
    {
        for differentiated in 0..=3 {
            for (head, normalize_weights) in [(false, false), (true, false), (true, true)] {
                let options =
                    InnerOptions { optimizer, differentiated, head, normalize_weights, ..options() };
                check_meta_gradient(&format!("{options:?}"), &case(options));
            }
        }
    }
}

#[test]
fn the_meta_gradient_goes_through_clipping() {
    for clip_norm in [0.05, 1e6] {
        check_meta_gradient("clipped", &case(InnerOptions { clip_norm: Some(clip_norm), ..options() }));
    }
}

#[test]
fn the_meta_gradient_equals_differences_on_the_top_layer_and_with_other_reductions() {
    for reduction in [Reduction::LabelledTokens, Reduction::Constant(5.0)] {
        let options = InnerOptions { reduction, ..options() };
        check_meta_gradient("top layer", &case_on(Layers::Top(1), options));
    }
}

#[test]
fn the_gradient_equals_the_tape() {
    let case = case(InnerOptions { head: false, ..options() });
    let context = case.learner.inner_loss(&case.segments).unwrap();
    let (loss, grads) = inner_gradient(&case.learner, &case.params, &context, &case.params.adapter);
    let vars: Vec<Var> = case.params.adapter.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let (mut sum, mut count) = (Tensor::zeros((), DType::F64, &under_test()).unwrap(), 0.0);
    for Sequence { tokens, loss_from, .. } in &case.segments {
        let ids = Tensor::new(tokens.as_slice(), &under_test()).unwrap().unsqueeze(0).unwrap();
        let model = &case.learner.backbone.decoder;
        let logits = tape::logits(model, Some((&case.learner.layout, &tensors)), &ids, None).unwrap();
        let logits = logits.squeeze(0).unwrap().narrow(0, loss_from - 1, tokens.len() - loss_from).unwrap();
        let targets = Tensor::new(&tokens[*loss_from..], &under_test()).unwrap();
        let count_here = (tokens.len() - loss_from) as f64;
        let mean = candle_nn::loss::cross_entropy(&logits, &targets).unwrap();
        sum = (sum + (mean * count_here).unwrap()).unwrap();
        count += count_here;
    }
    let mean = (sum / count).unwrap();
    let tape_loss = mean.to_scalar::<f64>().unwrap();
    assert!((tape_loss - loss).abs() < 1e-12, "{loss}, but {tape_loss} on the tape");
    let expected = mean.backward().unwrap();
    for (index, (var, grad)) in vars.iter().zip(&grads).enumerate() {
        let difference = [(expected.get(var).unwrap() - grad).unwrap()];
        let error = dot(&difference, &difference).sqrt();
        assert!(error < 1e-12, "{}: {error:e} off", case.learner.layout.name(index));
    }
}

#[test]
fn the_loss_alone_is_the_loss_that_comes_with_the_gradient() {
    for (head, normalize_weights) in [(false, false), (true, false), (true, true)] {
        let case = case(InnerOptions { head, normalize_weights, ..options() });
        let (learner, phi) = (&case.learner, &case.params.adapter);
        let context = learner.inner_loss(&case.segments).unwrap();
        let mut parts = vec![];
        let alone = learner
            .inner_loss_at(&case.params, &context, phi, &mut |n| {
                parts.push(n);
                Ok(())
            })
            .unwrap();
        let head = case.params.head.as_ref();
        let with =
            context.gradient(&learner.backbone, &learner.layout, phi, head, &mut |_| Ok(())).unwrap().0[0];
        assert!((alone.loss - with.loss).abs() < 1e-12, "{alone:?}, {with:?}");
        assert!((alone.cross_entropy - with.cross_entropy).abs() < 1e-12, "{alone:?}, {with:?}");
        assert_eq!(case.learner.options.head, (alone.loss - alone.cross_entropy).abs() > 1e-3, "{alone:?}");
        assert_eq!(parts, [1, 2], "three segments, two at once");
    }
}

/// Hessian-vector product of the inner loss at the start, and the tangent of the head's gradient.
fn product(case: &Case, direction: &[Tensor]) -> Vec<Tensor> {
    let learner = &case.learner;
    let context = learner.inner_loss(&case.segments).unwrap();
    let dual = |(x, d): (&Tensor, &Tensor)| Dual::new(x.clone(), Some(d.clone())).unwrap();
    let phi: Vec<_> = case.params.adapter.iter().zip(direction).map(dual).collect();
    let head = case.params.head.as_ref().map(|h| h.map(|t| Ok(crate::autodiff::Ops::constant(t))).unwrap());
    let (backbone, layout) = (&learner.backbone, &learner.layout);
    let part = context.gradient(backbone, layout, &phi, head.as_ref(), &mut |_| Ok(())).unwrap().1;
    part.adapter.iter().map(|d| d.tangent_or_zeros().unwrap()).collect()
}

#[test]
fn the_hessian_is_symmetric_and_equals_differences_of_the_gradient() {
    let case = case(options());
    let (u, v) = (direction(&case.params, 5).adapter, direction(&case.params, 6).adapter);
    let (hu, hv) = (product(&case, &u), product(&case, &v));
    let (left, right) = (dot(&hu, &v), dot(&u, &hv));
    assert!((left - right).abs() < 1e-11 * left.abs(), "⟨Hu, v⟩ = {left}, ⟨u, Hv⟩ = {right}");
    let context = case.learner.inner_loss(&case.segments).unwrap();
    let gradient = |by: f64| {
        inner_gradient(&case.learner, &case.params, &context, &moved(&case.params.adapter, &u, by)).1
    };
    let h = 1e-4;
    let [near, far] = [h, 2.0 * h].map(|h| {
        let (ahead, behind) = (gradient(h), gradient(-h));
        let slope = |(a, b): (&Tensor, &Tensor)| ((a - b).unwrap() * (0.5 / h)).unwrap();
        ahead.iter().zip(&behind).map(slope).collect::<Vec<_>>()
    });
    for (index, hu) in hu.iter().enumerate() {
        let slope = ((&near[index] * 4.0).unwrap() - &far[index]).unwrap();
        let slope = (slope / 3.0).unwrap();
        let difference = [(hu - &slope).unwrap()];
        let size = squared(&slope).sqrt();
        let error = dot(&difference, &difference).sqrt() / size;
        assert!(error < 1e-7, "{}: {error:e} off", case.learner.layout.name(index));
    }
}

#[test]
fn every_trained_number_gets_a_gradient_and_first_order_leaves_the_head_without() {
    for differentiated in [0, 2] {
        let case = case(InnerOptions { differentiated, ..options() });
        let found = case.learner.meta_gradient(&case.params, &case.segments, &case.queries).unwrap().tree;
        let rates = found.inner_lr.to_vec2::<f64>().unwrap();
        for (index, (tensor, rates)) in found.adapter.iter().zip(rates).enumerate() {
            let name = case.learner.layout.name(index);
            assert!(squared(tensor) > 0.0, "{name} has no gradient");
            assert!(rates.iter().all(|rate| *rate != 0.0), "{name}: {rates:?}");
        }
        for (name, tensor) in Head::NAMES.iter().zip(found.head.as_ref().unwrap().tensors()) {
            let size = squared(tensor);
            assert_eq!(size > 0.0, differentiated > 0, "head.{name}: {size}");
        }
    }
}
