//! The outer loop's state: what is learned, its optimiser, and one outer step.

#![allow(clippy::disallowed_methods)] // Once an outer step, or when a run is opened.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use crate::config::LrParameterization;
use crate::model::lora::{Adapter, LoraInit};
use crate::optim::{AdamW, Schedule, State, StepSize, global_norm};
use crate::{Error, Result};

use super::{Head, Learner, MetaGradient, MetaParams};

/// Settings of the outer loop.
#[derive(Debug, Clone, PartialEq)]
pub struct OuterOptions {
    /// Number of outer steps; the schedule ends there.
    pub steps: usize,
    /// Peak learning rate of the adapter's start.
    pub lr_adapter: f64,
    /// Peak learning rate of the inner learning rates, in their parameterisation.
    pub lr_inner_lr: f64,
    /// Peak learning rate of the head.
    pub lr_head: f64,
    /// The optimiser.
    pub adamw: AdamW,
    /// Decoupled weight decay of the adapter and the head; learning rates do not decay.
    pub weight_decay: f64,
    /// Limit of the global norm of the whole meta-gradient.
    pub clip_norm: Option<f64>,
    /// Steps over which the learning rate rises.
    pub warmup_steps: usize,
    /// How it falls after that.
    pub schedule: Schedule,
    /// Its last value, as a fraction of the peak.
    pub final_lr_fraction: f64,
    /// Start of the inner learning rates.
    pub inner_lr: f64,
    /// Whether the inner learning rates are learned, one a tensor and step, or stay as they start.
    pub learned_lr: bool,
    /// How they are stored.
    pub lr_parameterization: LrParameterization,
    /// Width H of the head's hidden layer.
    pub head_hidden: usize,
    /// How the adapter starts.
    pub init: LoraInit,
}

/// Everything that outer steps change: parameters, moments and the step number.
#[derive(Debug, Clone)]
pub struct OuterState {
    names: Vec<String>,
    params: Vec<State>,
    adapter_tensors: usize,
    parameterization: LrParameterization,
    learned_lr: bool,
    step: usize,
}

/// Name under which the learning rates are kept.
pub(super) const LR_NAME: &str = "inner_lr";

