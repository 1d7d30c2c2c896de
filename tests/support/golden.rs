//! Reads a folder of golden files and runs the engine on it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use perk::config::MatmulPrecision;
use perk::meta::{
    Head, InnerOptimizer, InnerOptions, LabelledBatch, Learner, MetaGradient, MetaParams, Reduction,
    SequenceLoss,
};
use perk::model::lora::{Layers, LoraLayout, LoraSpec};
use perk::model::{Activations, Decoder, Projection};
use perk::optim::{AdamW, Sgd};
use serde::Deserialize;
use serde_json::Value;

use super::device::under_test;
use super::{distance, numbers};

#[derive(Debug, Clone, Deserialize)]
pub struct Variant {
    pub name: String,
    file: String,
    optimizer: String,
    n_inner: usize,
    differentiated: usize,
    weighted: bool,
    weights_normalized: bool,
    learning_rates: Value,
    head: Option<String>,
    lora_b_zeroed: bool,
    weight_decay: f64,
}

impl Variant {
    /// Whether the inner steps are AdamW's, whose first is the sign of the gradient.
    pub fn is_adamw(&self) -> bool {
        self.optimizer == "adamw"
    }

    pub fn is_f32(&self) -> bool {
        self.name.ends_with(".f32")
    }

    fn dtype(&self) -> DType {
        if self.is_f32() { DType::F32 } else { DType::F64 }
    }
}

#[derive(Deserialize)]
struct AdamWConstants {
    beta1: f64,
    beta2: f64,
    eps: f64,
}

#[derive(Deserialize)]
struct Manifest {
    adamw: AdamWConstants,
    variants: Vec<Variant>,
}

#[derive(Deserialize)]
struct AdapterConfig {
    r: usize,
    lora_alpha: f64,
    use_rslora: bool,
    target_modules: Vec<String>,
}

pub struct Golden {
    folder: PathBuf,
    manifest: Manifest,
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

impl Golden {
    pub fn open() -> Self {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let folder = std::env::var_os("PERK_GOLDEN_DIR").map_or(own, PathBuf::from);
        let manifest = json(&folder.join("manifest.json"));
        Self { folder, manifest }
    }

    pub fn variants(&self) -> &[Variant] {
        &self.manifest.variants
    }

