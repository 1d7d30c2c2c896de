//! Frozen matrices on the CPU that stay in the blocks of a GGUF file.
//!
//! A product takes the blocks apart a portion at a time, into a buffer that fits a cache, and multiplies that with the
//! kernels for factors in f32: nothing is ever whole in f32. Left factors are rounded as `medium` and `high` say; the
//! matrix keeps all that its blocks say. One matrix may have rows of several types, as where q, k and v are kept as one.

mod few;
mod panels;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::multiply::{FEW_ROWS, Product};
use super::{CpuKernel, Left, Target, Way, require_fit};
use crate::config::MatmulPrecision;
use crate::gguf::TensorType;
use crate::{Error, Result};

use panels::{Across, Along};

/// Rows of a matrix in blocks of one type.
#[derive(Debug, Clone)]
pub struct BlockRows {
    tensor_type: TensorType,
    count: usize,
    /// Row by row, whole blocks.
    bytes: Arc<[u8]>,
}

impl BlockRows {
    /// `count` rows of `width` numbers.
    ///
    /// # Errors
    /// Rows that are no whole blocks, or other than as many bytes as they have.
    pub fn new(tensor_type: TensorType, count: usize, width: usize, bytes: Vec<u8>) -> Result<Self> {
        let row = tensor_type.bytes(width).and_then(|row| row.checked_mul(count));
        if !width.is_multiple_of(tensor_type.block()) || row != Some(bytes.len()) {
            let bytes = bytes.len();
            return Err(Error::Invalid(format!(
                "{bytes} bytes are no {count} rows of {width} numbers of {tensor_type}"
            )));
        }
        Ok(Self { tensor_type, count, bytes: bytes.into() })
    }

    /// Bytes of one row.
    fn row_bytes(&self) -> usize {
        self.bytes.len() / self.count.max(1)
    }
}

/// A frozen matrix W, `(out, in)`, in blocks.
#[derive(Debug, Clone)]
pub struct Blocked {
    out: usize,
    width: usize,
    precision: MatmulPrecision,
    parts: Vec<BlockRows>,
}

/// Some rows of a matrix that lie in one part of it.
struct Run<'a> {
    part: &'a BlockRows,
    /// The first of them, in the part.
    first: usize,
    /// Which of the rows that were asked for they are.
    rows: Range<usize>,
}

impl Blocked {
    /// A matrix of rows of `width` numbers, the parts below each other; products with it are taken at `highest`.
    pub fn new(width: usize, parts: Vec<BlockRows>) -> Self {
        let out = parts.iter().map(|part| part.count).sum();
        Self { out, width, precision: MatmulPrecision::Highest, parts }
    }

    /// The same matrix, with which products are taken at this precision.
    pub fn at(&self, precision: MatmulPrecision) -> Self {
        Self { precision, ..self.clone() }
    }

    /// Matrices of one width below each other, or `None` if their widths differ.
    pub fn join(several: &[&Self]) -> Option<Self> {
        let width = several.first()?.width;
        let parts = several.iter().flat_map(|one| one.parts.iter().cloned()).collect();
        several.iter().all(|one| one.width == width).then(|| Self::new(width, parts))
    }

    /// What products with it are taken at.
    pub fn precision(&self) -> MatmulPrecision {
        self.precision
    }

    /// `(out, in)`.
    pub fn dims(&self) -> (usize, usize) {
        (self.out, self.width)
    }

