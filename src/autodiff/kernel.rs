//! Kernels: formulas that make several outputs from several inputs, each in up to three forms.

use candle_core::{DType, Shape};

use super::{Dual, Rows, RowsMut, Scalar};
use crate::Result;
use crate::config::MatmulPrecision;

/// What type a result in f32 is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// In its own.
    Whole,
    /// In bf16, where a device has kernels that write and read it: for what is next rounded so in any case, as a factor
    /// of a product at [`Medium`](MatmulPrecision::Medium). It takes half the memory, and half the time to move.
    Narrow,
}

impl From<MatmulPrecision> for Stored {
    /// How the factors of products at a precision are kept.
    fn from(precision: MatmulPrecision) -> Self {
        match precision {
            MatmulPrecision::Medium => Self::Narrow,
            MatmulPrecision::High | MatmulPrecision::Highest => Self::Whole,
        }
    }
}

/// The type that numbers of a type are computed in: f32 for bf16, which is a way to keep them.
pub(super) fn computed_in(dtype: DType) -> DType {
    if dtype == DType::BF16 { DType::F32 } else { dtype }
}

/// A formula that makes `O` outputs from `I` inputs, row by row of the outputs.
///
/// It is written as a loop over scalars for the CPU and as operations on whole tensors for any device; a device may
/// have a third form of its own. All compute the same function, which the numerical tests check.
pub trait Kernel<const I: usize, const O: usize>: Sync {
    /// Writes row `row` of every output. Inputs are whole; outputs are this row alone.
    fn row<S: Scalar>(&self, row: usize, inputs: [Rows<'_, S>; I], outputs: [RowsMut<'_, S>; O]);

    /// The same function of whole tensors, composed of Candle's operations: for devices other than the CPU.
    /// Numbers may stand in any shape of the right size.
    ///
    /// # Errors
    /// What tensor operations refuse.
    fn compose(&self, inputs: [Dual; I]) -> Result<[Dual; O]>;

    /// The same function in one piece, if there is a form for the device, type and strides of the inputs; `None` if
    /// not, and one of the other forms runs.
    ///
    /// Output `o` has shape `shapes[o]`. Inputs that vary are mostly stacked ([`Dual::stacked`]), and outputs should be
    /// too: that saves a copy wherever they are used.
    ///
    /// # Errors
    /// What the device refuses.
    fn fused(&self, inputs: [&Dual; I], shapes: &[Shape; O]) -> Result<Option<[Dual; O]>> {
        let _ = (inputs, shapes);
        Ok(None)
    }
}