    fn tensors(&self, file: &str) -> HashMap<String, Tensor> {
        let path = self.folder.join(file);
        candle_core::safetensors::load(&path, &under_test())
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn layout(&self, decoder: &Decoder) -> LoraLayout {
        let config: AdapterConfig = json(&self.folder.join("adapter/adapter_config.json"));
        let targeted = |p: &Projection| config.target_modules.iter().any(|name| name == p.name());
        let spec = LoraSpec {
            rank: config.r,
            alpha: config.lora_alpha,
            rslora: config.use_rslora,
            targets: Projection::ALL.into_iter().filter(targeted).collect(),
            layers: Layers::All,
        };
        LoraLayout::new(spec, &decoder.config)
    }

    fn options(&self, variant: &Variant) -> InnerOptions {
        let AdamWConstants { beta1, beta2, eps } = self.manifest.adamw;
        InnerOptions {
            steps: variant.n_inner,
            differentiated: variant.differentiated,
            optimizer: match variant.optimizer.as_str() {
                "adamw" => InnerOptimizer::AdamW(AdamW { beta1, beta2, eps, eps_root: 0.0 }),
                "sgd" => InnerOptimizer::Sgd(Sgd),
                other => panic!("unknown optimizer {other}"),
            },
            weight_decay: variant.weight_decay,
            clip_norm: None,
            head: variant.weighted,
            normalize_weights: variant.weights_normalized,
            reduction: Reduction::Positions,
            micro_batch_segments: usize::MAX,
            activations: Activations::Keep,
        }
    }

    fn params(&self, variant: &Variant, layout: &LoraLayout, dtype: DType) -> MetaParams {
        let adapter = self.tensors("adapter/adapter_model.safetensors");
        let names: Vec<String> = (0..layout.num_tensors()).map(|i| layout.name(i)).collect();
        let start = |name: &String| {
            let tensor = adapter[name].to_dtype(dtype).unwrap();
            if variant.lora_b_zeroed && name.contains("lora_B") {
                tensor.zeros_like().unwrap()
            } else {
                tensor
            }
        };
        let inner_lr: Vec<f64> = match &variant.learning_rates {
            Value::Number(rate) => vec![rate.as_f64().unwrap(); variant.n_inner * names.len()],
            file => {
                let rates = self.tensors(file.as_str().unwrap());
                let of = |name: &String| numbers(&rates[&name.replace(".weight", ".default.weight")]);
                names.iter().flat_map(of).collect()
            }
        };
        let inner_lr = Tensor::from_vec(inner_lr, (names.len(), ()), &Device::Cpu).unwrap();
        let head = variant.head.as_ref().map(|file| {
            let tensors = self.tensors(file);
            Head::from_tensors(Head::NAMES.map(|name| tensors[name].to_dtype(dtype).unwrap()))
        });
        MetaParams { adapter: names.iter().map(start).collect(), inner_lr, head }
    }

    /// The rows of `inner` or `outer` from `range`, as they stand: padded on whichever side.
    fn batch(&self, which: &str, rows: std::ops::Range<usize>, decoder: &Decoder) -> LabelledBatch {
        let all = self.tensors("batch.safetensors");
        let read = |name: &str| -> Vec<Vec<i64>> { all[&format!("{which}.{name}")].to_vec2().unwrap() };
        let (ids, mask, labels) = (read("input_ids"), read("attention_mask"), read("labels"));
        let span = |mask: &Vec<i64>| {
            let first = mask.iter().position(|&m| m == 1).unwrap();
            let end = mask.iter().rposition(|&m| m == 1).unwrap() + 1;
            assert!(mask[first..end].iter().all(|&m| m == 1), "padding inside a row");
            (first, end)
        };
        let tokens: Vec<Vec<u32>> = ids.iter().map(|r| r.iter().map(|&id| id as u32).collect()).collect();
        let labels: Vec<Vec<bool>> = labels.iter().map(|r| r.iter().map(|&l| l >= 0).collect()).collect();
        let spans = mask[rows.clone()].iter().map(span).collect();
        LabelledBatch::new(&tokens[rows.clone()], spans, &labels[rows], &decoder.config, &under_test())
            .unwrap()
    }

    /// The variant's learner, parameters, context and questions, with its options changed by `set`.
    fn case(&self, variant: &Variant, set: impl Fn(&mut InnerOptions)) -> Case {
        let dtype = variant.dtype();
        self.case_on(self.decoder(dtype, dtype), variant, set)
    }

    fn decoder(&self, storage: DType, compute: DType) -> Decoder {
        Decoder::load(&self.folder.join("model_f64"), storage, compute, &under_test()).unwrap()
    }

    fn case_on(&self, decoder: Decoder, variant: &Variant, set: impl Fn(&mut InnerOptions)) -> Case {
        let layout = self.layout(&decoder);
        let params = self.params(variant, &layout, decoder.dtype);
        let mut options = self.options(variant);
        set(&mut options);
        let batch = self.tensors("batch.safetensors");
        let (size, width) = batch["inner.input_ids"].dims2().unwrap();
        let step = options.micro_batch_segments.min(size);
        let batches = (0..size)
            .step_by(step)
            .map(|first| self.batch("inner", first..(first + step).min(size), &decoder))
            .collect();
        let outer = self.batch("outer", 0..batch["outer.input_ids"].dim(0).unwrap(), &decoder);
        let learner = Learner::new(decoder, layout, options.clone()).unwrap();
        let (backbone, layout) = (&learner.backbone, &learner.layout);
        let positions = size * (width - 1);
        let context = SequenceLoss::inner_of_batches(backbone, layout, batches, positions, &options).unwrap();
        let queries = SequenceLoss::outer(backbone, layout, outer, Activations::Keep).unwrap();
        Case { learner, params, context, queries }
    }

    pub fn meta_gradient_with(&self, variant: &Variant, set: impl Fn(&mut InnerOptions)) -> MetaGradient {
        let Case { learner, params, context, queries } = self.case(variant, set);
        learner.meta_gradient_of(&params, &context, &queries).unwrap()
    }

    /// The meta-gradient with weights rounded to bf16: in f64, or in f32 with products at `precision`.
    pub fn meta_gradient_at(&self, variant: &Variant, precision: Option<MatmulPrecision>) -> Vec<f64> {
        let decoder = match precision {
            None => self.decoder(DType::BF16, DType::F64),
            Some(precision) => self.decoder(DType::BF16, DType::F32).packed(precision).unwrap(),
        };
        let Case { learner, params, context, queries } = self.case_on(decoder, variant, |_| {});
        let tree = learner.meta_gradient_of(&params, &context, &queries).unwrap().tree;
        tree.leaves().flat_map(numbers).collect()
    }

    /// Distance of every result from the golden file, by name.
    pub fn distances(&self, variant: &Variant) -> Vec<(String, f64)> {
        let expected = self.tensors(&variant.file);
        let mut case = self.case(variant, |_| {});
        let mut found = case.meta_gradient();
        found.extend(case.inner_steps(&expected));
        let mut distances = vec![];
        for (name, tensor) in &expected {
            let compared = ["inner_losses", "outer_loss", "outer_grad_phiN.", "phi.", "g.", "meta."];
            if !compared.iter().any(|start| name.starts_with(start)) {
                continue;
            }
            let Some(found) = found.get(name) else { panic!("{}: {name} was not computed", variant.name) };
            let expected = numbers(tensor);
            assert_eq!(found.len(), expected.len(), "{}: {name}", variant.name);
            distances.push((name.clone(), distance(found, &expected)));
        }
        distances.sort_by(|a, b| a.0.cmp(&b.0));
        distances
    }

    /// How far the authors' own f32 run is from their f64 run of the same variant, at the worst tensor of each kind; none
    /// where there is no such run.
    pub fn precisions(&self, variant: &Variant) -> HashMap<String, f64> {
        let twin = variant.name.replace(".f32", ".f64");
        let twin = self.variants().iter().find(|v| v.name == twin && v.name != variant.name);
        let Some(twin) = twin else { return HashMap::new() };
        let (own, exact) = (self.tensors(&variant.file), self.tensors(&twin.file));
        let mut worst = HashMap::new();
        for (name, tensor) in &own {
            if let Some(exact) = exact.get(name) {
                let found = distance(&numbers(tensor), &numbers(exact));
                let worst = worst.entry(kind(name).to_owned()).or_insert(0f64);
                *worst = worst.max(found);
            }
        }
        worst
    }
}

/// What a tensor of a golden file is, whichever matrix of the adapter it belongs to: `meta.phi0`, `g.3` and so on.
pub fn kind(name: &str) -> &str {
    name.split_once(".base_model").map_or(name, |(kind, _)| kind)
}

/// A variant, ready to run.
struct Case {
    learner: Learner,
    params: MetaParams,
    context: SequenceLoss,
    queries: SequenceLoss,
}

/// Results by the names of the golden files.
type Found = HashMap<String, Vec<f64>>;

impl Case {
    fn meta_gradient(&mut self) -> Found {
        let gradient = self.learner.meta_gradient_of(&self.params, &self.context, &self.queries).unwrap();
        let at_the_end = self.gradient_at_the_end();
        let layout = &self.learner.layout;
        let rates: Vec<Vec<f64>> = gradient.tree.inner_lr.to_vec2().unwrap();
        let mut found = Found::from([
            ("inner_losses".into(), gradient.inner_losses.clone()),
            ("outer_loss".into(), vec![gradient.outer_loss]),
        ]);
        for index in 0..layout.num_tensors() {
            let name = layout.name(index);
            found.insert(format!("meta.phi0.{name}"), numbers(&gradient.tree.adapter[index]));
            found.insert(format!("outer_grad_phiN.{name}"), numbers(&at_the_end[index]));
            found.insert(format!("meta.lr.{name}"), rates[index].clone());
        }
        if let Some(head) = &gradient.tree.head {
            for (name, tensor) in Head::NAMES.iter().zip(head.tensors()) {
                found.insert(format!("meta.head.{name}"), numbers(tensor));
            }
        }
        found
    }

