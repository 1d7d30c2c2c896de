//! The decoder without its output matrix, from token ids to last hidden states and back to the adapters.

use candle_core::Tensor;

use crate::Result;
use crate::autodiff::Ops;
use crate::autodiff::kernels::{rms_norm, rms_norm_vjp};

use super::attention::numbers;
use super::block::{Block, Kept, LayerAdapters, LayerGrads};
use super::{Activations, Decoder, TokenBatch};

/// A frozen decoder made ready for gradients by hand.
#[derive(Debug, Clone)]
pub struct Backbone {
    /// The weights.
    pub decoder: Decoder,
    gains: Vec<[Vec<f64>; 2]>,
    last_gain: Vec<f64>,
}

/// What the backward pass needs of a forward pass through all layers.
#[derive(Debug, Clone)]
pub struct Trace<V> {
    first: usize,
    layers: Vec<Stored<V>>,
    last: V,
}

#[derive(Debug, Clone)]
enum Stored<V> {
    Input(V),
    All(Box<Kept<V>>),
}

impl Backbone {
    /// Prepares a decoder.
    pub fn new(decoder: Decoder) -> Result<Self> {
        let gains = decoder
            .layers
            .iter()
            .map(|layer| Ok([numbers(&layer.input_norm)?, numbers(&layer.post_attention_norm)?]))
            .collect::<Result<Vec<_>>>()?;
        let last_gain = numbers(&decoder.norm)?;
        Ok(Self { decoder, gains, last_gain })
    }

    fn block<'a, V: Ops>(
        &'a self,
        index: usize,
        adapters: &'a [LayerAdapters<V>],
        batch: &'a TokenBatch,
    ) -> Block<'a, V> {
        Block {
            config: &self.decoder.config,
            layer: &self.decoder.layers[index],
            gains: &self.gains[index],
            adapters: &adapters[index],
            batch,
        }
    }

    /// Embeds the batch and runs the layers below `first`, which carry no adapter: the *frozen prefix*,
    /// the same at every inner step. `(B · S, D)`.
    pub fn prefix(&self, batch: &TokenBatch, first: usize) -> Result<Tensor> {
        let embedded = self.decoder.embed_tokens.index_select(&batch.ids, 0)?;
        let mut x = embedded.to_dtype(self.decoder.dtype)?;
        let none: Vec<LayerAdapters<Tensor>> = vec![[const { None }; 7]; first];
        for index in 0..first {
            x = self.block(index, &none, batch).forward(&x)?.0;
        }
        Ok(x)
    }

    /// Runs the layers from `first` on, and the last norm: `prefix: (B · S, D)` → `(B · S, D)`.
    pub fn forward<V: Ops>(
        &self,
        batch: &TokenBatch,
        prefix: &Tensor,
        first: usize,
        adapters: &[LayerAdapters<V>],
        activations: Activations,
    ) -> Result<(V, Trace<V>)> {
        let mut x = V::constant(prefix);
        let mut layers = Vec::with_capacity(adapters.len() - first);
        for index in first..adapters.len() {
            let (y, kept) = self.block(index, adapters, batch).forward(&x)?;
            layers.push(match activations {
                Activations::Keep => Stored::All(Box::new(kept)),
                Activations::Recompute => Stored::Input(x),
            });
            x = y;
        }
        let h = rms_norm(&x, &self.last_gain, self.decoder.config.rms_norm_eps)?;
        Ok((h, Trace { first, layers, last: x }))
    }

    /// Gradients of the adapters from the cotangent of the last hidden states; one entry a layer. Uses up
    /// the trace, so that each layer's memory is free as soon as it is done.
    pub fn backward<V: Ops>(
        &self,
        batch: &TokenBatch,
        trace: Trace<V>,
        adapters: &[LayerAdapters<V>],
        dh: &V,
    ) -> Result<Vec<LayerGrads<V>>> {
        let Trace { first, mut layers, last } = trace;
        let eps = self.decoder.config.rms_norm_eps;
        let mut dx = rms_norm_vjp(&last, &self.last_gain, eps, dh)?;
        let mut grads = vec![[const { None }; 7]; adapters.len()];
        for index in (first..adapters.len()).rev() {
            let block = self.block(index, adapters, batch);
            let kept = match layers.pop().expect("one entry a layer") {
                Stored::All(kept) => *kept,
                Stored::Input(x) => block.forward(&x)?.1,
            };
            let (next, layer_grads) = block.backward(&kept, &dx, index > first)?;
            grads[index] = layer_grads;
            if let Some(next) = next {
                dx = next;
            }
        }
        Ok(grads)
    }
}
