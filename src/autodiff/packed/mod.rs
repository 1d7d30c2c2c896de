//! Frozen matrices on the CPU, packed once for the loops that multiply with them.
//!
//! A packed matrix is kept in f32 or in bf16, in panels (`layout.rs`), for the product with W when it is packed, for the
//! product with Wᵀ's transpose, which only gradients need, when that is first asked for. No step packs it again.
//!
//! How exactly a product is taken is the matrix's [`MatmulPrecision`]; with which instructions, the machine's business
//! ([`CpuKernel`]). What a product *is* does not depend on the machine but in its rounding: of a matrix in bf16 and a left
//! factor of f32 numbers, `medium` takes what one number of bf16 keeps of each, `high` what two keep, `highest` all. Where
//! there are no instructions for bf16 the left factor is rounded so, and multiplied in f32.

#[cfg(target_arch = "x86_64")]
mod amx;
mod kernel;
mod layout;
mod micro;
mod multiply;
mod planes;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use half::bf16;

use crate::config::MatmulPrecision;
use crate::{Error, Result};

use layout::{Packable, Panels};
use multiply::Product;
use planes::kept;

pub use kernel::{CpuKernel, KERNEL};

/// Up to so many rows are multiplied in f32 where the kernel would take bf16: memory sets the pace there.
const FEW_ROWS: usize = 6;

/// A frozen matrix W, `(out, in)`.
#[derive(Debug)]
pub struct Packed {
    out: usize,
    width: usize,
    precision: MatmulPrecision,
    numbers: Numbers,
}

#[derive(Debug)]
enum Numbers {
    F32(Both<f32>),
    Bf16(Both<bf16>),
}

/// Both ways of a matrix.
#[derive(Debug)]
struct Both<T> {
    /// Wᵀ: `(in, out)`.
    forward: Panels<T>,
    /// W: `(out, in)`.
    back: OnceLock<Panels<T>>,
}

/// Which way a matrix is multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `x Wᵀ`.
    Forward,
    /// `dy W`.
    Back,
}

impl<T: Packable> Both<T> {
    fn back(&self) -> &Panels<T> {
        self.back.get_or_init(|| {
            let forward = &self.forward;
            Panels::pack(forward.columns, forward.depth, |row, column| forward.get(column, row))
        })
    }

    fn way(&self, way: Way) -> &Panels<T> {
        match way {
            Way::Forward => &self.forward,
            Way::Back => self.back(),
        }
    }
}

impl Packed {
    /// Packs a matrix of f32 or bf16 on the CPU; `None` for any other. Numbers of f32 are packed in bf16, in half the
    /// memory, where that loses nothing, as of weights that were published so; and at `medium`, which rounds them.
    ///
    /// # Errors
    /// A tensor that is no matrix.
    pub fn new(matrix: &Tensor, precision: MatmulPrecision) -> Result<Option<Self>> {
        let (out, width) = matrix.dims2()?;
        let matrix = matrix.contiguous()?;
        let (storage, layout) = matrix.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { return Ok(None) };
        let range = layout.start_offset()..layout.start_offset() + out * width;
        fn both<S: Copy + Sync, T: Packable>(
            numbers: &[S],
            shape: (usize, usize),
            of: fn(S) -> T,
        ) -> Both<T> {
            let (out, width) = shape;
            let forward = Panels::pack(width, out, |row, column| of(numbers[column * width + row]));
            Both { forward, back: OnceLock::new() }
        }
        let numbers = match storage {
            CpuStorage::F32(numbers)
                if precision == MatmulPrecision::Medium || are_bf16(&numbers[range.clone()]) =>
            {
                Numbers::Bf16(both(&numbers[range], (out, width), bf16::from_f32))
            }
            CpuStorage::F32(numbers) => Numbers::F32(both(&numbers[range], (out, width), |number| number)),
            CpuStorage::BF16(numbers) => Numbers::Bf16(both(&numbers[range], (out, width), |number| number)),
            _ => return Ok(None),
        };
        Ok(Some(Self { out, width, precision, numbers }))
    }

    /// `(out, in)`.
    pub fn dims(&self) -> (usize, usize) {
        (self.out, self.width)
    }

    /// The type that it is kept in.
    pub fn dtype(&self) -> DType {
        match self.numbers {
            Numbers::F32(_) => DType::F32,
            Numbers::Bf16(_) => DType::BF16,
        }
    }

    /// Packs it for gradients too, if that was not done.
    pub fn pack_back(&self) {
        match &self.numbers {
            Numbers::F32(both) => drop(both.back()),
            Numbers::Bf16(both) => drop(both.back()),
        }
    }

