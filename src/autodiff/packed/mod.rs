//! Frozen matrices of bf16 on the CPU, packed once for the loops that multiply with them.
//!
//! Published weights are bf16, whatever type a file holds them in, so that a frozen factor loses nothing. It is kept in
//! panels (`layout.rs`): for the product `x Wᵀ` when it is packed, for `dy W`, which gradients alone need, when that is
//! first asked for. No step packs it again.
//!
//! How exactly a product is taken is the matrix's [`MatmulPrecision`]; with which instructions, the machine's business
//! ([`CpuKernel`]). What a product *is* depends on the machine in its rounding alone: `medium` takes what one number of
//! bf16 keeps of each number of the left factor, `high` what two keep, `highest` all. Where there are no instructions for
//! bf16 the left factor is rounded so, and multiplied in f32.
//!
//! Matrices of f32 that bf16 does not hold stay tensors, and are multiplied in f32: packed for both ways they took twice
//! the memory, and no less time.

mod aligned;
#[cfg(target_arch = "x86_64")]
mod amx;
mod blocked;
#[cfg(target_arch = "x86_64")]
mod cut;
mod kernel;
mod layout;
#[cfg(target_arch = "x86_64")]
mod losses;
mod micro;
mod multiply;
mod planes;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod varying;
mod widened;

use std::mem::MaybeUninit;
use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use half::bf16;

use crate::config::MatmulPrecision;
use crate::{Error, Result};

use layout::Panels;
#[cfg(target_arch = "x86_64")]
use multiply::FEW_ROWS;
use multiply::Product;

pub use blocked::{BlockRows, Blocked};
pub use kernel::{CpuKernel, KERNEL};
#[cfg(target_arch = "x86_64")]
pub(super) use losses::Predictions;
#[cfg(target_arch = "x86_64")]
pub(super) use varying::{multiply as multiply_varying, planes_for};

/// A frozen matrix W, `(out, in)`.
#[derive(Debug)]
pub struct Packed {
    out: usize,
    width: usize,
    /// The type that it had.
    dtype: DType,
    precision: MatmulPrecision,
    /// Wᵀ: `(in, out)`.
    forward: Panels,
    /// W: `(out, in)`.
    back: OnceLock<Panels>,
}

/// Which way a matrix is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `x Wᵀ`.
    Forward,
    /// `dy W`.
    Back,
}

impl Packed {
    /// Packs a matrix on the CPU: of bf16, or of f32 where bf16 holds its numbers or, at `medium`, rounds them. `None` for
    /// any other.
    ///
    /// # Errors
    /// A tensor that is no matrix.
    pub fn new(matrix: &Tensor, precision: MatmulPrecision) -> Result<Option<Self>> {
        let (out, width) = matrix.dims2()?;
        let matrix = matrix.contiguous()?;
        let (storage, layout) = matrix.storage_and_layout();
        let range = layout.start_offset()..layout.start_offset() + out * width;
        let forward = match &*storage {
            Storage::Cpu(CpuStorage::BF16(numbers)) => {
                let numbers = &numbers[range];
                Panels::pack(width, out, |row, column| numbers[column * width + row])
            }
            Storage::Cpu(CpuStorage::F32(numbers))
                if precision == MatmulPrecision::Medium || are_bf16(&numbers[range.clone()]) =>
            {
                let numbers = &numbers[range];
                Panels::pack(width, out, |row, column| bf16::from_f32(numbers[column * width + row]))
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { out, width, dtype: matrix.dtype(), precision, forward, back: OnceLock::new() }))
    }

    /// `(out, in)`.
    pub fn dims(&self) -> (usize, usize) {
        (self.out, self.width)
    }

    /// What products with it are taken at.
    pub fn precision(&self) -> MatmulPrecision {
        self.precision
    }

    /// The type that it had before it was packed.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// How much memory it takes where it is packed both ways, in bytes.
    pub fn bytes(&self) -> usize {
        Panels::bytes_of(self.width, self.out) + Panels::bytes_of(self.out, self.width)
    }

    /// Packs it for gradients too, if that was not done.
    pub fn pack_back(&self) {
        self.way(Way::Back);
    }

    fn way(&self, way: Way) -> &Panels {
        let back = || Panels::pack(self.out, self.width, |row, column| self.forward.get(column, row));
        match way {
            Way::Forward => &self.forward,
            Way::Back => self.back.get_or_init(back),
        }
    }

    /// The matrix as a tensor, `(out, in)`, in the type that it had.
    ///
    /// # Errors
    /// None but what tensors refuse.
    pub fn tensor(&self) -> Result<Tensor> {
        let rows: Vec<u32> = (0..self.out as u32).collect();
        self.rows(&rows)
    }

