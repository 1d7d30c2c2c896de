//! AdamW (Loshchilov & Hutter 2019) on one tensor, and its vector-Jacobian product.

use std::slice;

use candle_core::Tensor;

use crate::Result;
use crate::autodiff::{Number, Pointwise, pointwise_each, totals};

use super::{Iterate, Rule, StepSize, StepVjp, StepsVjp};

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

/// The moments of one tensor's gradient.
#[derive(Debug, Clone)]
pub struct Moments {
    /// First moment m.
    pub m: Tensor,
    /// Second moment v.
    pub v: Tensor,
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
    const NAME: &'static str = "adamw";

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
    const NAME: &'static str = "adamw_vjp";

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

/// `m ← β₁m + (1−β₁)g,  v ← β₂v + (1−β₂)g²,  φ ← (1 − αλ)φ − α m̂ / (√(v̂ + ε_root) + ε)`.
impl Rule for AdamW {
    type State = Moments;

    fn init(&self, param: &Tensor) -> Result<Moments> {
        Ok(Moments { m: param.zeros_like()?, v: param.zeros_like()? })
    }

    fn step(&self, at: &Iterate<Moments>, grad: &Tensor, size: StepSize) -> Result<Iterate<Moments>> {
        Ok(self.steps(slice::from_ref(at), slice::from_ref(grad), &[size])?.remove(0))
    }

    fn step_vjp(
        &self,
        at: &Iterate<Moments>,
        grad: &Tensor,
        size: StepSize,
        after: &Iterate<Moments>,
    ) -> Result<StepVjp<Moments>> {
        let (at, grad, after) = (slice::from_ref(at), slice::from_ref(grad), slice::from_ref(after));
        let StepsVjp { mut before, mut grads, lrs } = self.steps_vjp(at, grad, &[size], after)?;
        Ok(StepVjp { before: before.remove(0), grad: grads.remove(0), lr: lrs.squeeze(0)? })
    }

    fn steps(
        &self,
        at: &[Iterate<Moments>],
        grads: &[Tensor],
        sizes: &[StepSize],
    ) -> Result<Vec<Iterate<Moments>>> {
        let mut sets = Vec::with_capacity(at.len());
        for ((at, grad), size) in at.iter().zip(grads).zip(sizes) {
            sets.push((Update::new(*self, *size), [&at.param, grad, &at.state.m, &at.state.v]));
        }
        let after = pointwise_each(&sets)?.into_iter();
        Ok(after.map(|[param, m, v]| Iterate { param, state: Moments { m, v } }).collect())
    }

    fn steps_vjp(
        &self,
        at: &[Iterate<Moments>],
        grads: &[Tensor],
        sizes: &[StepSize],
        after: &[Iterate<Moments>],
    ) -> Result<StepsVjp<Moments>> {
        let mut sets = Vec::with_capacity(at.len());
        for (((at, grad), size), after) in at.iter().zip(grads).zip(sizes).zip(after) {
            let (Moments { m, v }, Moments { m: d_m, v: d_v }) = (&at.state, &after.state);
            let inputs = [&at.param, grad, m, v, &after.param, d_m, d_v];
            sets.push((UpdateVjp(Update::new(*self, *size)), inputs));
        }
        let (mut before, mut back, mut lrs) = (vec![], vec![], vec![]);
        for [param, grad, m, v, lr] in pointwise_each(&sets)? {
            before.push(Iterate { param, state: Moments { m, v } });
            back.push(grad);
            lrs.push(lr);
        }
        let lrs = totals(&lrs.iter().collect::<Vec<_>>())?;
        Ok(StepsVjp { before, grads: back, lrs })
    }
}

/// Both formulas as C++.
#[cfg(test)]
pub(crate) fn sources() -> [String; 2] {
    use crate::autodiff::source;
    let rule = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, eps_root: 0.0 };
    let size = StepSize { step: 1, lr: 1e-3, weight_decay: 0.0 };
    [source(&Update::new(rule, size)), source(&UpdateVjp(Update::new(rule, size)))]
}