    /// The adapter before step n, from 0, and the inner gradient of that step, wherever the file has them.
    fn inner_steps(&mut self, expected: &HashMap<String, Tensor>) -> Found {
        let wanted = |kind: &str, n: usize| {
            let start = format!("{kind}.{n}.");
            expected.keys().any(|name| name.starts_with(&start))
        };
        let names: Vec<String> =
            (0..self.learner.layout.num_tensors()).map(|i| self.learner.layout.name(i)).collect();
        let mut found = Found::new();
        for n in 0..=self.learner.options.steps {
            if !wanted("phi", n) && !wanted("g", n) {
                continue;
            }
            let phi = self.adapter_after(n);
            if wanted("g", n) {
                let gradient = self.inner_gradient(&phi);
                found.extend(
                    names.iter().zip(&gradient).map(|(name, g)| (format!("g.{n}.{name}"), numbers(g))),
                );
            }
            found.extend(names.iter().zip(&phi).map(|(name, phi)| (format!("phi.{n}.{name}"), numbers(phi))));
        }
        found
    }

    /// ∂L_out/∂φ_N: the meta-gradient of no steps, from φ_N.
    fn gradient_at_the_end(&mut self) -> Vec<Tensor> {
        let adapter = self.adapter_after(self.learner.options.steps);
        let params = MetaParams { adapter, ..self.params.clone() };
        let own = self.learner.options.clone();
        self.learner.options = InnerOptions { steps: 0, differentiated: 0, ..own.clone() };
        let gradient = self.learner.meta_gradient_of(&params, &self.context, &self.queries).unwrap();
        self.learner.options = own;
        gradient.tree.adapter
    }

    fn adapter_after(&mut self, steps: usize) -> Vec<Tensor> {
        let all = std::mem::replace(&mut self.learner.options.steps, steps);
        let adapted = self.learner.adapt_to(&self.params, &self.context, &mut |_| Ok(())).unwrap();
        self.learner.options.steps = all;
        adapted.phi
    }

    /// What a step of plain descent with rate 1 takes away.
    fn inner_gradient(&mut self, phi: &[Tensor]) -> Vec<Tensor> {
        let (steps, weight_decay, clip_norm) = (1, 0.0, None);
        let plain = self.learner.options.clone();
        let plain =
            InnerOptions { steps, weight_decay, clip_norm, optimizer: InnerOptimizer::Sgd(Sgd), ..plain };
        let own = std::mem::replace(&mut self.learner.options, plain);
        let params = MetaParams {
            adapter: phi.to_vec(),
            inner_lr: Tensor::ones((phi.len(), 1), DType::F64, &Device::Cpu).unwrap(),
            head: self.params.head.clone(),
        };
        let after = self.learner.adapt_to(&params, &self.context, &mut |_| Ok(())).unwrap().phi;
        self.learner.options = own;
        phi.iter().zip(&after).map(|(before, after)| (before - after).unwrap()).collect()
    }
}