impl OuterState {
    /// The start of meta-training: adapter as `options.init` says, learning rates all equal, the head's
    /// first layer uniform within 1/√D and its second zero. The same seed gives the same numbers.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn new(learner: &Learner, options: &OuterOptions, seed: u64) -> Result<Self> {
        let decoder = &learner.backbone.decoder;
        let (dtype, device) = (decoder.dtype, &decoder.device);
        let layout = &learner.layout;
        let adapter = Adapter::new(layout.clone(), options.init, seed, dtype, device)?;
        let mut tensors = adapter.tensors;
        let mut names: Vec<String> = (0..layout.num_tensors()).map(|i| layout.name(i)).collect();
        let raw = match options.lr_parameterization {
            LrParameterization::Log => options.inner_lr.ln(),
            LrParameterization::Linear => options.inner_lr,
        };
        tensors
            .push(Tensor::full(raw, (layout.num_tensors(), learner.options.steps), device)?.to_dtype(dtype)?);
        names.push(LR_NAME.into());
        if learner.options.weighted {
            let head = init_head(decoder.config.hidden_size, options.head_hidden, seed)?;
            for (name, tensor) in Head::NAMES.iter().zip(head.tensors()) {
                names.push(format!("head.{name}"));
                tensors.push(tensor.to_dtype(dtype)?.to_device(device)?);
            }
        }
        Ok(Self {
            names,
            params: tensors.into_iter().map(State::new).collect::<Result<_>>()?,
            adapter_tensors: layout.num_tensors(),
            parameterization: options.lr_parameterization,
            learned_lr: options.learned_lr,
            step: 0,
        })
    }

    /// Number of outer steps taken.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Sets the number of outer steps taken, when a run is resumed.
    pub fn set_step(&mut self, step: usize) {
        self.step = step;
    }

    /// Number of trainable numbers: adapter, learning rates, head.
    pub fn num_parameters(&self) -> [usize; 3] {
        let count = |states: &[State]| states.iter().map(|s| s.param.elem_count()).sum();
        let (adapter, rest) = self.params.split_at(self.adapter_tensors);
        [count(adapter), if self.learned_lr { count(&rest[..1]) } else { 0 }, count(&rest[1..])]
    }

    /// The adapter's start φ₀, in the layout's order.
    pub fn phi0(&self) -> Vec<Tensor> {
        self.params[..self.adapter_tensors].iter().map(|s| s.param.clone()).collect()
    }

    /// The parameters as the inner loop uses them.
    ///
    /// # Errors
    /// Only what tensor operations refuse.
    pub fn params(&self) -> Result<MetaParams> {
        let raw: Vec<Vec<f64>> = self.params[self.adapter_tensors].param.to_dtype(DType::F64)?.to_vec2()?;
        let rate = |raw| self.parameterization.rate(raw);
        let inner_lr = raw.into_iter().map(|row| row.into_iter().map(rate).collect()).collect();
        let head: Vec<Tensor> =
            self.params[self.adapter_tensors + 1..].iter().map(|s| s.param.clone()).collect();
        let head = <[Tensor; 4]>::try_from(head).ok().map(Head::from_tensors);
        Ok(MetaParams { phi0: self.phi0(), inner_lr, head })
    }

    /// Takes one outer step along a meta-gradient (the mean over episodes) and returns the gradient's global
    /// norm before clipping. If the norm is not finite nothing is changed.
    ///
    /// # Errors
    /// A gradient with other tensors than the state.
    pub fn apply(&mut self, gradient: &MetaGradient, options: &OuterOptions) -> Result<f64> {
        let grads = self.flatten(gradient)?;
        let norm = global_norm(&grads)?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        let shrink = options.clip_norm.map_or(1.0, |limit| (limit / norm).min(1.0));
        let factor = options.schedule.factor(
            self.step,
            options.steps,
            options.warmup_steps,
            options.final_lr_fraction,
        );
        for (index, grad) in grads.iter().enumerate() {
            let (peak, weight_decay) = match index {
                i if i < self.adapter_tensors => (options.lr_adapter, options.weight_decay),
                i if i == self.adapter_tensors => (options.lr_inner_lr, 0.0),
                _ => (options.lr_head, options.weight_decay),
            };
            if index == self.adapter_tensors && !self.learned_lr {
                continue;
            }
            let size = StepSize { step: self.step + 1, lr: peak * factor, weight_decay };
            self.params[index] = options.adamw.step(&self.params[index], &(grad * shrink)?, size)?;
        }
        self.step += 1;
        Ok(norm)
    }

    /// The meta-gradient in the order of the parameters, taken to the learning rates' parameterisation.
    fn flatten(&self, gradient: &MetaGradient) -> Result<Vec<Tensor>> {
        let mut grads = gradient.phi0.clone();
        let like = &self.params[self.adapter_tensors].param;
        let (rows, steps) = like.dims2()?;
        let used = gradient.inner_lr.iter().flat_map(|row| row[..steps].iter().copied());
        let rates = Tensor::from_iter(used, like.device())?.reshape((rows, steps))?.to_dtype(like.dtype())?;
        grads.push(match self.parameterization {
            _ if !self.learned_lr => rates.zeros_like()?,
            LrParameterization::Log => (rates * like.exp()?)?,
            LrParameterization::Linear => rates,
        });
        if let Some(head) = &gradient.head {
            grads.extend(head.tensors().map(Tensor::clone));
        }
        if grads.len() != self.params.len() {
            let (expected, found) = (self.params.len(), grads.len());
            return Err(Error::Invalid(format!("{expected} trained tensors, but {found} gradients")));
        }
        Ok(grads)
    }

    /// Every tensor of the state by name: parameters, and their moments under `m.` and `v.`.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let named = |(name, state): (&String, &State)| {
            let State { param, m, v } = state.clone();
            [(name.clone(), param), (format!("m.{name}"), m), (format!("v.{name}"), v)]
        };
        self.names.iter().zip(&self.params).flat_map(named).collect()
    }

    /// Takes up the tensors of [`named_tensors`](Self::named_tensors); `path` is where they were read.
    ///
    /// # Errors
    /// A tensor that is missing, that is one too many, or that has another shape; the state may be half loaded.
    pub fn load_named(&mut self, path: &std::path::Path, mut tensors: HashMap<String, Tensor>) -> Result<()> {
        let mut take = |name: &str, like: &Tensor| {
            let found = tensors.remove(name).ok_or_else(|| Error::tensor(path, name, "is missing"))?;
            if found.shape() != like.shape() {
                let (expected, found) = (like.dims(), found.dims());
                return Err(Error::tensor(path, name, format!("should be {expected:?}, but is {found:?}")));
            }
            Ok(found.to_dtype(like.dtype())?.to_device(like.device())?)
        };
        for (name, state) in self.names.iter().zip(&mut self.params) {
            let param = take(name, &state.param)?;
            let (m, v) = (take(&format!("m.{name}"), &state.m)?, take(&format!("v.{name}"), &state.v)?);
            *state = State { param, m, v };
        }
        match tensors.keys().min() {
            Some(name) => Err(Error::tensor(path, name, "does not belong to this run")),
            None => Ok(()),
        }
    }
}

/// The head's start: its weights all equal to softplus(0), since the second layer is zero.
fn init_head(width: usize, hidden: usize, seed: u64) -> Result<Head> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A stream of its own, so that the head does not repeat the adapter's numbers.
    rng.set_stream(u64::MAX);
    let bound = 1.0 / (width as f64).sqrt();
    let mut uniform = |shape: &[usize]| {
        let count = shape.iter().product();
        let numbers: Vec<f64> = (0..count).map(|_| rng.random_range(-bound..bound)).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu)
    };
    let (weight, bias) = (uniform(&[hidden, width])?, uniform(&[hidden])?);
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &Device::Cpu);
    Ok(Head::from_tensors([weight, bias, zeros(&[1, hidden])?, zeros(&[1])?]))
}