    /// Some of its rows, `(rows, in)`, in the type that it had.
    ///
    /// # Errors
    /// A row that it does not have.
    pub fn rows(&self, rows: &[u32]) -> Result<Tensor> {
        if let Some(row) = rows.iter().find(|row| **row as usize >= self.out) {
            return Err(Error::Invalid(format!("a matrix of {} rows has no row {row}", self.out)));
        }
        let mut numbers = Vec::with_capacity(rows.len() * self.width);
        for &row in rows {
            numbers.extend((0..self.width).map(|column| self.forward.get(column, row as usize)));
        }
        #[expect(clippy::disallowed_methods, reason = "packed matrices are on the host")]
        let rows = Tensor::from_vec(numbers, (rows.len(), self.width), &Device::Cpu)?;
        Ok(rows.to_dtype(self.dtype)?)
    }

    /// `target (+)= left · Wᵀ`, or `left · W` on the way back; see [`Product`]. Where the kernel can, it adds all of the
    /// low-rank products in the same pass; says whether it did.
    ///
    /// # Errors
    /// A left factor of another width.
    pub(super) fn multiply(
        &self,
        way: Way,
        left: Left<'_>,
        low: &[LowTerm<'_>],
        target: Target<'_>,
    ) -> Result<bool> {
        self.multiply_by(CpuKernel::chosen(), way, left, low, target)
    }

    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(unused_variables, reason = "low-rank products ride on tiles")
    )]
    fn multiply_by(
        &self,
        kernel: CpuKernel,
        way: Way,
        left: Left<'_>,
        low: &[LowTerm<'_>],
        target: Target<'_>,
    ) -> Result<bool> {
        let (depth, columns) = match way {
            Way::Forward => (self.width, self.out),
            Way::Back => (self.out, self.width),
        };
        require_fit(&left, &target, (depth, columns))?;
        let Left { numbers, stride, rows, .. } = left;
        let panels = self.way(way);
        #[cfg(target_arch = "x86_64")]
        {
            let planes = planes(self.precision);
            // Three products of bf16 are worth it on tiles alone.
            let taken = planes.or((kernel == CpuKernel::Amx).then_some(3));
            if let Some(taken) = taken.filter(|_| kernel.takes_bf16() && rows > FEW_ROWS) {
                let riding = varying::low_planes(self.precision).filter(|_| kernel == CpuKernel::Amx);
                let riding = riding.and_then(|planes| varying::low(low, planes, (rows, columns)));
                let product = Product::new(numbers, stride, rows, target);
                product.by_planes(panels, taken, riding.as_deref().unwrap_or_default(), kernel);
                return Ok(riding.is_some());
            }
        }
        // Instructions for f32 lose nothing, and what they would round first only takes time.
        Product::new(numbers, stride, rows, target).by_panels(panels, kernel);
        Ok(false)
    }
}

/// Refuses factors and a target that do not fit a matrix `(depth, columns)`.
fn require_fit(left: &Left<'_>, target: &Target<'_>, (depth, columns): (usize, usize)) -> Result<()> {
    let &Left { rows, width, .. } = left;
    let fits = target.numbers.len() >= rows.saturating_sub(1) * target.stride + columns.min(rows * columns);
    match width == depth && fits && target.stride >= columns {
        true => Ok(()),
        false => {
            let shapes = format!("({rows}, {width}) and ({depth}, {columns})");
            Err(Error::Invalid(format!("no product of matrices {shapes}")))
        }
    }
}

/// Planes of bf16 that a left factor may be rounded to; `None` where it must not.
#[cfg(target_arch = "x86_64")]
fn planes(precision: MatmulPrecision) -> Option<usize> {
    match precision {
        MatmulPrecision::Medium => Some(1),
        MatmulPrecision::High => Some(2),
        MatmulPrecision::Highest => None,
    }
}

/// Whether numbers of bf16 can hold all of these.
fn are_bf16(numbers: &[f32]) -> bool {
    numbers.iter().all(|number| number.to_bits() & 0xffff == 0)
}

/// A left factor: `rows` rows of `width` numbers, `stride` apart.
pub(super) struct Left<'a> {
    pub numbers: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub width: usize,
}

/// Where a product goes: rows that are `stride` numbers apart; added to what is there, which must then be numbers, or over
/// it, whether it was written before or not.
pub(super) struct Target<'a> {
    pub numbers: &'a mut [MaybeUninit<f32>],
    pub stride: usize,
    pub add: bool,
}

/// A matrix of f32, however it lies.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub numbers: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

#[cfg(target_arch = "x86_64")]
impl View<'_> {
    /// Whether the numbers of a row stand side by side, or those of a column.
    pub fn lies_along(&self) -> bool {
        self.row_stride == 1 || self.column_stride == 1
    }

    /// Whether every number is there, and they lie along.
    fn fits(&self) -> bool {
        let last = (self.rows.max(1) - 1) * self.row_stride + (self.columns.max(1) - 1) * self.column_stride;
        self.lies_along() && (self.rows * self.columns == 0 || last < self.numbers.len())
    }
}

/// A low-rank product beside one with a frozen matrix.
#[derive(Clone, Copy)]
pub(super) struct LowTerm<'a> {
    /// The row of the product that its first row is added to.
    pub first_row: usize,
    pub left: View<'a>,
    /// The first of the columns that it is added to.
    pub column: usize,
    pub right: View<'a>,
}
