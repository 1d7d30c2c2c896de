//! What an update rule is: a step of one tensor, the state that it keeps, and the way back through both.

use candle_core::{DType, Tensor};

use crate::Result;

/// An update rule of one tensor.
///
/// It owns its state: another rule is another type that implements this trait, and no code that steps or goes
/// back through steps knows what a rule remembers.
pub trait Rule: Copy + Send + Sync {
    /// What it remembers of a tensor from step to step.
    type State: Clone + Send + Sync;

    /// The state before the first step, which is also a cotangent of zero of every later state.
    ///
    /// # Errors
    /// A device out of memory.
    fn init(&self, param: &Tensor) -> Result<Self::State>;

    /// The parameter and the state after a step along `grad`, of the parameter's shape.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device out of memory.
    fn step(&self, at: &Iterate<Self::State>, grad: &Tensor, size: StepSize) -> Result<Iterate<Self::State>>;

    /// Sends the cotangents `after` of what [`step`](Self::step) returns back through it; `at` and `grad` as the
    /// step had them.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn step_vjp(
        &self,
        at: &Iterate<Self::State>,
        grad: &Tensor,
        size: StepSize,
        after: &Iterate<Self::State>,
    ) -> Result<StepVjp<Self::State>>;

    /// [`step`](Self::step) of several tensors; a device may take them together.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn steps(
        &self,
        at: &[Iterate<Self::State>],
        grads: &[Tensor],
        sizes: &[StepSize],
    ) -> Result<Vec<Iterate<Self::State>>> {
        at.iter().zip(grads).zip(sizes).map(|((at, grad), size)| self.step(at, grad, *size)).collect()
    }

    /// [`step_vjp`](Self::step_vjp) of several tensors; a device may take them together.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn steps_vjp(
        &self,
        at: &[Iterate<Self::State>],
        grads: &[Tensor],
        sizes: &[StepSize],
        after: &[Iterate<Self::State>],
    ) -> Result<StepsVjp<Self::State>> {
        let (mut before, mut back, mut lrs) = (vec![], vec![], vec![]);
        for (((at, grad), size), after) in at.iter().zip(grads).zip(sizes).zip(after) {
            let step = self.step_vjp(at, grad, *size, after)?;
            before.push(step.before);
            back.push(step.grad);
            lrs.push(step.lr);
        }
        Ok(StepsVjp { before, grads: back, lrs: Tensor::stack(&lrs, 0)? })
    }

    /// The start: `param` and its state before the first step.
    ///
    /// # Errors
    /// As [`init`](Self::init).
    fn start(&self, param: Tensor) -> Result<Iterate<Self::State>> {
        Ok(Iterate { state: self.init(&param)?, param })
    }
}

/// A parameter and what its rule remembers of it, after some steps; or the cotangents of both.
#[derive(Debug, Clone)]
pub struct Iterate<S> {
    /// The parameter φ.
    pub param: Tensor,
    /// The rule's state.
    pub state: S,
}

/// One step of one tensor: its number from 1, its learning rate and its decoupled weight decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSize {
    /// Step number t ≥ 1.
    pub step: usize,
    /// Learning rate α.
    pub lr: f64,
    /// Decay λ: φ ← (1 − αλ) φ − …
    pub weight_decay: f64,
}

/// Cotangents that one step sends back.
#[derive(Debug, Clone)]
pub struct StepVjp<S> {
    /// Of the parameter and the state before the step.
    pub before: Iterate<S>,
    /// Of the gradient g.
    pub grad: Tensor,
    /// Of the learning rate α: one number in f64, still on the device.
    pub lr: Tensor,
}

/// Cotangents that one step of several tensors sends back.
#[derive(Debug, Clone)]
pub struct StepsVjp<S> {
    /// Of the parameters and the states before the step.
    pub before: Vec<Iterate<S>>,
    /// Of the gradients.
    pub grads: Vec<Tensor>,
    /// Of the learning rates: `(tensors)` in f64, still on the device.
    pub lrs: Tensor,
}

/// Sum of all numbers, taken in f64; it stays on the device.
pub(super) fn total(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_dtype(DType::F64)?.sum_all()?)
}
