//! The inner loop's steps: from the gradient to the next adapter, and the way back.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::optim::{self, Iterate, Rule, StepSize, StepVjp};

use super::MetaParams;
use super::options::InnerOptions;

/// All tensors of the adapter, each with its rule's state, after some steps; or the cotangents of both.
pub(super) type Iterates<R> = Vec<Iterate<<R as Rule>::State>>;

/// The steps of one inner loop.
pub(super) struct InnerSteps<'a, R> {
    pub options: &'a InnerOptions,
    pub rule: R,
    /// The learning rate of each tensor and step.
    rates: Vec<Vec<f64>>,
}

/// Cotangents that one inner step sends back.
pub(super) struct InnerStepVjp<R: Rule> {
    /// Of the adapter and the rule's state before the step.
    pub before: Iterates<R>,
    /// Of the gradient, before clipping.
    pub grads: Vec<Tensor>,
    /// Of the learning rates, one a tensor.
    pub lrs: Vec<f64>,
}

/// The parameters alone.
pub(super) fn adapter<S>(iterates: &[Iterate<S>]) -> Vec<Tensor> {
    iterates.iter().map(|at| at.param.clone()).collect()
}

impl<'a, R: Rule> InnerSteps<'a, R> {
    #[expect(clippy::disallowed_methods, reason = "the rates are on the CPU as a rule; once an inner loop")]
    pub fn new(options: &'a InnerOptions, rule: R, params: &MetaParams) -> Result<Self> {
        let rates = params.inner_lr.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec2()?;
        Ok(Self { options, rule, rates })
    }

    /// The tensors of `adapter` before the first step. Of cotangents: with none of the rule's state.
    pub fn start(&self, adapter: &[Tensor]) -> Result<Iterates<R>> {
        adapter.iter().map(|tensor| self.rule.start(tensor.clone())).collect()
    }

    fn size(&self, step: usize, tensor: usize) -> StepSize {
        let (lr, weight_decay) = (self.rates[tensor][step], self.options.weight_decay);
        StepSize { step: step + 1, lr, weight_decay }
    }

    fn clipped(&self, grads: &[Tensor]) -> Result<Vec<Tensor>> {
        match self.options.clip_norm {
            Some(limit) => optim::clip(grads, limit),
            None => Ok(grads.to_vec()),
        }
    }

    /// Applies inner step `step`, from 0.
    pub fn step(&self, at: &Iterates<R>, grads: &[Tensor], step: usize) -> Result<Iterates<R>> {
        let grads = self.clipped(grads)?;
        let pairs = at.iter().zip(&grads).enumerate();
        pairs.map(|(tensor, (at, grad))| self.rule.step(at, grad, self.size(step, tensor))).collect()
    }

    /// Sends cotangents back through inner step `step`; `at` and `grads` as the step had them.
    pub fn step_vjp(
        &self,
        at: &Iterates<R>,
        grads: &[Tensor],
        step: usize,
        after: &Iterates<R>,
    ) -> Result<InnerStepVjp<R>> {
        let clipped = self.clipped(grads)?;
        let (mut iterates, mut back_grads, mut lrs) = (vec![], vec![], vec![]);
        for (tensor, (at, grad)) in at.iter().zip(&clipped).enumerate() {
            let size = self.size(step, tensor);
            let StepVjp { before, grad, lr } = self.rule.step_vjp(at, grad, size, &after[tensor])?;
            iterates.push(before);
            back_grads.push(grad);
            lrs.push(lr);
        }
        if let Some(limit) = self.options.clip_norm {
            back_grads = optim::clip_vjp(grads, limit, &back_grads)?;
        }
        #[expect(clippy::disallowed_methods, reason = "all rates of a step in one read")]
        let lrs = Tensor::stack(&lrs, 0)?.to_vec1()?;
        Ok(InnerStepVjp { before: iterates, grads: back_grads, lrs })
    }
}
