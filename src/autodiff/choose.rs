//! Which form of a kernel or of a product runs. This is the one place that decides.
//!
//! A kernel has a *row* function (a loop of our own, for the CPU), a *composed* form (Candle's operations on whole
//! tensors, for any device) and may have a *fused* one for a device. A product has a *portable* form (Candle's, for
//! any device) and may have others for a device or an instruction set. The composed and the portable form are
//! the ones that the others are tested against: [`COMPOSED`] runs nothing else.
//!
//! # To add
//! - *a kernel*: a file in `kernels/` with [`Kernel::row`] and [`Kernel::compose`], its transpose beside it, and a line
//!   in `kernels/tests.rs`. An element-wise one is a [`Pointwise`](super::Pointwise) formula, which composes itself.
//! - *a fused form of a kernel*: [`Kernel::fused`], which names a kernel of `fused/cuda/` and what it is given; it returns
//!   `None` for a device or a type that has none. Element-wise ones are printed: see `fused/print.rs`.
//! - *a product*: a function of a [`Sum`] that returns `None` for sums it does not handle, and a line in [`PRODUCTS`]
//!   before the more general ones. It gets frozen factors in the type that they are stored in.
//! - *a device*: nothing here. What has no form of its own on it is composed, and constants are sent to it when first
//!   used ([`Resident`](super::Resident)).

use std::sync::LazyLock;

use candle_core::{DType, Shape, Tensor};

use super::kernel::Kernel;
use super::product::Sum;
use super::{Dual, Frozen, Ops, fused, gemm, gemv, rows};
use crate::{Error, Result};

/// With this environment variable set to 1 only the composed and portable forms run, on the CPU too: so the tests
/// check on any machine what a device without forms of its own computes.
pub const COMPOSED: &str = "PERK_COMPOSED";

static COMPOSED_ONLY: LazyLock<bool> =
    LazyLock::new(|| std::env::var(COMPOSED).is_ok_and(|value| value == "1"));

/// Whether nothing but the composed and portable forms may run.
pub(super) fn composed_only() -> bool {
    *COMPOSED_ONLY
}

/// A form of a product: the sum, or `None` if this form does not handle it.
type Product = fn(&Sum) -> Result<Option<Dual>>;

/// Products for an instruction set, the most specific first; they leave the scale of a sum to the caller.
const PRODUCTS: [Product; 2] = [gemv::sum, gemm::sum];

/// Runs a kernel over `rows` rows; output `o` has shape `shapes[o]`.
pub(super) fn kernel<const I: usize, const O: usize, K: Kernel<I, O>>(
    kernel: &K,
    rows: usize,
    inputs: [&Dual; I],
    shapes: [Shape; O],
) -> Result<[Dual; O]> {
    if *COMPOSED_ONLY {
        return composed(kernel, inputs, shapes);
    }
    if let Some(outputs) = kernel.fused(inputs, &shapes)? {
        return Ok(outputs);
    }
    if inputs.iter().any(|x| x.primal().dtype() == DType::BF16) {
        let wide = inputs.iter().map(|x| x.batched_linear(|x| x.to_dtype(DType::F32)));
        let wide: Vec<Dual> = wide.collect::<Result<_>>()?;
        return self::kernel(kernel, rows, std::array::from_fn(|nth| &wide[nth]), shapes);
    }
    match inputs[0].primal().device().is_cpu() {
        true => rows::run(kernel, rows, inputs, shapes),
        false => composed(kernel, inputs, shapes),
    }
}

/// `[ce, drows]` as of [`Ops::losses`], where there is a form that does without logits.
pub(super) fn losses(
    rows: &Dual,
    weights: &Dual,
    matrix: &Frozen,
    targets: &[u32],
) -> Result<Option<[Dual; 2]>> {
    #[cfg(target_arch = "x86_64")]
    if !*COMPOSED_ONLY {
        return super::losses::on_tiles(rows, weights, matrix, targets);
    }
    let _ = (rows, weights, matrix, targets);
    Ok(None)
}

