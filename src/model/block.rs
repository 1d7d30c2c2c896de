//! One decoder layer, forward and backward by hand, over any [`Ops`].

#![deny(clippy::disallowed_methods)]

use crate::Result;
use crate::autodiff::Ops;
use crate::autodiff::kernels::{Gain, rms_norm, rms_norm_vjp, swiglu, swiglu_vjp};

use super::lora::{LayerAdapters, LayerGrads};
use super::{DecoderConfig, Layer, Projection, TokenBatch, adapted, attention};

/// One layer of a batch: its weights, adapters and the gains of its norms.
pub(super) struct Block<'a, V> {
    pub config: &'a DecoderConfig,
    pub layer: &'a Layer,
    /// Gains of the norms before attention and before the feed-forward.
    pub gains: &'a [Gain; 2],
    pub adapters: &'a LayerAdapters<V>,
    pub batch: &'a TokenBatch,
}

/// What the backward pass needs of a forward pass, rows of `(B · S)`.
#[derive(Debug, Clone)]
pub(super) struct Kept<V> {
    x: V,
    attention: attention::Kept<V>,
    attended: V,
    middle: V,
    gate: V,
    up: V,
    /// `s x Aᵀ` of each adapted projection.
    z: [Option<V>; 7],
}

impl<V: Ops> Block<'_, V> {
    fn apply(&self, which: Projection, x: &V, z: &mut [Option<V>; 7]) -> Result<V> {
        let adapter = self.adapters[which as usize].as_ref();
        let (y, low) = adapted::forward(self.layer.projection(which), adapter, x)?;
        z[which as usize] = low;
        Ok(y)
    }

    fn norm(&self, which: usize, x: &V) -> Result<V> {
        rms_norm(x, &self.gains[which], self.config.rms_norm_eps)
    }

    /// `x: (B · S, D)` → the layer's output of that shape.
    pub fn forward(&self, x: &V) -> Result<(V, Kept<V>)> {
        let mut z = [const { None }; 7];
        let normed = self.norm(0, x)?;
        let q = self.apply(Projection::QProj, &normed, &mut z)?;
        let k = self.apply(Projection::KProj, &normed, &mut z)?;
        let v = self.apply(Projection::VProj, &normed, &mut z)?;
        let (attended, attention) = attention::forward(self.config, self.batch, [&q, &k, &v])?;
        let middle = x.add(&self.apply(Projection::OProj, &attended, &mut z)?)?;
        let normed = self.norm(1, &middle)?;
        let gate = self.apply(Projection::GateProj, &normed, &mut z)?;
        let up = self.apply(Projection::UpProj, &normed, &mut z)?;
        let hidden = swiglu(&gate, &up)?;
        let y = middle.add(&self.apply(Projection::DownProj, &hidden, &mut z)?)?;
        Ok((y, Kept { x: x.clone(), attention, attended, middle, gate, up, z }))
    }

    /// Gradients of the layer's adapters from the cotangent `dy` of its output, and the cotangent of its
    /// input if `need_dx`. Norms and the gated product are computed again: they cost little, and keeping
    /// them a quarter more memory.
    pub fn backward(&self, kept: &Kept<V>, dy: &V, need_dx: bool) -> Result<(Option<V>, LayerGrads<V>)> {
        let mut back = Backward { block: self, z: &kept.z, grads: [const { None }; 7] };
        let eps = self.config.rms_norm_eps;

        let mut dhidden = None;
        back.step(Projection::DownProj, &swiglu(&kept.gate, &kept.up)?, dy, Some(&mut dhidden))?;
        let [dgate, dup] = swiglu_vjp(&kept.gate, &kept.up, &some(dhidden))?;
        let normed = self.norm(1, &kept.middle)?;
        let mut dnormed = None;
        back.step(Projection::GateProj, &normed, &dgate, Some(&mut dnormed))?;
        back.step(Projection::UpProj, &normed, &dup, Some(&mut dnormed))?;
        let dmiddle = dy.add(&rms_norm_vjp(&kept.middle, &self.gains[1], eps, &some(dnormed))?)?;

        let mut dattended = None;
        back.step(Projection::OProj, &kept.attended, &dmiddle, Some(&mut dattended))?;
        let [dq, dk, dv] = attention::backward(self.config, self.batch, &kept.attention, &some(dattended))?;
        let normed = self.norm(0, &kept.x)?;
        let mut dnormed = None;
        for (which, d) in [(Projection::QProj, dq), (Projection::KProj, dk), (Projection::VProj, dv)] {
            back.step(which, &normed, &d, need_dx.then_some(&mut dnormed))?;
        }
        let dx = match dnormed {
            Some(dnormed) => Some(dmiddle.add(&rms_norm_vjp(&kept.x, &self.gains[0], eps, &dnormed)?)?),
            None => None,
        };
        Ok((dx, back.grads))
    }
}

fn some<V>(cotangent: Option<V>) -> V {
    cotangent.expect("asked for, so computed")
}

/// Collects the adapters' gradients on the way back.
struct Backward<'a, V> {
    block: &'a Block<'a, V>,
    z: &'a [Option<V>; 7],
    grads: LayerGrads<V>,
}

impl<V: Ops> Backward<'_, V> {
    fn step(&mut self, which: Projection, x: &V, dy: &V, dx: Option<&mut Option<V>>) -> Result<()> {
        let index = which as usize;
        let adapter = self.block.adapters[index].as_ref();
        let linear = self.block.layer.projection(which);
        self.grads[index] = adapted::backward(linear, adapter, x, self.z[index].as_ref(), dy, dx)?;
        Ok(())
    }
}