    /// How much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// The rows of a range by the parts that they lie in.
    fn runs(&self, rows: Range<usize>) -> impl Iterator<Item = Run<'_>> {
        let mut start = 0;
        self.parts.iter().filter_map(move |part| {
            let own = start..start + part.count;
            start = own.end;
            let (first, end) = (rows.start.max(own.start), rows.end.min(own.end));
            (first < end).then(|| Run {
                part,
                first: first - own.start,
                rows: first - rows.start..end - rows.start,
            })
        })
    }

    /// Numbers `columns` of some rows, row by row. Columns begin and end with blocks.
    fn decode(&self, rows: Range<usize>, columns: Range<usize>, into: &mut [f32]) {
        for Run { part, first, rows } in self.runs(rows) {
            let (row, width) = (part.row_bytes(), columns.len());
            let into = &mut into[rows.start * width..rows.end * width];
            let start = part.tensor_type.bytes(columns.start).expect("a row can be addressed");
            part.tensor_type.decode_rows(&part.bytes[first * row + start..], row, width, into);
        }
    }

    /// The least number of columns that are whole blocks in all parts.
    fn block(&self) -> usize {
        self.parts.iter().map(|part| part.tensor_type.block()).max().unwrap_or(1)
    }

    /// Some of its rows, which lie below each other, in f32: `(rows, in)`.
    pub fn range(&self, rows: Range<usize>) -> Vec<f32> {
        let mut numbers = vec![0f32; rows.len() * self.width];
        let first = rows.start;
        numbers
            .par_chunks_mut(self.width.max(1))
            .enumerate()
            .for_each(|(row, into)| self.decode(first + row..first + row + 1, 0..self.width, into));
        numbers
    }

    /// Some of its rows as a tensor `(rows, in)` of f32.
    ///
    /// # Errors
    /// A row that it does not have.
    pub fn rows(&self, rows: &[u32]) -> Result<Tensor> {
        if let Some(row) = rows.iter().find(|row| **row as usize >= self.out) {
            return Err(Error::Invalid(format!("a matrix of {} rows has no row {row}", self.out)));
        }
        let mut numbers = vec![0f32; rows.len() * self.width];
        for (&row, into) in rows.iter().zip(numbers.chunks_mut(self.width.max(1))) {
            self.decode(row as usize..row as usize + 1, 0..self.width, into);
        }
        self.host(numbers)
    }

    /// A range of its rows as a tensor `(rows, in)` of f32: whatever range, all of them too.
    ///
    /// # Errors
    /// BlockRows that it does not have.
    pub fn tensor(&self, rows: Range<usize>) -> Result<Tensor> {
        if rows.start > rows.end || rows.end > self.out {
            return Err(Error::Invalid(format!("a matrix of {} rows has no rows {rows:?}", self.out)));
        }
        self.host(self.range(rows))
    }

    fn host(&self, numbers: Vec<f32>) -> Result<Tensor> {
        let rows = numbers.len() / self.width.max(1);
        #[expect(clippy::disallowed_methods, reason = "matrices in blocks are on the host")]
        let tensor = Tensor::from_vec(numbers, (rows, self.width), &Device::Cpu)?;
        Ok(tensor)
    }

    /// The type that its numbers are taken apart in.
    pub fn dtype(&self) -> DType {
        DType::F32
    }

    /// `target (+)= left · Wᵀ`, or `left · W` on the way back, in f32.
    ///
    /// # Errors
    /// A left factor of another width.
    pub(in crate::autodiff) fn multiply(&self, way: Way, left: Left<'_>, target: Target<'_>) -> Result<()> {
        self.multiply_by(CpuKernel::chosen(), way, left, target)
    }

    fn multiply_by(&self, kernel: CpuKernel, way: Way, left: Left<'_>, target: Target<'_>) -> Result<()> {
        let dims = match way {
            Way::Forward => (self.width, self.out),
            Way::Back => (self.out, self.width),
        };
        require_fit(&left, &target, dims)?;
        let Left { numbers, stride, rows, width } = left;
        match way {
            Way::Forward if rows <= FEW_ROWS => {
                few::multiply(self, Left { numbers, stride, rows, width }, target)
            }
            Way::Forward => Product::new(numbers, stride, rows, target).by_widened(&Along(self), kernel),
            Way::Back => Product::new(numbers, stride, rows, target).by_widened(&Across(self), kernel),
        }
        Ok(())
    }
}
