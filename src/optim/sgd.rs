//! Gradient descent with decoupled weight decay, on one tensor.

use candle_core::Tensor;

use super::rule::total;
use super::{Iterate, Rule, StepSize, StepVjp};
use crate::Result;

/// Plain gradient descent: `φ ← (1 − αλ)φ − αg`. It remembers nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd;

impl Rule for Sgd {
    type State = ();

    fn init(&self, _param: &Tensor) -> Result<()> {
        Ok(())
    }

    fn step(&self, at: &Iterate<()>, grad: &Tensor, size: StepSize) -> Result<Iterate<()>> {
        Ok(Iterate { param: descend(&at.param, grad, size)?, state: () })
    }

    fn step_vjp(
        &self,
        at: &Iterate<()>,
        grad: &Tensor,
        size: StepSize,
        after: &Iterate<()>,
    ) -> Result<StepVjp<()>> {
        let Descent { param, direction, lr } = descend_vjp(&at.param, grad, size, &after.param)?;
        Ok(StepVjp { before: Iterate { param, state: () }, grad: direction, lr })
    }
}

/// `(1 − αλ)φ − αd` along a direction d.
pub(super) fn descend(param: &Tensor, direction: &Tensor, size: StepSize) -> Result<Tensor> {
    Ok(((param * (1.0 - size.lr * size.weight_decay))? - (direction * size.lr)?)?)
}

/// Cotangents that [`descend`] sends back.
pub(super) struct Descent {
    pub param: Tensor,
    pub direction: Tensor,
    pub lr: Tensor,
}

/// Sends the cotangent `after` of the new parameter back through [`descend`].
pub(super) fn descend_vjp(
    param: &Tensor,
    direction: &Tensor,
    size: StepSize,
    after: &Tensor,
) -> Result<Descent> {
    let by_lr = (direction + (param * size.weight_decay)?)?;
    Ok(Descent {
        param: (after * (1.0 - size.lr * size.weight_decay))?,
        direction: (after * (-size.lr))?,
        lr: total(&(after * by_lr)?)?.neg()?,
    })
}
