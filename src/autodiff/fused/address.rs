//! Where the numbers of a tensor lie.

use candle_core::{CpuStorage, DType, Storage, Tensor};

use crate::{Error, Result};

/// Address of a tensor's first number, on its own device. It holds while the tensor lives.
#[allow(clippy::disallowed_methods)] // Nothing is copied.
pub(super) fn address(x: &Tensor) -> Result<u64> {
    let (storage, layout) = x.storage_and_layout();
    let start = layout.start_offset() * x.dtype().size_in_bytes();
    let base = match &*storage {
        Storage::Cpu(storage) => on_host(storage)?,
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => super::cuda::base_address(storage)?,
        _ => return Err(Error::Invalid("a kernel was given a tensor of another device".into())),
    };
    Ok(base + start as u64)
}

fn on_host(storage: &CpuStorage) -> Result<u64> {
    match storage {
        CpuStorage::F32(numbers) => Ok(numbers.as_ptr() as u64),
        CpuStorage::F64(numbers) => Ok(numbers.as_ptr() as u64),
        CpuStorage::BF16(numbers) => Ok(numbers.as_ptr() as u64),
        CpuStorage::U32(numbers) => Ok(numbers.as_ptr() as u64),
        CpuStorage::I64(numbers) => Ok(numbers.as_ptr() as u64),
        _ => Err(Error::Invalid("a kernel was given a tensor of a type that it does not compute in".into())),
    }
}

/// A tensor of numbers that are still to be written.
///
/// # Errors
/// A device out of memory.
pub(super) fn room(shape: impl Into<candle_core::Shape>, dtype: DType, like: &Tensor) -> Result<Tensor> {
    // SAFETY: every caller launches a kernel or a product that writes all of it before anybody reads it.
    #[allow(unsafe_code)]
    let room = unsafe { Tensor::empty(shape, dtype, like.device())? };
    Ok(room)
}
