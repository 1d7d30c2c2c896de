//! An adapter sorted to the layers that it stands beside, as the forward pass takes it, and back.

use std::ops::Range;

use candle_core::{D, Tensor};

use super::adapter::{AdapterRef, check};
use super::{LoraLayout, Site};
use crate::autodiff::{LowRankUp, Ops};
use crate::model::DecoderConfig;
use crate::{Error, Result};

/// The adapters of projections that are kept as one matrix: `y[:, columns] += s (x Aᵀ) Bᵀ` for each that has one.
///
/// With E episodes beside each other every tensor has a leading dimension of E, and the rows of x fall into E blocks
/// of one size, of which each has an adapter of its own.
#[derive(Debug, Clone)]
pub struct LowRank<V> {
    /// Their A's, `(r, in)` each, or fewer matrices with those below each other.
    pub a: Vec<V>,
    /// Their B's, in the same order.
    pub b: Vec<LowRankUp<V>>,
    /// The scale s.
    pub scale: f64,
}

impl<V: Ops> LowRank<V> {
    /// The A's below each other, `(R, in)`, with R the sum of their ranks.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn joint_a(&self) -> Result<V> {
        V::cat(&self.a)
    }
}

/// Gradients of the adapters of one matrix, of the shapes of A and of each B.
#[derive(Debug, Clone)]
pub struct LowRankGrad<V> {
    /// `(R, in)`.
    pub a: V,
    /// `(out, r)` each.
    pub b: Vec<V>,
}

/// The adapters of one layer, one entry a matrix in the order of `Joint::ALL`; `None` where it has none.
pub type LayerAdapters<V> = [Option<LowRank<V>>; 4];
/// Gradients of the adapters of one layer.
pub type LayerGrads<V> = [Option<LowRankGrad<V>>; 4];

/// The adapters of every layer of a decoder of shape `config`; without an adapter, none in each.
///
/// # Errors
/// An adapter that was made for another shape.
pub(in crate::model) fn adapters_of(
    config: &DecoderConfig,
    adapter: Option<AdapterRef<'_>>,
) -> Result<Vec<LayerAdapters<Tensor>>> {
    let Some((layout, tensors)) = adapter else { return Ok(no_adapters(config.num_layers)) };
    check(config, layout, tensors)?;
    layout.by_layer(tensors)
}

/// Layers without an adapter.
pub(in crate::model) fn no_adapters<V>(layers: usize) -> Vec<LayerAdapters<V>> {
    (0..layers).map(|_| [const { None }; 4]).collect()
}

impl LoraLayout {
    /// Sorts the tensors of the flat order to their layers, one entry a layer of the decoder.
    ///
    /// # Errors
    /// Another number of tensors than the layout has.
    pub fn by_layer<V: Ops>(&self, tensors: &[V]) -> Result<Vec<LayerAdapters<V>>> {
        if tensors.len() != self.num_tensors() {
            return Err(self.wrong_count(tensors.len()));
        }
        let mut layers = no_adapters(self.num_layers());
        for sites in self.joint_sites() {
            let Site { layer, projection, .. } = self.sites[sites.start];
            let pairs = || sites.clone().map(|site| (&self.sites[site], &tensors[2 * site..2 * site + 2]));
            // Below each other once, and not wherever they are used.
            let a = vec![V::cat(&pairs().map(|(_, pair)| pair[0].clone()).collect::<Vec<_>>())?];
            let up = |(site, pair): (&Site, &[V])| LowRankUp { b: pair[1].clone(), column: site.first_row };
            let b = pairs().map(up).collect();
            layers[layer][projection.joint() as usize] = Some(LowRank { a, b, scale: self.spec.scale() });
        }
        Ok(layers)
    }

    /// Brings the gradients of all layers to the flat order.
    ///
    /// # Errors
    /// Gradients of other shapes.
    pub fn by_tensor<V: Ops>(&self, mut layers: Vec<LayerGrads<V>>) -> Result<Vec<V>> {
        let (rank, mut flat) = (self.spec.rank, Vec::with_capacity(self.num_tensors()));
        for sites in self.joint_sites() {
            let Site { layer, projection, .. } = self.sites[sites.start];
            let grad = layers[layer][projection.joint() as usize].take();
            let LowRankGrad { a, b } = grad.expect("every adapted projection has a gradient");
            for (nth, b) in b.into_iter().enumerate() {
                flat.push(a.batched_linear(|a| a.narrow(D::Minus2, nth * rank, rank))?);
                flat.push(b);
            }
        }
        Ok(flat)
    }

    /// The sites of each matrix in turn, as ranges of [`sites`](Self::sites).
    fn joint_sites(&self) -> impl Iterator<Item = Range<usize>> {
        let together =
            |a: &Site, b: &Site| (a.layer, a.projection.joint()) == (b.layer, b.projection.joint());
        self.sites.chunk_by(together).scan(0, |end, sites| {
            let start = *end;
            *end += sites.len();
            Some(start..*end)
        })
    }

    pub(super) fn wrong_count(&self, found: usize) -> Error {
        let expected = self.num_tensors();
        Error::Invalid(format!("the adapter holds {found} tensors, its layout {expected}"))
    }
}
