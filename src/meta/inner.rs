//! The inner loop's steps: from the gradient to the next adapter, and the way back.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::device::among_threads;
use crate::optim::{self, Iterate, Rule, StepSize};

use super::MetaParams;
use super::options::InnerOptions;

/// All tensors of the adapter, each with its rule's state, after some steps; or the cotangents of both.
pub(super) type Iterates<R> = Vec<Iterate<<R as Rule>::State>>;

/// The steps of one inner loop.
pub(super) struct InnerSteps<'a, R: Rule> {
    pub options: &'a InnerOptions,
    pub rule: R,
    /// How many episodes take them together: with more than one, every tensor has a leading dimension of that size.
    pub episodes: usize,
    /// The learning rate of each tensor and step.
    rates: Vec<Vec<f64>>,
    /// The tensors of the adapter, the same for every episode, before the first step.
    start: Iterates<R>,
}

/// Cotangents that one inner step sends back.
pub(super) struct InnerStepVjp<R: Rule> {
    /// Of the adapter and the rule's state before the step.
    pub before: Iterates<R>,
    /// Of the gradient, before clipping.
    pub grads: Vec<Tensor>,
    /// Of the learning rates, one a tensor, summed over the episodes; in f64, still on the device.
    pub lrs: Tensor,
}

/// The parameters alone.
pub(super) fn adapter<S>(iterates: &[Iterate<S>]) -> Vec<Tensor> {
    iterates.iter().map(|at| at.param.clone()).collect()
}

/// A tensor once for each episode, in a leading dimension where there are several.
fn repeat(tensor: &Tensor, episodes: usize) -> Result<Tensor> {
    match episodes {
        1 => Ok(tensor.clone()),
        _ => {
            let (rows, columns) = tensor.dims2()?;
            Ok(tensor.broadcast_as((episodes, rows, columns))?.contiguous()?)
        }
    }
}

/// The tensors of each episode, of those of all together.
pub(super) fn each(tensors: &[Tensor], episodes: usize) -> Result<Vec<Vec<Tensor>>> {
    match episodes {
        1 => Ok(vec![tensors.to_vec()]),
        _ => {
            let own = |nth| tensors.iter().map(|tensor| Ok(tensor.get(nth)?)).collect();
            (0..episodes).map(own).collect()
        }
    }
}

/// The sum over the episodes.
pub(super) fn total(tensors: &[Tensor], episodes: usize) -> Result<Vec<Tensor>> {
    match episodes {
        1 => Ok(tensors.to_vec()),
        _ => tensors.iter().map(|tensor| Ok(tensor.sum(0)?)).collect(),
    }
}

impl<'a, R: Rule> InnerSteps<'a, R> {
    #[expect(clippy::disallowed_methods, reason = "the rates are on the CPU as a rule; once an inner loop")]
    pub fn new(options: &'a InnerOptions, rule: R, params: &MetaParams, episodes: usize) -> Result<Self> {
        let rates = params.inner_lr.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec2()?;
        let repeated = params.adapter.iter().map(|tensor| repeat(tensor, episodes));
        let start = repeated.map(|tensor| rule.start(tensor?)).collect::<Result<_>>()?;
        Ok(Self { options, rule, episodes, rates, start })
    }

    /// The tensors of the adapter, the same for every episode, before the first step.
    pub fn start(&self) -> Iterates<R> {
        self.start.clone()
    }

    /// Cotangents of the adapter after the last step, with none of the rule's state.
    pub fn end(&self, cotangents: &[Tensor]) -> Result<Iterates<R>> {
        cotangents.iter().map(|tensor| self.rule.start(tensor.clone())).collect()
    }

    /// What a step, from 0, does to each tensor.
    fn sizes(&self, step: usize) -> Vec<StepSize> {
        let weight_decay = self.options.weight_decay;
        self.rates.iter().map(|rates| StepSize { step: step + 1, lr: rates[step], weight_decay }).collect()
    }

    fn clipped(&self, grads: &[Tensor]) -> Result<Vec<Tensor>> {
        match self.options.clip_norm {
            Some(limit) => optim::clip(grads, limit, self.episodes),
            None => Ok(grads.to_vec()),
        }
    }

    /// Applies inner step `step`, from 0.
    pub fn step(&self, at: &Iterates<R>, grads: &[Tensor], step: usize) -> Result<Iterates<R>> {
        among_threads(grads[0].device(), || self.rule.steps(at, &self.clipped(grads)?, &self.sizes(step)))
    }

    /// Sends cotangents back through inner step `step`; `at` and `grads` as the step had them.
    pub fn step_vjp(
        &self,
        at: &Iterates<R>,
        grads: &[Tensor],
        step: usize,
        after: &Iterates<R>,
    ) -> Result<InnerStepVjp<R>> {
        among_threads(grads[0].device(), || self.step_vjp_here(at, grads, step, after))
    }

    fn step_vjp_here(
        &self,
        at: &Iterates<R>,
        grads: &[Tensor],
        step: usize,
        after: &Iterates<R>,
    ) -> Result<InnerStepVjp<R>> {
        let clipped = self.clipped(grads)?;
        let mut back = self.rule.steps_vjp(at, &clipped, &self.sizes(step), after)?;
        if let Some(limit) = self.options.clip_norm {
            back.grads = optim::clip_vjp(grads, limit, &back.grads, self.episodes)?;
        }
        Ok(InnerStepVjp { before: back.before, grads: back.grads, lrs: back.lrs })
    }
}
