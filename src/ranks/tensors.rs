//! Sums of tensors.

use candle_core::{DType, Device, Tensor};

use super::{Ranks, is_alone};
use crate::error::{Error, Result};

/// The sums of the tensors of all ranks, one by one, which must have the same shapes and types on all of them: f32 or f64.
/// They go out together, in two messages at most.
///
/// # Errors
/// A tensor of another type, ranks that cannot be reached, or a device out of memory.
#[expect(clippy::disallowed_methods, reason = "what goes to other processes leaves the device")]
pub fn sum_tensors(ranks: &dyn Ranks, tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    if is_alone(ranks) {
        return Ok(tensors.iter().map(|&tensor| tensor.clone()).collect());
    }
    let (mut singles, mut doubles) = (Vec::new(), Vec::new());
    for tensor in tensors {
        let flat = tensor.flatten_all()?;
        match tensor.dtype() {
            DType::F32 => singles.extend(flat.to_vec1::<f32>()?),
            DType::F64 => doubles.extend(flat.to_vec1::<f64>()?),
            other => {
                return Err(Error::Invalid(format!("a tensor of {other:?} cannot be summed over ranks")));
            }
        }
    }
    ranks.sum_f32(&mut singles)?;
    ranks.sum_f64(&mut doubles)?;
    let (mut singles, mut doubles) = (singles.as_slice(), doubles.as_slice());
    let sums = tensors.iter().map(|tensor| {
        let cpu = match tensor.dtype() {
            DType::F32 => Tensor::from_slice(next(&mut singles, tensor), tensor.shape(), &Device::Cpu)?,
            _ => Tensor::from_slice(next(&mut doubles, tensor), tensor.shape(), &Device::Cpu)?,
        };
        Ok(cpu.to_device(tensor.device())?)
    });
    sums.collect()
}

fn next<'n, T>(numbers: &mut &'n [T], like: &Tensor) -> &'n [T] {
    let (own, rest) = numbers.split_at(like.elem_count());
    *numbers = rest;
    own
}
