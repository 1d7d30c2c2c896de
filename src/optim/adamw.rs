//! AdamW (Loshchilov & Hutter 2019) on one tensor, and its vector-Jacobian product.

use candle_core::{DType, Tensor};

use crate::Result;
use crate::autodiff::{Number, Pointwise, pointwise};

/// The constants of AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// ε, added to the root.
    pub eps: f64,
    /// Added to the corrected second moment under the root: keeps the root's derivative bounded.
    pub eps_root: f64,
}

/// One step of one tensor: its number from 1, its learning rate and its decoupled weight decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSize {
    /// Step number t ≥ 1 of the bias correction.
    pub step: usize,
    /// Learning rate α.
    pub lr: f64,
    /// Decay λ: φ ← (1 − αλ) φ − …
    pub weight_decay: f64,
}

/// A tensor with its moments.
#[derive(Debug, Clone)]
pub struct State {
    /// The parameter φ.
    pub param: Tensor,
    /// First moment m.
    pub m: Tensor,
    /// Second moment v.
    pub v: Tensor,
}

/// Cotangents that one step sends back.
#[derive(Debug, Clone)]
pub struct StepVjp {
    /// Of φ, m and v before the step.
    pub state: State,
    /// Of the gradient g.
    pub grad: Tensor,
    /// Of the learning rate α: one number in f64, still on the device.
    pub lr: Tensor,
}

impl State {
    /// A parameter with moments of zero.
    pub fn new(param: Tensor) -> Result<Self> {
        let (m, v) = (param.zeros_like()?, param.zeros_like()?);
        Ok(Self { param, m, v })
    }
}

struct Update {
    rule: AdamW,
    size: StepSize,
    /// 1 − β₁ᵗ and 1 − β₂ᵗ.
    corrections: [f64; 2],
}

impl Update {
    fn new(rule: AdamW, size: StepSize) -> Self {
        let corrections = [rule.beta1, rule.beta2].map(|beta| 1.0 - beta.powi(size.step as i32));
        Self { rule, size, corrections }
    }

    /// Numerator and denominator m̂ and √(v̂ + ε_root) + ε of the direction, from the new moments, and the
    /// root alone.
    #[inline(always)]
    fn direction<S: Number>(&self, m: S, v: S) -> (S, S, S) {
        let m_hat = m / S::of(self.corrections[0]);
        let v_hat = v / S::of(self.corrections[1]);
        let root = (v_hat + S::of(self.rule.eps_root)).sqrt();
        (m_hat, root + S::of(self.rule.eps), root)
    }

    #[inline(always)]
    fn moments<S: Number>(&self, g: S, m: S, v: S) -> [S; 2] {
        let AdamW { beta1, beta2, .. } = self.rule;
        [S::of(beta1) * m + S::of(1.0 - beta1) * g, S::of(beta2) * v + S::of(1.0 - beta2) * g * g]
    }
}

impl Pointwise<4, 3> for Update {
    #[inline(always)]
    fn eval<S: Number>(&self, [param, g, m, v]: [S; 4]) -> [S; 3] {
        let StepSize { lr, weight_decay, .. } = self.size;
        let [m, v] = self.moments(g, m, v);
        let (numerator, denominator, _) = self.direction(m, v);
        [param * S::of(1.0 - lr * weight_decay) - S::of(lr) * numerator / denominator, m, v]
    }
}

struct UpdateVjp(Update);

impl Pointwise<7, 5> for UpdateVjp {
    #[inline(always)]
    fn eval<S: Number>(&self, [param, g, m, v, d_param, d_m, d_v]: [S; 7]) -> [S; 5] {
        let Update { rule, size, corrections } = &self.0;
        let [m, v] = self.0.moments(g, m, v);
        let (numerator, denominator, root) = self.0.direction(m, v);
        let direction = numerator / denominator;
        let d_lr = -(d_param * (param * S::of(size.weight_decay) + direction));
        let d_numerator = -(S::of(size.lr) * d_param / denominator);
        let d_root = -(d_numerator * direction);
        // The root's derivative at zero is taken as zero: no gradient has ever reached this number.
        let d_v_hat = root.if_positive(d_root / (root + root), S::of(0.0));
        let d_m = d_m + d_numerator / S::of(corrections[0]);
        let d_v = d_v + d_v_hat / S::of(corrections[1]);
        let d_g = S::of(1.0 - rule.beta1) * d_m + S::of(2.0 * (1.0 - rule.beta2)) * g * d_v;
        let d_param = d_param * S::of(1.0 - size.lr * size.weight_decay);
        [d_param, d_g, S::of(rule.beta1) * d_m, S::of(rule.beta2) * d_v, d_lr]
    }
}

impl AdamW {
    /// `m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  φ ← (1 − αλ)φ − α m̂ / (√(v̂ + ε_root) + ε)`.
    pub fn step(&self, state: &State, grad: &Tensor, size: StepSize) -> Result<State> {
        let update = Update::new(*self, size);
        let [param, m, v] = pointwise(update, [&state.param, grad, &state.m, &state.v])?;
        Ok(State { param, m, v })
    }

    /// Sends the cotangents `after` of a step's results back through it; `state` and `grad` as the step
    /// had them.
    pub fn step_vjp(&self, state: &State, grad: &Tensor, size: StepSize, after: &State) -> Result<StepVjp> {
        let update = UpdateVjp(Update::new(*self, size));
        let inputs = [&state.param, grad, &state.m, &state.v, &after.param, &after.m, &after.v];
        let [param, grad, m, v, lr] = pointwise(update, inputs)?;
        Ok(StepVjp { state: State { param, m, v }, grad, lr: total(&lr)? })
    }
}

/// Sum of all numbers, taken in f64; it stays on the device.
pub(super) fn total(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_dtype(DType::F64)?.sum_all()?)
}