/// A sum of products.
pub(super) fn product(sum: &Sum) -> Result<Dual> {
    if !*COMPOSED_ONLY && let Some(result) = fused::sum(sum)? {
        return Ok(result);
    }
    let result = unscaled(sum)?;
    match sum.options.scale {
        1.0 => Ok(result),
        scale if sum.bias.is_none() => result.scale(scale),
        _ => Err(Error::Invalid("a sum with a bias is not scaled".into())),
    }
}

fn unscaled(sum: &Sum) -> Result<Dual> {
    if !*COMPOSED_ONLY {
        for product in PRODUCTS {
            if let Some(result) = product(sum)? {
                return Ok(result);
            }
        }
    }
    sum.composed()
}

/// A kernel composed of Candle's operations. Its outputs are joined here, once, and not at each use.
fn composed<const I: usize, const O: usize, K: Kernel<I, O>>(
    kernel: &K,
    inputs: [&Dual; I],
    shapes: [Shape; O],
) -> Result<[Dual; O]> {
    let outputs = kernel.compose(inputs.map(Dual::clone))?.into_iter().zip(shapes);
    let outputs = outputs
        .map(|(output, shape)| output.reshape(shape)?.joined()?.batched_linear(Tensor::contiguous))
        .collect::<Result<Vec<_>>>()?;
    Ok(outputs.try_into().expect("one value an output"))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::process::Command;

    use candle_core::Device;

    use super::*;
    use crate::autodiff::{Rows, RowsMut, Scalar};

    /// The numerical tests once more, in a process of their own where nothing runs but what any device can do:
    /// gradients, Hessian-vector products and meta-gradients as every device but the CPU computes them.
    #[test]
    fn all_numerical_tests_pass_by_composition_too() {
        let mut tests = Command::new(std::env::current_exe().unwrap());
        tests.args(["autodiff::", "optim::", "meta::tests", "model::backbone", "model::generate"]);
        // They start processes of their own, or are about forms of the CPU alone.
        let others = ["by_composition", "for_a_card_too", "packed::", "gemv::"];
        tests.args(others.iter().flat_map(|name| ["--skip", name]));
        let output = tests.env(COMPOSED, "1").output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{report}");
        for ran in ["kernels::tests::attention_weights", "a_form_for_a_device_is_chosen_before_the_others"] {
            assert!(report.contains(ran), "{ran} was not run:\n{report}");
        }
    }

    /// Says which of its forms ran: 1 for the row function, 2 for the composed one, 3 for the fused one.
    struct Witness {
        fused: bool,
    }

    impl Kernel<1, 1> for Witness {
        fn row<S: Scalar>(&self, _: usize, _: [Rows<'_, S>; 1], [mut y]: [RowsMut<'_, S>; 1]) {
            y.set(0, S::of(1.0));
        }

        fn compose(&self, [x]: [Dual; 1]) -> Result<[Dual; 1]> {
            Ok([x.scale(0.0)?.scaled(1.0, 2.0)?])
        }

        fn fused(&self, [x]: [&Dual; 1], shapes: &[Shape; 1]) -> Result<Option<[Dual; 1]>> {
            assert!(x.stacked().is_some() && shapes[0] == *x.primal().shape());
            let threes = || x.linear(|x| x.zeros_like()?.affine(1.0, 3.0));
            self.fused.then(|| Ok([threes()?])).transpose()
        }
    }

    #[test]
    fn a_form_for_a_device_is_chosen_before_the_others() {
        let only = std::env::var(COMPOSED).is_ok_and(|value| value == "1");
        let x = Dual::from_stacked(Tensor::zeros((2, 1), DType::F64, &Device::Cpu).unwrap()).unwrap();
        let ran = |fused| {
            let [y] = Dual::run(&Witness { fused }, 1, [&x], [Shape::from(1)]).unwrap();
            y.primal().to_vec1::<f64>().unwrap()[0]
        };
        assert_eq!((ran(true), ran(false)), if only { (2.0, 2.0) } else { (3.0, 1.0) });
    }
}
