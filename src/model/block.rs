//! One decoder layer, forward and backward by hand, over any [`Ops`].

#![deny(clippy::disallowed_methods)]

use crate::Result;
use crate::autodiff::Ops;
use crate::autodiff::kernels::{swiglu, swiglu_vjp};

use super::attention::{self, OverBatch};
use super::lora::{LayerAdapters, LayerGrads};
use super::{Layer, Norms, Projection, adapted};

/// What a layer does differently when it reads a batch that is differentiated, and when it reads on from a cache.
pub(super) trait Mode<V> {
    /// Form of the gains.
    type Gain;
    /// What the backward pass needs of the attention.
    type Residuals;

    /// RMS norm of rows as wide as the gain; a row of heads is a row for each head.
    fn norm(&self, x: &V, gain: &Self::Gain) -> Result<V>;

    /// Attention of `q: (rows, heads · width)`, `k, v: (rows, kv · width)`, before rotation →
    /// `(rows, heads · width)`.
    fn attend(&self, qkv: [&V; 3]) -> Result<(V, Self::Residuals)>;
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
    /// Queries and keys before their norms, if they have any.
    heads: Option<[V; 2]>,
    attention: A,
    attended: V,
    middle: V,
    gate: V,
    up: V,
    /// `s x Aᵀ` of each adapted projection.
    z: [Option<V>; 7],
}

impl<V: Ops, M: Mode<V>> Block<'_, V, M> {
    fn apply(&self, which: Projection, x: &V, z: &mut [Option<V>; 7]) -> Result<V> {
        let adapter = self.adapters[which as usize].as_ref();
        let (y, low) = adapted::forward(self.layer.projection(which), adapter, x)?;
        z[which as usize] = low;
        Ok(y)
    }

    /// `x: (B · S, D)` → the layer's output of that shape.
    pub fn forward(&self, x: &V) -> Result<(V, Residuals<V, M::Residuals>)> {
        let (mode, gains) = (&self.mode, self.gains);
        let mut z = [const { None }; 7];
        let normed = mode.norm(x, &gains.input)?;
        let mut q = self.apply(Projection::QProj, &normed, &mut z)?;
        let mut k = self.apply(Projection::KProj, &normed, &mut z)?;
        let v = self.apply(Projection::VProj, &normed, &mut z)?;
        let mut heads = None;
        if let Some([of_q, of_k]) = &gains.heads {
            let normed = [mode.norm(&q, of_q)?, mode.norm(&k, of_k)?];
            heads = Some([q, k]);
            [q, k] = normed;
        }
        let (attended, attention) = mode.attend([&q, &k, &v])?;
        let middle = x.add(&self.apply(Projection::OProj, &attended, &mut z)?)?;
        let normed = mode.norm(&middle, &gains.post_attention)?;
        let gate = self.apply(Projection::GateProj, &normed, &mut z)?;
        let up = self.apply(Projection::UpProj, &normed, &mut z)?;
        let hidden = swiglu(&gate, &up)?;
        let y = middle.add(&self.apply(Projection::DownProj, &hidden, &mut z)?)?;
        Ok((y, Residuals { x: x.clone(), heads, attention, attended, middle, gate, up, z }))
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
        let (layer, adapters, mode, gains) = (self.layer, self.adapters, &self.mode, self.gains);
        let mut back = Backward { layer, adapters, z: &residuals.z, grads: [const { None }; 7] };

        let mut dhidden = None;
        back.step(Projection::DownProj, &swiglu(&residuals.gate, &residuals.up)?, dy, Some(&mut dhidden))?;
        let [dgate, dup] = swiglu_vjp(&residuals.gate, &residuals.up, &some(dhidden))?;
        let normed = mode.norm(&residuals.middle, &gains.post_attention)?;
        let mut dnormed = None;
        back.step(Projection::GateProj, &normed, &dgate, Some(&mut dnormed))?;
        back.step(Projection::UpProj, &normed, &dup, Some(&mut dnormed))?;
        let dmiddle = dy.add(&mode.norm_vjp(&residuals.middle, &gains.post_attention, &some(dnormed))?)?;

        let mut dattended = None;
        back.step(Projection::OProj, &residuals.attended, &dmiddle, Some(&mut dattended))?;
        let dqkv =
            self.before_head_norms(residuals, mode.backward(&residuals.attention, &some(dattended))?)?;
        let normed = mode.norm(&residuals.x, &gains.input)?;
        let mut dnormed = None;
        for (which, d) in [Projection::QProj, Projection::KProj, Projection::VProj].into_iter().zip(&dqkv) {
            back.step(which, &normed, d, need_dx.then_some(&mut dnormed))?;
        }
        let dx = match dnormed {
            Some(dnormed) => Some(dmiddle.add(&mode.norm_vjp(&residuals.x, &gains.input, &dnormed)?)?),
            None => None,
        };
        Ok((dx, back.grads))
    }

    /// The cotangents of q, k and v as they were projected, from those that enter the attention.
    fn before_head_norms(
        &self,
        residuals: &Residuals<V, attention::Residuals<V>>,
        [dq, dk, dv]: [V; 3],
    ) -> Result<[V; 3]> {
        let (Some([of_q, of_k]), Some([q, k])) = (&self.gains.heads, &residuals.heads) else {
            return Ok([dq, dk, dv]);
        };
        Ok([self.mode.norm_vjp(q, of_q, &dq)?, self.mode.norm_vjp(k, of_k, &dk)?, dv])
    }
}

fn some<V>(cotangent: Option<V>) -> V {
    cotangent.expect("asked for, so computed")
}

/// Collects the adapters' gradients on the way back.
struct Backward<'a, V> {
    layer: &'a Layer,
    adapters: &'a LayerAdapters<V>,
    z: &'a [Option<V>; 7],
    grads: LayerGrads<V>,
}

impl<V: Ops> Backward<'_, V> {
    fn step(&mut self, which: Projection, x: &V, dy: &V, dx: Option<&mut Option<V>>) -> Result<()> {
        let index = which as usize;
        let (adapter, z) = (self.adapters[index].as_ref(), self.z[index].as_ref());
        self.grads[index] = adapted::backward(self.layer.projection(which), adapter, x, z, dy, dx)?;
        Ok(())
    }
}
