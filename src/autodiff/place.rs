//! Where kernels and products run: as loops of our own on the CPU, by Candle's operations elsewhere.

use std::sync::{LazyLock, OnceLock};

use candle_core::{DType, Device, Shape, Tensor};

use crate::Result;

/// Set to 1, this environment variable takes the CPU the way of every other device too: it is how the tests
/// check that way on a machine that has no other device.
pub const COMPOSED: &str = "PERK_COMPOSED";

static EVERYWHERE: LazyLock<bool> = LazyLock::new(|| std::env::var(COMPOSED).is_ok_and(|value| value == "1"));

/// Whether what happens to `tensor` is composed of Candle's operations.
pub(super) fn composed(tensor: &Tensor) -> bool {
    !tensor.device().is_cpu() || *EVERYWHERE
}

/// A constant that is computed on the host and, where kernels are composed, lives on their device: it is sent
/// there at its first use and never again.
#[derive(Debug, Clone, Default)]
pub struct Resident(OnceLock<Tensor>);

impl Resident {
    /// Real numbers of `shape`, of the type and on the device of `like`.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn numbers(
        &self,
        like: &Tensor,
        shape: impl Into<Shape>,
        make: impl FnOnce() -> Vec<f64>,
    ) -> Result<Tensor> {
        // Made anew rather than widened: digits that were rounded away do not come back.
        let fits = |dtype| dtype == like.dtype() || dtype == DType::F64;
        let tensor = self.get(like.device(), fits, |device| {
            #[expect(clippy::disallowed_methods, reason = "the one time that it is sent")]
            Ok(Tensor::from_vec(make(), shape, device)?.to_dtype(like.dtype())?)
        })?;
        Ok(tensor.to_dtype(like.dtype())?)
    }

    /// Token ids, or numbers of rows.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn ids(&self, device: &Device, make: impl FnOnce() -> Vec<u32>) -> Result<Tensor> {
        self.get(
            device,
            |dtype| dtype == DType::U32,
            |device| {
                let ids = make();
                let count = ids.len();
                #[expect(clippy::disallowed_methods, reason = "the one time that they are sent")]
                Ok(Tensor::from_vec(ids, count, device)?)
            },
        )
    }

    fn get(
        &self,
        on: &Device,
        fits: impl Fn(DType) -> bool,
        make: impl FnOnce(&Device) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let kept = self.0.get().filter(|tensor| tensor.device().same_device(on) && fits(tensor.dtype()));
        if let Some(tensor) = kept {
            return Ok(tensor.clone());
        }
        let tensor = make(on)?;
        // Another thread may have been first, with the same numbers.
        let _ = self.0.set(tensor.clone());
        Ok(tensor)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The numerical tests once more, in a process of their own where nothing runs as a loop of ours: gradients,
    /// Hessian-vector products and meta-gradients as every device but the CPU computes them.
    #[test]
    fn all_numerical_tests_pass_by_composition_too() {
        let mut tests = Command::new(std::env::current_exe().unwrap());
        tests
            .args(["autodiff::kernels", "autodiff::gemm", "optim::", "meta::tests", "model::backbone"])
            .args(["model::generate", "autodiff::place"]);
        let output = tests.args(["--skip", "by_composition"]).env(COMPOSED, "1").output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{report}");
        for ran in ["kernels::tests::attention_weights", "the_variable_alone_decides_on_the_cpu"] {
            assert!(report.contains(ran), "{ran} was not run:\n{report}");
        }
    }

    #[test]
    fn the_variable_alone_decides_on_the_cpu() {
        let expected = std::env::var(COMPOSED).is_ok_and(|value| value == "1");
        assert_eq!(composed(&Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap()), expected);
    }

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
    fn a_resident_constant_is_made_once_and_follows_the_type_of_its_use() {
        let (constant, mut made) = (Resident::default(), 0);
        for dtype in [DType::F64, DType::F64, DType::F32] {
            let like = Tensor::zeros(1, dtype, &Device::Cpu).unwrap();
            let found = constant.numbers(&like, 1, || {
                made += 1;
                vec![1.5]
            });
            assert_eq!(found.unwrap().dtype(), dtype);
        }
        assert_eq!(made, 1);
    }
}
