//! Constants of the host on the devices that ask for them.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{DType, Device, Shape, Tensor};

use super::kernel::computed_in;
use crate::Result;

/// Most devices and types that one constant is held for. A program uses two or three; one that opens device after
/// device lets go of the first.
const MOST: usize = 8;

/// A constant that is computed on the host and, where kernels are composed, lives on their device: it is sent there
/// at its first use, once for each device and type that asks, and never again. Clones share what was sent.
#[derive(Debug, Clone, Default)]
pub struct Resident(Arc<RwLock<Vec<Tensor>>>);

impl Resident {
    /// Real numbers of `shape` on the device of `like`, in the type that it is computed in: its own, or f32 for bf16.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn numbers(
        &self,
        like: &Tensor,
        shape: impl Into<Shape>,
        make: impl FnOnce() -> Vec<f64>,
    ) -> Result<Tensor> {
        // Made anew for every type rather than widened: digits that were rounded away do not come back.
        let dtype = computed_in(like.dtype());
        self.get(like.device(), dtype, || {
            #[expect(clippy::disallowed_methods, reason = "the one time that they are sent")]
            Ok(Tensor::from_vec(make(), shape, like.device())?.to_dtype(dtype)?)
        })
    }

    /// Token ids, or numbers of rows.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn ids(&self, device: &Device, make: impl FnOnce() -> Vec<u32>) -> Result<Tensor> {
        self.get(device, DType::U32, || {
            let ids = make();
            let count = ids.len();
            #[expect(clippy::disallowed_methods, reason = "the one time that they are sent")]
            Ok(Tensor::from_vec(ids, count, device)?)
        })
    }

    fn get(&self, on: &Device, dtype: DType, make: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let find = |held: &[Tensor]| {
            held.iter().find(|held| held.dtype() == dtype && held.device().same_device(on)).cloned()
        };
        // A thread that panicked while it held the lock left a list that is whole.
        if let Some(tensor) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(tensor);
        }
        let tensor = make()?;
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been first, with the same numbers.
        if let Some(first) = find(&held) {
            return Ok(first);
        }
        if held.len() == MOST {
            held.remove(0);
        }
        held.push(tensor.clone());
        Ok(tensor)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_in_f32_is_not_widened() {
        let constant = Resident::default();
        let get = |dtype| {
            let like = Tensor::zeros(1, dtype, &Device::Cpu).unwrap();
            constant.numbers(&like, 1, || vec![0.1]).unwrap().to_dtype(DType::F64).unwrap()
        };
        let difference = (get(DType::F32) - get(DType::F64)).unwrap().abs().unwrap();
        assert!(difference.lt(1e-8).unwrap().to_vec1::<u8>().unwrap() == [1]);
        assert!(difference.gt(0.0).unwrap().to_vec1::<u8>().unwrap() == [1]);
    }

    #[test]
    fn a_constant_is_made_once_for_each_type_that_asks_and_clones_share_it() {
        let (constant, mut made) = (Resident::default(), 0);
        for dtype in [DType::F64, DType::F32, DType::F64, DType::F32] {
            let like = Tensor::zeros(1, dtype, &Device::Cpu).unwrap();
            let found = constant.clone().numbers(&like, 1, || {
                made += 1;
                vec![1.5]
            });
            assert_eq!(found.unwrap().dtype(), dtype);
        }
        assert_eq!(made, 2);
        let ids = || constant.ids(&Device::Cpu, || vec![7]).unwrap().to_vec1::<u32>().unwrap();
        assert_eq!((ids(), ids()), (vec![7], vec![7]));
    }
}
