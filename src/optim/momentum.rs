//! Gradient descent with momentum (Polyak 1964, in the form of Sutskever et al. 2013) and decoupled weight
//! decay, on one tensor.

use candle_core::Tensor;

use super::sgd::{Descent, descend, descend_vjp};
use super::{Iterate, Rule, StepSize, StepVjp};
use crate::Result;

/// `u ← μu + g,  φ ← (1 − αλ)φ − αu`. It remembers the velocity u, of the parameter's shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Momentum {
    /// Decay μ of the velocity.
    pub momentum: f64,
}

impl Momentum {
    fn velocity(&self, before: &Tensor, grad: &Tensor) -> Result<Tensor> {
        Ok(((before * self.momentum)? + grad)?)
    }
}

impl Rule for Momentum {
    type State = Tensor;

    fn init(&self, param: &Tensor) -> Result<Tensor> {
        Ok(param.zeros_like()?)
    }

    fn step(&self, at: &Iterate<Tensor>, grad: &Tensor, size: StepSize) -> Result<Iterate<Tensor>> {
        let state = self.velocity(&at.state, grad)?;
        Ok(Iterate { param: descend(&at.param, &state, size)?, state })
    }

    fn step_vjp(
        &self,
        at: &Iterate<Tensor>,
        grad: &Tensor,
        size: StepSize,
        after: &Iterate<Tensor>,
    ) -> Result<StepVjp<Tensor>> {
        let velocity = self.velocity(&at.state, grad)?;
        let Descent { param, direction, lr } = descend_vjp(&at.param, &velocity, size, &after.param)?;
        let d_velocity = (&after.state + direction)?;
        let state = (&d_velocity * self.momentum)?;
        Ok(StepVjp { before: Iterate { param, state }, grad: d_velocity, lr })
    }
}
