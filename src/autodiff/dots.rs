//! Inner products and sums of many tensors, in f64; they stay on the device.

use candle_core::{DType, Tensor};

use super::{choose, fused};
use crate::{Error, Result};

/// ⟨a, b⟩ of each pair of tensors of one shape, for each of `episodes` blocks of their numbers: `(pairs, episodes)`.
///
/// # Errors
/// No pair, shapes that do not fit, or a device out of memory.
pub fn dots(pairs: &[[&Tensor; 2]], episodes: usize) -> Result<Tensor> {
    let sets: Vec<_> = pairs.iter().map(|&[a, b]| (a, Some(b))).collect();
    sums(&sets, episodes)
}

/// The sum of all numbers of each tensor, `(tensors)`.
///
/// # Errors
/// No tensor, or a device out of memory.
pub fn totals(tensors: &[&Tensor]) -> Result<Tensor> {
    let sets: Vec<_> = tensors.iter().map(|&tensor| (tensor, None)).collect();
    Ok(sums(&sets, 1)?.squeeze(1)?)
}

fn sums(sets: &[(&Tensor, Option<&Tensor>)], episodes: usize) -> Result<Tensor> {
    if sets.is_empty() {
        return Err(Error::Invalid("there is no sum over no tensors".into()));
    }
    if let Some((a, Some(b))) = sets.iter().find(|(a, b)| b.is_some_and(|b| b.shape() != a.shape())) {
        let (a, b) = (a.shape(), b.shape());
        return Err(Error::Invalid(format!("no inner product of shapes {a:?} and {b:?}")));
    }
    if !choose::composed_only()
        && let Some(sums) = fused::dots(sets, episodes)?
    {
        return Ok(sums);
    }
    let one = |(a, b): &(&Tensor, Option<&Tensor>)| {
        let terms = b.map_or_else(|| Ok((*a).clone()), |b| *a * b)?;
        Ok(terms.to_dtype(DType::F64)?.reshape((episodes, ()))?.sum(1)?)
    };
    Ok(Tensor::stack(&sets.iter().map(one).collect::<Result<Vec<_>>>()?, 0)?)
}
