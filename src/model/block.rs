//! One decoder layer, forward and backward by hand, over any [`Ops`].

#![deny(clippy::disallowed_methods)]

use crate::Result;
use crate::autodiff::kernels::{swiglu, swiglu_vjp};
use crate::autodiff::{Ops, Stored};

use super::attention::{self, OverBatch};
use super::lora::{LayerAdapters, LayerGrads};
use super::{Joint, Layer, Norms, adapted};

/// What a layer does differently when it reads a batch that is differentiated, and when it reads on from a cache.
pub(super) trait Mode<V> {
    /// Form of the gains.
    type Gain;
    /// What the backward pass needs of the attention.
    type Residuals;

    /// RMS norm of rows as wide as the gain.
    fn norm(&self, x: &V, gain: &Self::Gain) -> Result<V>;

    /// How what only products or kernels read is kept.
    fn stored(&self) -> Stored;

    /// Attention of queries, keys and values before their norms, if they have any (`gains`), and before rotation:
    /// `(rows, (heads + 2 kv) · width)` → `(rows, heads · width)`.
    fn attend(&self, qkv: &V, gains: Option<&[Self::Gain; 2]>) -> Result<(V, Self::Residuals)>;
}

/// One layer of a decoder: its weights and adapters, and how it computes.
pub(super) struct Block<'a, V, M: Mode<V>> {
    pub layer: &'a Layer,
    pub gains: &'a Norms<M::Gain>,
    pub adapters: &'a LayerAdapters<V>,
    pub mode: M,
}

/// What the backward pass needs of a forward pass, rows of `(B · S)`; A is of the attention.
#[derive(Debug, Clone)]
pub(super) struct Residuals<V, A> {
    x: V,
    attention: A,
    attended: V,
    middle: V,
    gate_up: V,
    /// `s x Aᵀ` of each matrix with adapters.
    z: [Option<V>; 4],
}

impl<V: Ops, M: Mode<V>> Block<'_, V, M> {
    fn apply(&self, which: Joint, x: &V, z: &mut [Option<V>; 4]) -> Result<V> {
        let adapter = self.adapters[which as usize].as_ref();
        // The others are added to what the layer passes on.
        let stored = match which {
            Joint::Qkv | Joint::GateUp => self.mode.stored(),
            Joint::Output | Joint::Down => Stored::Whole,
        };
        let (y, low) = adapted::forward(self.layer.linear(which), adapter, x, stored)?;
        z[which as usize] = low;
        Ok(y)
    }

    /// `x: (B · S, D)` → the layer's output of that shape.
    pub fn forward(&self, x: &V) -> Result<(V, Residuals<V, M::Residuals>)> {
        let (mode, gains) = (&self.mode, self.gains);
        let mut z = [const { None }; 4];
        let qkv = self.apply(Joint::Qkv, &mode.norm(x, &gains.input)?, &mut z)?;
        let (attended, attention) = mode.attend(&qkv, gains.heads.as_ref())?;
        let middle = x.add(&self.apply(Joint::Output, &attended, &mut z)?)?;
        let gate_up = self.apply(Joint::GateUp, &mode.norm(&middle, &gains.post_attention)?, &mut z)?;
        let hidden = swiglu(&gate_up, mode.stored())?;
        let y = middle.add(&self.apply(Joint::Down, &hidden, &mut z)?)?;
        Ok((y, Residuals { x: x.clone(), attention, attended, middle, gate_up, z }))
    }
}

impl<V: Ops> Block<'_, V, OverBatch<'_>> {
    /// Gradients of the layer's adapters from the cotangent `dy` of its output, and the cotangent of its
    /// input if `need_dx`. Norms and the gated product are computed again: they cost little, and keeping
    /// them a quarter more memory.
    pub fn backward(
        &self,
        residuals: &Residuals<V, attention::Residuals<V>>,
        dy: &V,
        need_dx: bool,
    ) -> Result<(Option<V>, LayerGrads<V>)> {
        let (mode, gains, stored) = (&self.mode, self.gains, Mode::<V>::stored(&self.mode));
        let mut grads = [const { None }; 4];
        let mut back = |which: Joint, x: &V, dy: &V, need_dx: bool| {
            let index = which as usize;
            let adapter = self.adapters[index].as_ref().zip(residuals.z[index].as_ref());
            let (dx, grad) =
                adapted::backward(self.layer.linear(which), adapter, x, dy, need_dx.then_some(stored))?;
            grads[index] = grad;
            Ok::<_, crate::Error>(dx)
        };

        let dhidden = some(back(Joint::Down, &swiglu(&residuals.gate_up, stored)?, dy, true)?);
        let dgate_up = swiglu_vjp(&residuals.gate_up, &dhidden, stored)?;
        let normed = mode.norm(&residuals.middle, &gains.post_attention)?;
        let dnormed = some(back(Joint::GateUp, &normed, &dgate_up, true)?);
        let dmiddle = dy.add(&mode.norm_vjp(&residuals.middle, &gains.post_attention, &dnormed)?)?;

        let dattended = some(back(Joint::Output, &residuals.attended, &dmiddle, true)?);
        let dqkv = mode.backward(&residuals.attention, gains.heads.as_ref(), &dattended)?;
        let normed = mode.norm(&residuals.x, &gains.input)?;
        let dx = match back(Joint::Qkv, &normed, &dqkv, need_dx)? {
            Some(dnormed) => Some(dmiddle.add(&mode.norm_vjp(&residuals.x, &gains.input, &dnormed)?)?),
            None => None,
        };
        Ok((dx, grads))
    }
}

fn some<V>(cotangent: Option<V>) -> V {
    cotangent.expect("asked for, so computed")
}
