//! One inner step: from the gradient to the next adapter, and its vector-Jacobian product.

use candle_core::Tensor;

use crate::Result;
use crate::optim::{self, State, StepSize, StepVjp};

use super::options::{InnerOptimizer, InnerOptions};

/// All tensors of the adapter with their moments, after some steps.
pub(super) type States = Vec<State>;

/// Cotangents that one inner step sends back.
pub(super) struct Back {
    /// Of the adapter and the moments before the step.
    pub states: States,
    /// Of the gradient, before clipping.
    pub grads: Vec<Tensor>,
    /// Of the learning rates, one a tensor.
    pub lrs: Vec<f64>,
}

pub(super) fn start(phi: &[Tensor]) -> Result<States> {
    phi.iter().map(|tensor| State::new(tensor.clone())).collect()
}

pub(super) fn params(states: &States) -> Vec<Tensor> {
    states.iter().map(|state| state.param.clone()).collect()
}

impl InnerOptions {
    fn size(&self, step: usize, lr: f64) -> StepSize {
        StepSize { step: step + 1, lr, weight_decay: self.weight_decay }
    }

    fn clipped(&self, grads: &[Tensor]) -> Result<Vec<Tensor>> {
        match self.clip_norm {
            Some(limit) => optim::clip(grads, limit),
            None => Ok(grads.to_vec()),
        }
    }

    /// Applies inner step `step` (from 0); `lrs[i][step]` is the learning rate of tensor i.
    pub(super) fn step(
        &self,
        states: &States,
        grads: &[Tensor],
        step: usize,
        lrs: &[Vec<f64>],
    ) -> Result<States> {
        let grads = self.clipped(grads)?;
        let one = |((state, grad), lrs): ((&State, &Tensor), &Vec<f64>)| {
            let size = self.size(step, lrs[step]);
            match self.optimizer {
                InnerOptimizer::AdamW(rule) => rule.step(state, grad, size),
                InnerOptimizer::Sgd => optim::sgd_step(state, grad, size),
            }
        };
        states.iter().zip(&grads).zip(lrs).map(one).collect()
    }

    /// Sends cotangents back through inner step `step`; `states` and `grads` as the step had them.
    pub(super) fn step_vjp(
        &self,
        states: &States,
        grads: &[Tensor],
        step: usize,
        lrs: &[Vec<f64>],
        after: &States,
    ) -> Result<Back> {
        let clipped = self.clipped(grads)?;
        let (mut back, mut back_grads, mut back_lrs) = (vec![], vec![], vec![]);
        for (index, (state, grad)) in states.iter().zip(&clipped).enumerate() {
            let (size, after) = (self.size(step, lrs[index][step]), &after[index]);
            let StepVjp { state, grad, lr } = match self.optimizer {
                InnerOptimizer::AdamW(rule) => rule.step_vjp(state, grad, size, after)?,
                InnerOptimizer::Sgd => optim::sgd_step_vjp(state, grad, size, after)?,
            };
            back.push(state);
            back_grads.push(grad);
            back_lrs.push(lr);
        }
        if let Some(limit) = self.clip_norm {
            back_grads = optim::clip_vjp(grads, limit, &back_grads)?;
        }
        #[expect(clippy::disallowed_methods, reason = "all rates of a step in one read")]
        let lrs = Tensor::stack(&back_lrs, 0)?.to_vec1()?;
        Ok(Back { states: back, grads: back_grads, lrs })
    }
}
