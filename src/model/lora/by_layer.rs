//! An adapter sorted to the layers that it stands beside, as the forward pass takes it, and back.

use candle_core::Tensor;

use super::adapter::{AdapterRef, check};
use super::{LoraLayout, Site};
use crate::model::DecoderConfig;
use crate::{Error, Result};

/// The adapter of one projection: `y += s (x Aᵀ) Bᵀ`.
#[derive(Debug, Clone)]
pub struct LowRank<V> {
    /// A, `(r, in)`.
    pub a: V,
    /// B, `(out, r)`.
    pub b: V,
    /// The scale s.
    pub scale: f64,
}

/// Gradients of one adapter, of the shapes of A and B.
#[derive(Debug, Clone)]
pub struct LowRankGrad<V> {
    /// `(r, in)`.
    pub a: V,
    /// `(out, r)`.
    pub b: V,
}

/// The adapters of one layer, by projection; `None` where a projection has none.
pub type LayerAdapters<V> = [Option<LowRank<V>>; 7];
/// Gradients of the adapters of one layer, by projection.
pub type LayerGrads<V> = [Option<LowRankGrad<V>>; 7];

/// The adapters of every layer of a decoder of shape `config`; without an adapter, none in each.
///
/// # Errors
/// An adapter that was made for another shape.
pub(in crate::model) fn adapters_of(
    config: &DecoderConfig,
    adapter: Option<AdapterRef<'_>>,
) -> Result<Vec<LayerAdapters<Tensor>>> {
    let Some((layout, tensors)) = adapter else { return Ok(vec![[const { None }; 7]; config.num_layers]) };
    check(config, layout, tensors)?;
    layout.by_layer(tensors)
}

impl LoraLayout {
    /// Sorts the tensors of the flat order to their layers; one entry a layer of the decoder.
    ///
    /// # Errors
    /// Another number of tensors than the layout has.
    pub fn by_layer<V: Clone>(&self, tensors: &[V]) -> Result<Vec<LayerAdapters<V>>> {
        if tensors.len() != self.num_tensors() {
            return Err(self.wrong_count(tensors.len()));
        }
        let mut layers = vec![[const { None }; 7]; self.num_layers()];
        for (site, pair) in self.sites.iter().zip(tensors.chunks_exact(2)) {
            let low_rank = LowRank { a: pair[0].clone(), b: pair[1].clone(), scale: self.spec.scale() };
            layers[site.layer][site.projection as usize] = Some(low_rank);
        }
        Ok(layers)
    }

    /// Brings the gradients of all layers to the flat order.
    pub fn by_tensor<V>(&self, mut layers: Vec<LayerGrads<V>>) -> Vec<V> {
        let take = |&Site { layer, projection, .. }: &Site| {
            let grad = layers[layer][projection as usize].take();
            let LowRankGrad { a, b } = grad.expect("every adapted projection has a gradient");
            [a, b]
        };
        self.sites.iter().flat_map(take).collect()
    }

    pub(super) fn wrong_count(&self, found: usize) -> Error {
        let expected = self.num_tensors();
        Error::Invalid(format!("the adapter holds {found} tensors, its layout {expected}"))
    }
}
