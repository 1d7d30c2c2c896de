//! A frozen matrix, as a product takes it: a tensor as it was loaded, packed for the CPU, or in the blocks of a file.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::choose;
use super::fused::{self, Wide};
use super::packed::{BlockRows, Blocked, CpuKernel, Packed};
use crate::config::MatmulPrecision;
use crate::gguf::TensorType;
use crate::{Error, Result};

/// A matrix that no gradient is taken of. Clones share it.
#[derive(Debug, Clone)]
pub struct Frozen(Form);

/// What a frozen matrix is held as.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// A tensor.
    Plain(Plain),
    /// In panels, on the host.
    Packed(Arc<Packed>),
    /// In the blocks of a GGUF file, on the host.
    Blocked(Arc<Blocked>),
}

/// A frozen matrix as a tensor.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    pub matrix: Tensor,
    /// The type that it was loaded in.
    dtype: DType,
    /// What products with it are taken at.
    precision: MatmulPrecision,
    /// The matrix with room beside it, of which `matrix` is a view.
    wide: Option<Arc<Wide>>,
}

impl Plain {
    /// How much memory it takes, in bytes, the room beside it included.
    fn bytes(&self) -> usize {
        let alone = || self.matrix.elem_count() * self.matrix.dtype().size_in_bytes();
        self.wide.as_ref().map_or_else(alone, |wide| wide.bytes())
    }
}

impl From<Tensor> for Frozen {
    fn from(matrix: Tensor) -> Self {
        let dtype = matrix.dtype();
        Self(Form::Plain(Plain { dtype, matrix, precision: MatmulPrecision::Highest, wide: None }))
    }
}

impl From<Blocked> for Frozen {
    fn from(matrix: Blocked) -> Self {
        Self(Form::Blocked(Arc::new(matrix)))
    }
}

impl Frozen {
    /// Matrices of one width, or vectors, below each other as one; a single one is shared. Where one is in blocks, all of
    /// them are, those that are tensors in blocks of one number.
    ///
    /// # Errors
    /// Widths that differ, or a tensor that is no matrix.
    pub fn join(mut parts: Vec<Self>) -> Result<Self> {
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        if !parts.iter().any(|part| matches!(part.0, Form::Blocked(_))) {
            let mut types = parts.iter().map(Self::dtype);
            // Of several, the one that holds the others.
            let first = types.next().unwrap_or(DType::F32);
            let wider = |a, b| match (a, b) {
                (a, b) if a == b => a,
                (DType::F64, _) | (_, DType::F64) => DType::F64,
                _ => DType::F32,
            };
            let dtype = types.fold(first, wider);
            let typed = |part: &Self| Ok(part.tensor()?.to_dtype(dtype)?);
            return Ok(Tensor::cat(&parts.iter().map(typed).collect::<Result<Vec<_>>>()?, 0)?.into());
        }
        let parts = parts.iter().map(Self::blocked).collect::<Result<Vec<_>>>()?;
        let joined = Blocked::join(&parts.iter().map(|part| &**part).collect::<Vec<_>>());
        joined
            .map(Self::from)
            .ok_or_else(|| Error::Invalid("matrices of several widths cannot be one".to_owned()))
    }

    /// The matrix in blocks, of one number where it is a tensor.
    fn blocked(&self) -> Result<Arc<Blocked>> {
        if let Form::Blocked(blocked) = &self.0 {
            return Ok(blocked.clone());
        }
        let matrix = self.tensor()?;
        let (rows, width) = matrix.dims2()?;
        let tensor_type = match matrix.dtype() {
            DType::F16 => TensorType::F16,
            DType::BF16 => TensorType::Bf16,
            _ => TensorType::F32,
        };
        let numbers = matrix.to_dtype(DType::F32)?.flatten_all()?;
        #[expect(clippy::disallowed_methods, reason = "while a base is loaded, on the host")]
        let bytes = tensor_type.encode(&numbers.to_vec1()?);
        Ok(Arc::new(Blocked::new(width, vec![BlockRows::new(tensor_type, rows, width, bytes)?])))
    }

    /// The same matrix, packed where there is a packed form for its type and device; products with it are then taken at
    /// `precision`. One that is packed stays as it is, and one in blocks stays in them.
    ///
    /// # Errors
    /// A tensor that is no matrix.
    pub fn pack(&self, precision: MatmulPrecision) -> Result<Self> {
        let plain = match &self.0 {
            Form::Plain(plain) => plain,
            Form::Packed(_) => return Ok(self.clone()),
            Form::Blocked(blocked) => return Ok(blocked.at(precision).into()),
        };
        if choose::composed_only() {
            return Ok(self.clone());
        }
        if !plain.matrix.device().is_cpu() || fused::is_for(plain.matrix.device()) {
            let matrix = narrowed(&plain.matrix, precision)?;
            return Ok(Self(Form::Plain(Plain { matrix, precision, ..plain.clone() })));
        }
        if !CpuKernel::pays() {
            return Ok(self.clone());
        }
        let packed =
            Packed::new(&plain.matrix, precision)?.map(|packed| Self(Form::Packed(Arc::new(packed))));
        Ok(packed.unwrap_or_else(|| self.clone()))
    }

