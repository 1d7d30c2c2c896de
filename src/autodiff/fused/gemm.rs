//! Products of matrices as BLAS takes them.

use candle_core::{DType, Tensor};

use super::address::address;
use crate::Result;
use crate::config::MatmulPrecision;

/// What the numbers of both factors are, and what of them counts. Sums are f32, or f64 of f64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F64,
    F32,
    /// f32 of which 10 bits count.
    Tf32,
    Bf16,
}

/// A factor: matrices of a batch, each row-major or, transposed, column-major.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand {
    /// Of its first number.
    pub address: u64,
    pub transposed: bool,
    /// From one row, or where transposed one column, to the next, in numbers.
    pub stride: usize,
    /// From one matrix to the next, in numbers; zero where one serves them all.
    pub batch_stride: usize,
}

/// `C = α A B + β C` for a batch of row-major C.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gemm {
    pub kind: Kind,
    pub a: Operand,
    pub b: Operand,
    pub c: Operand,
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
    pub batch: usize,
    pub alpha: f64,
    pub beta: f64,
    /// Whether C of factors in bf16 is written in bf16 too, rounded once.
    pub narrow: bool,
}

/// A tensor as a batch of matrices that BLAS reads in place.
pub(super) struct Matrices {
    pub tensor: Tensor,
    pub count: usize,
    pub rows: usize,
    pub columns: usize,
    pub operand: Operand,
}

impl Matrices {
    /// Of a tensor `(…, rows, columns)`; a copy where its matrices do not lie so, or not evenly spaced.
    pub fn of(x: &Tensor) -> Result<Self> {
        match Self::in_place(x)? {
            Some(matrices) => Ok(matrices),
            None => {
                let copy = x.contiguous()?;
                Ok(Self::in_place(&copy)?.expect("a contiguous tensor lies row by row"))
            }
        }
    }

    fn in_place(x: &Tensor) -> Result<Option<Self>> {
        let (dims, strides) = (x.dims(), x.stride());
        let lead = dims.len() - 2;
        let (rows, columns) = (dims[lead], dims[lead + 1]);
        let (down, across) = (strides[lead], strides[lead + 1]);
        let (transposed, stride) = if columns == 1 || across == 1 {
            (false, if rows == 1 { columns } else { down })
        } else if rows == 1 || down == 1 {
            (true, across)
        } else {
            return Ok(None);
        };
        // A stride of zero, of numbers that are repeated, is none that BLAS takes.
        if stride < if transposed { rows } else { columns } {
            return Ok(None);
        }
        let Some((count, batch_stride)) = evenly_spaced(&dims[..lead], &strides[..lead]) else {
            return Ok(None);
        };
        let operand = Operand { address: address(x)?, transposed, stride: stride.max(1), batch_stride };
        Ok(Some(Self { tensor: x.clone(), count, rows, columns, operand }))
    }

    /// All matrices below each other as one, where they lie so.
    pub fn stacked(&self) -> Option<Self> {
        let Self { count, rows, columns, operand, .. } = *self;
        let even = count == 1 || (!operand.transposed && operand.batch_stride == rows * operand.stride);
        let operand = Operand { batch_stride: 0, ..operand };
        even.then(|| Self { tensor: self.tensor.clone(), count: 1, rows: count * rows, columns, operand })
    }
}

/// How many matrices leading dimensions count, and from one to the next, where that is one number.
fn evenly_spaced(dims: &[usize], strides: &[usize]) -> Option<(usize, usize)> {
    let (mut count, mut spacing) = (1, 0);
    for (&dim, &stride) in dims.iter().zip(strides).rev().filter(|(dim, _)| **dim != 1) {
        if count > 1 && stride != count * spacing {
            return None;
        }
        if count == 1 {
            spacing = stride;
        }
        count *= dim;
    }
    Some((count, spacing))
}

/// The kind of products of two factors of a type.
pub(super) fn kind(dtype: DType, precision: MatmulPrecision) -> Option<Kind> {
    match dtype {
        DType::F64 => Some(Kind::F64),
        // TF32 has fewer bits than `high` promises.
        DType::F32 if precision == MatmulPrecision::Medium => Some(Kind::Tf32),
        DType::F32 => Some(Kind::F32),
        DType::BF16 => Some(Kind::Bf16),
        _ => None,
    }
}
