//! An adapter's tensors together with the layout that orders them.

use candle_core::{DType, Tensor};

use super::{LoraLayout, LoraSpec, Site};
use crate::autodiff::Frozen;
use crate::model::{Decoder, DecoderConfig, Joint, Projection};
use crate::{Error, Result};

/// A LoRA adapter.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Which matrices, and the order of their tensors.
    pub layout: LoraLayout,
    /// A `(r, in)` and B `(out, r)` of each site, in the order of the layout.
    pub tensors: Vec<Tensor>,
}

/// An adapter as its layout and its tensors, in the layout's order.
pub type AdapterRef<'a> = (&'a LoraLayout, &'a [Tensor]);

impl Adapter {
    /// The form that the forward pass takes.
    pub fn parts(&self) -> AdapterRef<'_> {
        (&self.layout, &self.tensors)
    }

    /// The same function in the form of [`LoraSpec::plain`]; the tensors are shared.
    pub fn plain(&self) -> Self {
        let mut plain = self.clone();
        plain.layout.spec = plain.layout.spec.plain();
        plain
    }
}

/// The decoder with the adapter added to its weights: W + s B A, in the storage type of each W, and in f32 where that is
/// blocks.
///
/// Weights without an adapter are shared with `model`.
///
/// # Errors
/// An adapter of another shape than `model` takes, or a device out of memory.
pub fn merge(model: &Decoder, layout: &LoraLayout, tensors: &[Tensor]) -> Result<Decoder> {
    check(&model.config, layout, tensors)?;
    let mut merged = model.clone();
    for layer in 0..model.layers.len() {
        for joint in Joint::ALL {
            let is_changed = |site: &Site| site.layer == layer && site.projection.joint() == joint;
            if !layout.sites.iter().any(is_changed) {
                continue;
            }
            let part =
                |&which: &Projection| Ok(merged_projection(model, (layout, tensors), layer, which)?.into());
            let parts = joint.parts().iter().map(part).collect::<Result<Vec<Frozen>>>()?;
            merged.layers[layer].linears[joint as usize].weight = Frozen::join(parts)?;
        }
    }
    Ok(merged)
}

/// The matrix of one projection, with an adapter that fits the decoder added to it, if it has one there.
///
/// # Errors
/// A device out of memory.
pub(in crate::model) fn merged_projection(
    model: &Decoder,
    (layout, tensors): AdapterRef<'_>,
    layer: usize,
    which: Projection,
) -> Result<Tensor> {
    let (weight, _) = model.projection(layer, which)?;
    let here = |site: &Site| (site.layer, site.projection) == (layer, which);
    match layout.sites.iter().position(here) {
        Some(site) => changed(&weight, &tensors[2 * site..2 * site + 2], layout.spec.scale(), model.dtype),
        None => Ok(weight),
    }
}

/// W + s B A in the type of W, computed in `dtype`.
fn changed(weight: &Tensor, pair: &[Tensor], scale: f64, dtype: DType) -> Result<Tensor> {
    let (a, b) = (pair[0].to_dtype(dtype)?, pair[1].to_dtype(dtype)?);
    let change = (b.matmul(&a)? * scale)?;
    Ok((weight.to_dtype(dtype)? + change)?.to_dtype(weight.dtype())?)
}

/// An adapter fits a decoder if every site is one of its matrices and every tensor has the site's shape.
pub(in crate::model) fn check(base: &DecoderConfig, layout: &LoraLayout, tensors: &[Tensor]) -> Result<()> {
    if *layout != LoraLayout::new(layout.spec.clone(), base) {
        return Err(Error::Invalid("the adapter was made for a decoder of another shape".to_owned()));
    }
    if tensors.len() != layout.num_tensors() {
        return Err(layout.wrong_count(tensors.len()));
    }
    for (index, tensor) in tensors.iter().enumerate() {
        let (rows, columns) = layout.shape(index);
        if tensor.dims() != [rows, columns] {
            let (name, found) = (layout.name(index), tensor.dims());
            return Err(Error::Invalid(format!(
                "`{name}` has shape {found:?}, expected [{rows}, {columns}]"
            )));
        }
    }
    Ok(())
}

impl LoraSpec {
    /// Says what is wrong with this form, if anything.
    ///
    /// # Errors
    /// The reason: no rank, a scale that is not a positive number, no target, or one named twice.
    pub fn check(&self) -> std::result::Result<(), String> {
        if self.rank == 0 {
            return Err("the rank is 0, expected at least 1".to_owned());
        }
        if !self.alpha.is_finite() || self.alpha <= 0.0 {
            return Err(format!("alpha is {}, expected a positive number", self.alpha));
        }
        if self.targets.is_empty() {
            return Err("no projection is adapted".to_owned());
        }
        let ordered: Vec<Projection> =
            Projection::ALL.into_iter().filter(|which| self.targets.contains(which)).collect();
        if self.targets != ordered {
            return Err("the projections are not each named once, in the order of a layer".to_owned());
        }
        Ok(())
    }
}