    /// The same matrix with room beside it for the adapters that stand there, where a device takes them in one product.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn with_room(self) -> Result<Self> {
        let Form::Plain(plain) = &self.0 else { return Ok(self) };
        if plain.precision != MatmulPrecision::Medium {
            return Ok(self);
        }
        let Some(wide) = Wide::new(&plain.matrix)? else { return Ok(self) };
        Ok(Self(Form::Plain(Plain { matrix: wide.matrix()?, wide: Some(Arc::new(wide)), ..plain.clone() })))
    }

    /// The matrix with room beside it, if it has some.
    pub(super) fn wide(&self) -> Option<&Arc<Wide>> {
        match &self.0 {
            Form::Plain(plain) => plain.wide.as_ref(),
            _ => None,
        }
    }

    /// What products with it are taken at.
    pub fn precision(&self) -> MatmulPrecision {
        match &self.0 {
            Form::Plain(plain) => plain.precision,
            Form::Packed(packed) => packed.precision(),
            Form::Blocked(blocked) => blocked.precision(),
        }
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
            Form::Plain(plain) => Ok(plain.matrix.dims2()?),
            Form::Packed(packed) => Ok(packed.dims()),
            Form::Blocked(blocked) => Ok(blocked.dims()),
        }
    }

    /// The type that it was loaded in; of blocks, f32.
    pub fn dtype(&self) -> DType {
        match &self.0 {
            Form::Plain(plain) => plain.dtype,
            Form::Packed(packed) => packed.dtype(),
            Form::Blocked(blocked) => blocked.dtype(),
        }
    }

    /// The matrix as a tensor, `(out, in)`, in the type that it was loaded in: the one that it is, or a copy.
    ///
    /// # Errors
    /// Memory.
    pub fn tensor(&self) -> Result<Tensor> {
        match &self.0 {
            Form::Plain(plain) => Ok(plain.matrix.to_dtype(plain.dtype)?),
            Form::Packed(packed) => packed.tensor(),
            Form::Blocked(blocked) => blocked.tensor(0..blocked.dims().0),
        }
    }

    /// Some of its rows as a tensor, as [`tensor`](Self::tensor) has them: a view, or a copy.
    ///
    /// # Errors
    /// Rows that it does not have.
    pub fn range(&self, rows: Range<usize>) -> Result<Tensor> {
        match &self.0 {
            Form::Plain(plain) => {
                Ok(plain.matrix.narrow(0, rows.start, rows.len())?.to_dtype(plain.dtype)?)
            }
            Form::Packed(packed) => packed.rows(&rows.map(|row| row as u32).collect::<Vec<_>>()),
            Form::Blocked(blocked) => blocked.tensor(rows),
        }
    }

    /// How much memory it takes, in bytes: packed for products both ways, if it is packed.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Form::Plain(plain) => plain.bytes(),
            Form::Packed(packed) => packed.bytes(),
            Form::Blocked(blocked) => blocked.bytes(),
        }
    }

    /// Its rows of these numbers, `ids: (n)` u32 → `(n, in)`, in `dtype`.
    ///
    /// # Errors
    /// A row that it does not have.
    pub fn rows(&self, ids: &Tensor, dtype: DType) -> Result<Tensor> {
        match &self.0 {
            Form::Plain(plain) => Ok(plain.matrix.index_select(ids, 0)?.to_dtype(dtype)?),
            Form::Packed(packed) => Ok(packed.rows(&on_host(ids)?)?.to_dtype(dtype)?),
            Form::Blocked(blocked) => Ok(blocked.rows(&on_host(ids)?)?.to_dtype(dtype)?),
        }
    }

    pub(super) fn form(&self) -> &Form {
        &self.0
    }
}

/// A matrix in f32 as one of bf16, where that holds its numbers, as it does those that were published in it, or where
/// `medium` rounds them in any case; others stay as they are. Its products are then taken on tensor cores.
fn narrowed(matrix: &Tensor, precision: MatmulPrecision) -> Result<Tensor> {
    if matrix.dtype() != DType::F32 {
        return Ok(matrix.clone());
    }
    let narrow = matrix.to_dtype(DType::BF16)?;
    if precision == MatmulPrecision::Medium {
        return Ok(narrow);
    }
    let differ = narrow.to_dtype(DType::F32)?.ne(matrix)?.to_dtype(DType::F32)?.sum_all()?;
    #[expect(clippy::disallowed_methods, reason = "while a base is loaded")]
    let differ: f32 = differ.to_scalar()?;
    Ok(if differ == 0.0 { narrow } else { matrix.clone() })
}

/// Numbers of rows of a matrix that is on the host, as they are.
fn on_host(ids: &Tensor) -> Result<Vec<u32>> {
    #[expect(clippy::disallowed_methods, reason = "such matrices are on the host, and so are the ids")]
    let ids = ids.to_vec1()?;
    Ok(ids)
}