    /// The matrix as a tensor, `(out, in)`, in the type that it is kept in.
    ///
    /// # Errors
    /// None but what tensors refuse.
    pub fn tensor(&self) -> Result<Tensor> {
        let rows: Vec<usize> = (0..self.out).collect();
        match &self.numbers {
            Numbers::F32(both) => self.gather(both, &rows),
            Numbers::Bf16(both) => self.gather(both, &rows),
        }
    }

    /// Some of its rows in f32, `(rows, in)`.
    ///
    /// # Errors
    /// A row that it does not have.
    pub fn rows(&self, rows: &[u32]) -> Result<Tensor> {
        let rows: Vec<usize> = rows.iter().map(|&row| row as usize).collect();
        if let Some(row) = rows.iter().find(|row| **row >= self.out) {
            return Err(Error::Invalid(format!("a matrix of {} rows has no row {row}", self.out)));
        }
        match &self.numbers {
            Numbers::F32(both) => self.gather(both, &rows),
            Numbers::Bf16(both) => Ok(self.gather(both, &rows)?.to_dtype(DType::F32)?),
        }
    }

    fn gather<T: Packable + candle_core::WithDType>(&self, both: &Both<T>, rows: &[usize]) -> Result<Tensor> {
        let mut numbers = Vec::with_capacity(rows.len() * self.width);
        for &row in rows {
            numbers.extend((0..self.width).map(|column| both.forward.get(column, row)));
        }
        #[expect(clippy::disallowed_methods, reason = "packed matrices are on the host")]
        Ok(Tensor::from_vec(numbers, (rows.len(), self.width), &Device::Cpu)?)
    }

    /// `target (+)= left · Wᵀ`, or `left · W` on the way back; see [`Product`].
    ///
    /// # Errors
    /// A left factor of another width.
    pub(super) fn multiply(&self, way: Way, left: Left<'_>, target: Target<'_>) -> Result<()> {
        self.multiply_by(CpuKernel::chosen(), way, left, target)
    }

    fn multiply_by(&self, kernel: CpuKernel, way: Way, left: Left<'_>, target: Target<'_>) -> Result<()> {
        let (depth, columns) = match way {
            Way::Forward => (self.width, self.out),
            Way::Back => (self.out, self.width),
        };
        let Left { numbers, stride, rows, width } = left;
        let fits =
            target.numbers.len() >= rows.saturating_sub(1) * target.stride + columns.min(rows * columns);
        if width != depth || !fits || target.stride < columns {
            return Err(Error::Invalid(format!(
                "no product of matrices ({rows}, {width}) and ({depth}, {columns})"
            )));
        }
        let planes = match self.precision {
            MatmulPrecision::Medium => Some(1),
            MatmulPrecision::High => Some(2),
            MatmulPrecision::Highest => None,
        };
        match &self.numbers {
            // More exact than `high` asks for.
            Numbers::F32(both) => Product::new(numbers, stride, rows, target).by_f32(both.way(way), kernel),
            Numbers::Bf16(both) => {
                let (panels, many) = (both.way(way), rows > FEW_ROWS);
                // Three products of bf16 are worth it on tiles alone.
                let taken = planes.or((kernel == CpuKernel::Amx).then_some(3));
                match taken.filter(|_| kernel.takes_bf16() && many) {
                    Some(planes) => {
                        Product::new(numbers, stride, rows, target).by_planes(panels, planes, kernel)
                    }
                    None => {
                        let (numbers, stride) = rounded(numbers, stride, rows, width, planes);
                        Product::new(&numbers, stride, rows, target).by_widened(panels, kernel);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether numbers of bf16 can hold all of these.
fn are_bf16(numbers: &[f32]) -> bool {
    numbers.iter().all(|number| number.to_bits() & 0xffff == 0)
}

/// What `planes` planes keep of the rows of a left factor; all of it where there is no number.
fn rounded(
    numbers: &[f32],
    stride: usize,
    rows: usize,
    width: usize,
    planes: Option<usize>,
) -> (Cow<'_, [f32]>, usize) {
    let Some(planes) = planes else { return (Cow::Borrowed(numbers), stride) };
    let row = |row: usize| numbers[row * stride..][..width].iter().map(|&number| kept(number, planes));
    (Cow::Owned((0..rows).flat_map(row).collect()), width)
}

/// A left factor: `rows` rows of `width` numbers, `stride` apart.
pub(super) struct Left<'a> {
    pub numbers: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub width: usize,
}

/// Where a product goes: rows that are `stride` numbers apart; added to what is there, or over it.
pub(super) struct Target<'a> {
    pub numbers: &'a mut [f32],
    pub stride: usize,
    pub add: bool,
}
