//! The decoder without its output matrix, from token ids to last hidden states and back to the adapters.

#![deny(clippy::disallowed_methods)]

use candle_core::Tensor;

use crate::Result;
use crate::autodiff::kernels::{Gain, rms_norm, rms_norm_vjp};
use crate::autodiff::{Ops, Stored};
use crate::config::MatmulPrecision;

use super::attention::{self, OverBatch};
use super::block::{Block, Residuals};
use super::lora::{LayerAdapters, LayerGrads, no_adapters};
use super::{Activations, Decoder, Norms, TokenBatch};

/// A frozen decoder made ready for gradients by hand.
#[derive(Debug, Clone)]
pub struct Backbone {
    /// The weights.
    pub decoder: Decoder,
    gains: Vec<Norms<Gain>>,
    last_gain: Gain,
    /// What products of activations are taken at: as those with the frozen matrices.
    precision: MatmulPrecision,
}

/// What the backward pass needs of a forward pass through all layers.
#[derive(Debug, Clone)]
pub struct Trace<V> {
    first: usize,
    layers: Vec<Kept<V>>,
    last: V,
}

#[derive(Debug, Clone)]
enum Kept<V> {
    Input(V),
    All(Box<Residuals<V, attention::Residuals<V>>>),
}

impl Backbone {
    /// Prepares a decoder.
    ///
    /// # Errors
    /// Gains that cannot be read from the device.
    pub fn new(decoder: Decoder) -> Result<Self> {
        let gains = decoder.layers.iter().map(|layer| layer.norms.map(Gain::new));
        let gains = gains.collect::<Result<Vec<_>>>()?;
        let last_gain = Gain::new(&decoder.norm)?;
        decoder.pack_back();
        let precision = decoder.lm_head.precision();
        Ok(Self { decoder, gains, last_gain, precision })
    }

