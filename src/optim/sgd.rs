//! Plain gradient descent with decoupled weight decay, on one tensor.

use candle_core::Tensor;

use super::adamw::total;
use super::{State, StepSize, StepVjp};
use crate::Result;

/// `φ ← (1 − αλ)φ − αg`; the moments stay as they are.
pub fn sgd_step(state: &State, grad: &Tensor, size: StepSize) -> Result<State> {
    let param = ((&state.param * (1.0 - size.lr * size.weight_decay))? - (grad * size.lr)?)?;
    Ok(State { param, m: state.m.clone(), v: state.v.clone() })
}

/// Sends the cotangents `after` of a step's results back through it.
pub fn sgd_step_vjp(state: &State, grad: &Tensor, size: StepSize, after: &State) -> Result<StepVjp> {
    let direction = (grad + (&state.param * size.weight_decay)?)?;
    let lr = total(&(&after.param * direction)?)?.neg()?;
    let param = (&after.param * (1.0 - size.lr * size.weight_decay))?;
    let back = State { param, m: after.m.clone(), v: after.v.clone() };
    Ok(StepVjp { state: back, grad: (&after.param * (-size.lr))?, lr })
}
