//! The outer loop's state: what is learned, its optimiser, and one outer step.

#![allow(clippy::disallowed_methods)] // Once an outer step, or when a run is opened.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::Result;
pub use crate::config::LrParameterization;
use crate::model::lora::{Adapter, LoraInit};
use crate::optim::{AdamW, Iterate, Moments, Rule, Schedule, StepSize, clip_factor, global_norm};

use super::params::Named;
use super::tree::Branch;
use super::{Head, Learner, MetaParams, MetaTree};

/// Settings of the outer loop.
#[derive(Debug, Clone, PartialEq)]
pub struct OuterOptions {
    /// Number of outer steps; the schedule ends there.
    pub steps: usize,
    /// Peak learning rate of the adapter's start.
    pub lr: f64,
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
    names: MetaTree<String>,
    /// The learning rates as they are stored, `(tensors, steps)`.
    at: MetaTree<Iterate<Moments>>,
    parameterization: LrParameterization,
    learned_lr: bool,
    step: usize,
}

impl OuterOptions {
    /// What an outer step, from 0, does to the tensors of a branch; `None` if it leaves them alone.
    fn step_size(&self, step: usize, branch: Branch) -> Option<StepSize> {
        let factor = self.schedule.factor(step, self.steps, self.warmup_steps, self.final_lr_fraction);
        let (peak, weight_decay) = match branch {
            Branch::Adapter => (self.lr, self.weight_decay),
            Branch::InnerLr if !self.learned_lr => return None,
            Branch::InnerLr => (self.lr_inner_lr, 0.0),
            Branch::Head => (self.lr_head, self.weight_decay),
        };
        Some(StepSize { step: step + 1, lr: peak * factor, weight_decay })
    }
}

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
        let raw = match options.lr_parameterization {
            LrParameterization::Log => options.inner_lr.ln(),
            LrParameterization::Linear => options.inner_lr,
        };
        let rates = Tensor::full(raw, (layout.num_tensors(), learner.options.steps), device)?;
        let head = learner.options.head;
        let head = head.then(|| init_head(decoder.config.hidden_size, options.head_hidden, seed));
        let start = MetaTree {
            adapter: Adapter::new(layout.clone(), options.init, seed, dtype, device)?.tensors,
            inner_lr: rates,
            head: head.transpose()?,
        };
        let start = start.map(|tensor| Ok(tensor.to_dtype(dtype)?.to_device(device)?))?;
        Ok(Self {
            names: MetaTree::names(layout, learner.options.head),
            at: start.map(|tensor| options.adamw.start(tensor.clone()))?,
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
        let MetaTree { adapter, inner_lr, head } = &self.at;
        let count = |at: &Iterate<Moments>| at.param.elem_count();
        let head = head.iter().flat_map(Head::tensors);
        let rates = if self.learned_lr { count(inner_lr) } else { 0 };
        [adapter.iter().map(count).sum(), rates, head.map(count).sum()]
    }

    /// The adapter's start φ₀, in the layout's order.
    pub fn adapter(&self) -> Vec<Tensor> {
        self.at.adapter.iter().map(|at| at.param.clone()).collect()
    }

    /// The parameters as the inner loop uses them.
    ///
    /// # Errors
    /// Only what tensor operations refuse.
    pub fn params(&self) -> Result<MetaParams> {
        let stored = self.at.map(|at| Ok(at.param.clone()))?;
        Ok(MetaTree { inner_lr: self.parameterization.rates(&stored.inner_lr)?, ..stored })
    }

    /// Takes one outer step along a meta-gradient (the mean over episodes) and returns the gradient's global
    /// norm before clipping. If the norm is not finite nothing is changed.
    ///
    /// # Errors
    /// A gradient with other tensors than the state.
    pub fn apply(&mut self, gradient: &MetaTree<Tensor>, options: &OuterOptions) -> Result<f64> {
        let gradient =
            MetaTree { inner_lr: self.stored_lr_gradient(&gradient.inner_lr)?, ..gradient.clone() };
        let leaves: Vec<Tensor> = gradient.leaves().cloned().collect();
        let norm = global_norm(&leaves)?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        let shrink = clip_factor(norm, options.clip_norm);
        self.at = self.at.zip_branches(&gradient, |branch, at, grad| {
            match options.step_size(self.step, branch) {
                Some(size) => options.adamw.step(at, &(grad * shrink)?, size),
                None => Ok(at.clone()),
            }
        })?;
        self.step += 1;
        Ok(norm)
    }

    /// The gradient of the learning rates, taken to what they are stored as; only the steps that are stored.
    fn stored_lr_gradient(&self, gradient: &Tensor) -> Result<Tensor> {
        let stored = &self.at.inner_lr.param;
        let gradient = gradient.narrow(1, 0, stored.dim(1)?)?;
        let gradient = gradient.to_dtype(stored.dtype())?.to_device(stored.device())?;
        Ok(match self.parameterization {
            _ if !self.learned_lr => gradient.zeros_like()?,
            LrParameterization::Log => (gradient * stored.exp()?)?,
            LrParameterization::Linear => gradient,
        })
    }

    /// Every tensor of the state by name: parameters, and their moments under `m.` and `v.`.
    pub fn named_tensors(&self) -> Vec<(String, Tensor)> {
        let named = |(name, at): (&String, &Iterate<Moments>)| {
            let Iterate { param, state: Moments { m, v } } = at.clone();
            [(name.clone(), param), (format!("m.{name}"), m), (format!("v.{name}"), v)]
        };
        self.names.leaves().zip(self.at.leaves()).flat_map(named).collect()
    }

    /// Takes up the tensors of [`named_tensors`](Self::named_tensors); `path` is where they were read.
    ///
    /// # Errors
    /// A tensor that is missing, that is one too many, or that has another shape; then nothing is changed.
    pub fn load_named(&mut self, path: &std::path::Path, tensors: HashMap<String, Tensor>) -> Result<()> {
        let sizes = self.at.map(|at| Ok(at.param.dims().iter().copied().map(Some).collect()))?;
        let like = &self.at.inner_lr.param;
        let mut named = Named::new(path, tensors);
        let mut take = |prefix| named.take(prefix, &self.names, &sizes, (like.dtype(), like.device()));
        let (params, m, v) = (take("")?, take("m.")?, take("v.")?);
        named.finish()?;
        let moments = m.zip(&v, |m, v| Ok(Moments { m: m.clone(), v: v.clone() }))?;
        let join =
            |param: &Tensor, state: &Moments| Ok(Iterate { param: param.clone(), state: state.clone() });
        self.at = params.zip(&moments, join)?;
        Ok(())
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