    fn block<'a, V: Ops>(
        &'a self,
        index: usize,
        adapters: &'a [LayerAdapters<V>],
        batch: &'a TokenBatch,
    ) -> Block<'a, V, OverBatch<'a>> {
        Block {
            layer: &self.decoder.layers[index],
            gains: &self.gains[index],
            adapters: &adapters[index],
            mode: OverBatch { config: &self.decoder.config, batch, precision: self.precision },
        }
    }

    /// Embeds the batch and runs the layers below `first`, which carry no adapter: the *frozen prefix*,
    /// the same at every inner step. `(B · S, D)`.
    pub fn prefix(&self, batch: &TokenBatch, first: usize) -> Result<Tensor> {
        let mut x = self.decoder.embed_tokens.rows(&batch.ids, self.decoder.dtype)?;
        let none: Vec<LayerAdapters<Tensor>> = no_adapters(first);
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
            let (y, residuals) = self.block(index, adapters, batch).forward(&x)?;
            layers.push(match activations {
                Activations::Keep => Kept::All(Box::new(residuals)),
                Activations::Recompute => Kept::Input(x),
            });
            x = y;
        }
        let h = rms_norm(&x, &self.last_gain, self.decoder.config.rms_norm_eps, Stored::Whole)?;
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
        let mut grads: Vec<LayerGrads<V>> = (0..adapters.len()).map(|_| [const { None }; 4]).collect();
        for index in (first..adapters.len()).rev() {
            let block = self.block(index, adapters, batch);
            let residuals = match layers.pop().expect("one entry a layer") {
                Kept::All(residuals) => *residuals,
                Kept::Input(x) => block.forward(&x)?.1,
            };
            let (next, layer_grads) = block.backward(&residuals, &dx, index > first)?;
            grads[index] = layer_grads;
            if let Some(next) = next {
                dx = next;
            }
        }
        Ok(grads)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::autodiff::{Dual, launches};
    use crate::device::under_test;
    use crate::model::lora::{Adapter, Layers, LoraInit, LoraLayout, LoraSpec};
    use crate::model::{DecoderConfig, Family, Projection, RopeScaling, tape};

    fn config(family: Family, rope_scaling: Option<RopeScaling>) -> DecoderConfig {
        DecoderConfig {
            family,
            vocab_size: 31,
            hidden_size: 16,
            intermediate_size: 24,
            num_layers: 3,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 4,
            max_positions: 64,
            rms_norm_eps: 1e-6,
            rope_theta: 1e4,
            rope_scaling,
            tied: family == Family::Qwen2,
        }
    }

    /// Last hidden states of two rows of 9 and 6 tokens, by hand and on the tape.
    fn both(config: &DecoderConfig, layers: Layers) -> (Tensor, Tensor) {
        let decoder = Decoder::random_trained(config, 5, DType::F64, DType::F64, &under_test()).unwrap();
        let spec = LoraSpec { rank: 2, alpha: 3.0, rslora: true, targets: Projection::ALL.to_vec(), layers };
        let layout = LoraLayout::new(spec, config);
        let init = LoraInit::SmallB { std: 0.3 };
        let adapter = Adapter::new(layout, init, 1, DType::F64, &under_test()).unwrap();
        let rows: Vec<Vec<u32>> = (0..2).map(|b| (0..9).map(|t| (b * 13 + t * 7) % 31).collect()).collect();
        let batch = TokenBatch::new(&rows, vec![(0, 9), (0, 6)], config, &under_test()).unwrap();
        let ids = Tensor::new(rows, &under_test()).unwrap();
        let on_tape = tape::hidden(&decoder, Some(adapter.parts()), &ids, None).unwrap();
        let backbone = Backbone::new(decoder).unwrap();
        let first = adapter.layout.first_layer().unwrap();
        let prefix = backbone.prefix(&batch, first).unwrap();
        let adapters = adapter.layout.by_layer(&adapter.tensors).unwrap();
        let (h, _) = backbone.forward(&batch, &prefix, first, &adapters, Activations::Keep).unwrap();
        (h, on_tape.reshape((18, 16)).unwrap())
    }

    #[test]
    fn the_forward_pass_by_hand_equals_the_tape_for_every_family() {
        let scaling = RopeScaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_positions: 16.0,
        };
        for (family, scaling) in [
            (Family::Qwen2, None),
            (Family::Llama, None),
            (Family::Llama, Some(scaling)),
            (Family::Qwen3, None),
        ] {
            for layers in [Layers::All, Layers::Top(1)] {
                let (h, expected) = both(&config(family, scaling), layers);
                // Rows past the end of the second sequence are padding, which only the mask tells apart.
                let worst = |first: usize, count: usize| {
                    let difference = (&h - &expected).unwrap().narrow(0, first, count).unwrap();
                    difference.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap()
                };
                assert!(worst(0, 15) < 1e-12, "{family:?}, {layers:?}: {:e} off", worst(0, 15));
                assert!(worst(15, 3) > 1e-6, "padding was read as text");
            }
        }
    }

    /// Gradients of two layers at a precision, with their tangents along the adapter itself, in one flat list each.
    fn gradients(precision: MatmulPrecision, dtype: DType) -> [Vec<f64>; 2] {
        let config = DecoderConfig { num_layers: 2, ..config(Family::Qwen2, None) };
        let decoder = Decoder::random_trained(&config, 5, DType::BF16, dtype, &under_test()).unwrap();
        // What is exact stays as it was loaded: packed matrices are multiplied in f32.
        let decoder = if dtype == DType::F64 { decoder } else { decoder.packed(precision).unwrap() };
        let backbone = Backbone::new(decoder).unwrap();
        let (targets, layers) = (Projection::ALL.to_vec(), Layers::All);
        let spec = LoraSpec { rank: 4, alpha: 3.0, rslora: true, targets, layers };
        let layout = LoraLayout::new(spec, &config);
        let adapter = Adapter::new(layout, LoraInit::SmallB { std: 0.3 }, 1, dtype, &under_test()).unwrap();
        let rows: Vec<Vec<u32>> = (0..2).map(|b| (0..8).map(|t| (b * 13 + t * 7) % 31).collect()).collect();
        let batch = TokenBatch::new(&rows, vec![(0, 8), (0, 6)], &config, &under_test()).unwrap();
        let prefix = backbone.prefix(&batch, 0).unwrap();
        let tensors: Vec<_> =
            adapter.tensors.iter().map(|x| Dual::new(x.clone(), Some(x.clone())).unwrap()).collect();
        let adapters = adapter.layout.by_layer(&tensors).unwrap();
        let (h, trace) = backbone.forward(&batch, &prefix, 0, &adapters, Activations::Keep).unwrap();
        let grads = backbone.backward(&batch, trace, &adapters, &h).unwrap();
        let grads = adapter.layout.by_tensor(grads).unwrap();
        let numbers = |x: &Tensor| x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        [
            grads.iter().flat_map(|x| numbers(x.primal())).collect(),
            grads.iter().flat_map(|x| numbers(x.tangent().unwrap())).collect(),
        ]
    }

    #[test]
    fn gradients_keep_their_direction_at_every_precision() {
        let exact = gradients(MatmulPrecision::Highest, DType::F64);
        for (precision, bound) in
            [(MatmulPrecision::Highest, 1e-5), (MatmulPrecision::High, 1e-4), (MatmulPrecision::Medium, 4e-2)]
        {
            let found = gradients(precision, DType::F32);
            for (found, exact) in found.iter().zip(&exact) {
                let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
                let error =
                    norm(&mut found.iter().zip(exact).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied());
                assert!(error < bound, "{precision}: {error:e}");
            }
        }
    }

    /// Launches of a gradient of `layers` layers, at `medium`.
    fn launched(layers: usize, varies: bool) -> usize {
        let config = DecoderConfig { num_layers: layers, ..config(Family::Qwen2, None) };
        let decoder = Decoder::random_trained(&config, 5, DType::BF16, DType::F32, &under_test()).unwrap();
        let decoder = decoder.packed(MatmulPrecision::Medium).unwrap();
        let (targets, layers) = (Projection::ALL.to_vec(), Layers::All);
        let layout =
            LoraLayout::new(LoraSpec { rank: 2, alpha: 3.0, rslora: true, targets, layers }, &config);
        let init = LoraInit::SmallB { std: 0.3 };
        let adapter = Adapter::new(layout, init, 1, DType::F32, &under_test()).unwrap();
        let backbone = Backbone::new(decoder).unwrap();
        let batch = TokenBatch::new(&[vec![1, 2, 3, 4]], vec![(0, 4)], &config, &under_test()).unwrap();
        let prefix = backbone.prefix(&batch, 0).unwrap();
        fn run<V: Ops>(
            backbone: &Backbone,
            batch: &TokenBatch,
            prefix: &Tensor,
            adapters: &[LayerAdapters<V>],
        ) {
            let (h, trace) = backbone.forward(batch, prefix, 0, adapters, Activations::Keep).unwrap();
            backbone.backward(batch, trace, adapters, &h).unwrap();
        }
        let before = launches();
        if varies {
            let dual = |x: &Tensor| Dual::new(x.clone(), Some(x.clone())).unwrap();
            let tensors: Vec<_> = adapter.tensors.iter().map(dual).collect();
            run(&backbone, &batch, &prefix, &adapter.layout.by_layer(&tensors).unwrap());
        } else {
            run(&backbone, &batch, &prefix, &adapter.layout.by_layer(&adapter.tensors).unwrap());
        }
        launches() - before
    }

    /// On a card, or where the tests run its kernels on the CPU.
    #[test]
    fn launches_a_layer_do_not_creep_up() {
        let a_layer = |varies| launched(3, varies) - launched(2, varies);
        let found = [a_layer(false), a_layer(true)];
        assert!(found[0] <= 86 && found[1] <= 150, "{found:?}");
    }
}
