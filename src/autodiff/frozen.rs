//! A frozen matrix, as a product takes it: a tensor as it was loaded, or packed for the CPU.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::choose;
use super::packed::{CpuKernel, Packed};
use crate::Result;
use crate::config::MatmulPrecision;

/// A matrix that no gradient is taken of. Clones share it.
#[derive(Debug, Clone)]
pub struct Frozen(Form);

/// What a frozen matrix is held as.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// As it was loaded.
    Plain(Tensor),
    /// In panels, on the host.
    Packed(Arc<Packed>),
}

impl From<Tensor> for Frozen {
    fn from(matrix: Tensor) -> Self {
        Self(Form::Plain(matrix))
    }
}

impl Frozen {
    /// The same matrix, packed where there is a packed form for its type and device; products with it are then taken at
    /// `precision`. One that is packed stays as it is.
    ///
    /// # Errors
    /// A tensor that is no matrix.
    pub fn pack(&self, precision: MatmulPrecision) -> Result<Self> {
        let Form::Plain(matrix) = &self.0 else { return Ok(self.clone()) };
        if choose::composed_only() || !CpuKernel::pays() {
            return Ok(self.clone());
        }
        let packed = Packed::new(matrix, precision)?.map(|packed| Self(Form::Packed(Arc::new(packed))));
        Ok(packed.unwrap_or_else(|| self.clone()))
    }

    /// Packs it for gradients too, so that no step has to.
    pub fn pack_back(&self) {
        if let Form::Packed(packed) = &self.0 {
            packed.pack_back();
        }
    }

    /// `(out, in)`.
    ///
    /// # Errors
    /// A tensor that is no matrix.
    pub fn dims(&self) -> Result<(usize, usize)> {
        match &self.0 {
            Form::Plain(matrix) => Ok(matrix.dims2()?),
            Form::Packed(packed) => Ok(packed.dims()),
        }
    }

    /// The type that it was loaded in.
    pub fn dtype(&self) -> DType {
        match &self.0 {
            Form::Plain(matrix) => matrix.dtype(),
            Form::Packed(packed) => packed.dtype(),
        }
    }

    /// The matrix as a tensor, `(out, in)`, in the type that it was loaded in: the one that it is, or a copy.
    ///
    /// # Errors
    /// Memory.
    pub fn tensor(&self) -> Result<Tensor> {
        match &self.0 {
            Form::Plain(matrix) => Ok(matrix.clone()),
            Form::Packed(packed) => packed.tensor(),
        }
    }

    /// Its rows of these numbers, `ids: (n)` u32 → `(n, in)`, in `dtype`.
    ///
    /// # Errors
    /// A row that it does not have.
    pub fn rows(&self, ids: &Tensor, dtype: DType) -> Result<Tensor> {
        match &self.0 {
            Form::Plain(matrix) => Ok(matrix.index_select(ids, 0)?.to_dtype(dtype)?),
            Form::Packed(packed) => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "packed matrices are on the host, and so are the ids"
                )]
                let ids = ids.to_vec1()?;
                Ok(packed.rows(&ids)?.to_dtype(dtype)?)
            }
        }
    }

    pub(super) fn form(&self) -> &Form {
        &self.0
    }
}
