//! Sums of matrix products into one buffer: the form for the CPU.
//!
//! Candle's own product allocates a result for every term of a sum, and asks the system for the number of
//! processors at every call, which costs more than a small product itself. This module calls the same
//! `gemm` kernels with accumulation.

#![allow(clippy::disallowed_methods)] // The loops of the CPU: nothing is copied to another device.

mod host;

use std::mem::MaybeUninit;

use candle_core::{CpuStorage, DType, Device, Layout, Storage, Tensor};

use gemm::Parallelism;
use rayon::prelude::*;

use super::gemv::{self, Rows};
use super::product::{Factor, Part, Sum, Term};
use super::room::{Room, written, zeroed};
use super::{Dual, Ops, Real};
use crate::config::MatmulPrecision;
use crate::{Error, Result};
use host::{Host, Product};

/// Most rows of a product that is cheaper without packing its right factor.
const THIN_ROWS: usize = 64;

/// Multiplications of one matrix of a batch that are worth a thread's while.
const PIECE: usize = 1 << 16;

/// A sum of products on the CPU, stacked where it varies; `None` for tensors elsewhere.
pub(super) fn sum(sum: &Sum) -> Result<Option<Dual>> {
    if !sum.terms[0].left.device().is_cpu() {
        return Ok(None);
    }
    match sum.dtype() {
        DType::F32 => sum_as::<f32>(sum).map(Some),
        DType::F64 => sum_as::<f64>(sum).map(Some),
        other => Err(Error::Invalid(format!("products are taken in f32 or f64, not {other:?}"))),
    }
}

fn sum_as<R: Product>(sum: &Sum) -> Result<Dual> {
    let mut dims = sum.dims();
    let (half_len, columns): (usize, usize) = (dims.iter().product(), sum.columns);
    let halves = if sum.varies() { 2 } else { 1 };
    let mut room = Room::<R>::new(halves * half_len);
    let places = room.places();
    // Which halves hold numbers already.
    let mut begun = [false; 2];
    if let Some(bias) = &sum.bias {
        write_bias(&mut places[..half_len], columns, &bias.to_dtype(R::DTYPE)?.to_vec1()?)?;
        begun[0] = true;
    }
    let mut rest = &sum.terms[..];
    while let [term, behind @ ..] = rest {
        rest = behind;
        let range = match term.part {
            Part::Primal => 0..1,
            Part::Tangent => 1..2,
            Part::Both => 0..2,
        };
        let fresh = term.columns() == columns && !begun[range.clone()].contains(&true);
        for half in range.clone() {
            if !(fresh || begun[half]) {
                zeroed(&mut places[half * half_len..(half + 1) * half_len]);
            }
            begun[half] = true;
        }
        let target = Target {
            numbers: &mut places[range.start * half_len..range.end * half_len],
            columns,
            first: term.column,
        };
        if add_term::<R>(target, term, behind, sum.options.precision, fresh)? {
            rest = &[];
        }
    }
    for half in (0..halves).filter(|half| !begun[*half]) {
        zeroed(&mut places[half * half_len..(half + 1) * half_len]);
    }
    // SAFETY: each half was written: with the bias, with zeros, or by a fresh term, which writes all columns of all rows.
    #[allow(unsafe_code)]
    let result = unsafe { room.filled() };
    if sum.varies() {
        dims.insert(0, 2);
        return Dual::from_stacked(Tensor::from_vec(result, dims, &Device::Cpu)?);
    }
    Ok(Dual::constant(&Tensor::from_vec(result, dims, &Device::Cpu)?))
}

/// Writes the bias to every row.
fn write_bias<R: Real>(places: &mut [MaybeUninit<R>], columns: usize, bias: &[R]) -> Result<()> {
    if bias.len() != columns {
        let bias = bias.len();
        return Err(Error::Invalid(format!("no sum of {columns} columns with a bias of {bias}")));
    }
    for row in places.chunks_exact_mut(columns.max(1)) {
        row.iter_mut().zip(bias).for_each(|(place, &bias)| {
            place.write(bias);
        });
    }
    Ok(())
}

/// Adds one term to its columns, matrix by matrix of the batch; if it is `fresh`, it has all columns, and is written to
/// places that need not hold numbers yet. Says whether it has added the terms `behind` it as well.
fn add_term<R: Product>(
    mut target: Target<'_, R>,
    term: &Term,
    behind: &[Term],
    precision: MatmulPrecision,
    fresh: bool,
) -> Result<bool> {
    let left = match term.part {
        Part::Both => evenly_spaced(&term.left)?,
        _ => term.left.clone(),
    };
    let host = match &term.right {
        Factor::Packed(packed, way) => Some((Host::Packed(packed), *way)),
        Factor::Blocked(blocked, way) => Some((Host::Blocked(blocked), *way)),
        Factor::Tensor(_) => None,
    };
    if let Some((right, way)) = host {
        return host::add::<R>(target, &left, term.part, (right, way), behind, fresh);
    }
    let right = term.widened()?;
    let (left_guard, left_layout) = left.storage_and_layout();
    let (right_guard, right_layout) = right.storage_and_layout();
    let (left, right) = (numbers::<R>(&left_guard)?, numbers::<R>(&right_guard)?);
    let lefts = match term.part {
        // Both halves share the right factor: one product of twice the rows.
        Part::Both => vec![Matrix::halves(left, left_layout)],
        _ => Matrix::batch(left, left_layout),
    };
    let rights = Matrix::batch(right, right_layout);
    let rows: usize = lefts.iter().map(|left| left.rows).sum();
    if lefts.len() != rights.len() || rows * target.columns != target.numbers.len() {
        let (left, right) = (left_layout.shape(), right_layout.shape());
        return Err(Error::Invalid(format!("no product of shapes {left:?} and {right:?}")));
    }
    if !R::add_varying(&mut target, (&lefts, &rights), precision, fresh)? {
        add_batch(target, &lefts, &rights, fresh)?;
    }
    Ok(false)
}

/// Adds the products of a batch, whose rows follow each other in the target.
fn add_batch<R: Real>(
    Target { numbers, columns, first }: Target<'_, R>,
    lefts: &[Matrix<'_, R>],
    rights: &[Matrix<'_, R>],
    fresh: bool,
) -> Result<()> {
    let block = (numbers.len() / lefts.len().max(1)).max(1);
    let one = |share: Parallelism, ((left, right), numbers): ((&Matrix<'_, R>, &Matrix<'_, R>), _)| {
        product(&mut Target { numbers, columns, first }, left, right, fresh, share)
    };
    // As many matrices as threads: each takes its own, rather than all wait for each other at every matrix.
    if lefts.len() > 1 && lefts.len() >= rayon::current_num_threads() && block * lefts[0].columns >= PIECE {
        let pairs = lefts.par_iter().zip(rights).zip(numbers.par_chunks_exact_mut(block));
        return pairs.try_for_each(|pair| one(Parallelism::None, pair));
    }
    let mut pairs = lefts.iter().zip(rights).zip(numbers.chunks_exact_mut(block));
    pairs.try_for_each(|pair| one(Parallelism::Rayon(0), pair))
}

/// The halves of a stack as one matrix: a copy only if they do not lie so.
fn evenly_spaced(stack: &Tensor) -> Result<Tensor> {
    let even = stack.stride()[0] == stack.dims()[1] * stack.stride()[1];
    Ok(if even { stack.clone() } else { stack.contiguous()? })
}

/// Some of the columns of a row-major matrix.
struct Target<'a, R> {
    numbers: &'a mut [MaybeUninit<R>],
    /// Columns of the whole matrix.
    columns: usize,
    /// The first of those that are meant.
    first: usize,
}

fn numbers<R: Real>(storage: &Storage) -> Result<&[R]> {
    match storage {
        Storage::Cpu(storage) => Ok(CpuStorage::as_slice::<R>(storage)?),
        _ => Err(Error::Invalid("the factors of a product are on different devices".into())),
    }
}

/// One matrix of a batch, in place.
struct Matrix<'a, R> {
    numbers: &'a [R],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, R: Real> Matrix<'a, R> {
    /// All matrices of a batch.
    fn batch(numbers: &'a [R], layout: &Layout) -> Vec<Self> {
        let count = layout.dims()[..layout.dims().len() - 2].iter().product();
        (0..count).map(|index| Self::new(numbers, layout, index)).collect()
    }

    /// The evenly spaced halves of a stack `(2, m, k)`, as one matrix of twice the rows.
    fn halves(numbers: &'a [R], layout: &Layout) -> Self {
        let first = Self::new(numbers, layout, 0);
        Self { rows: 2 * first.rows, ..first }
    }

    /// The one matrix that a term's left factor must be beside a frozen one.
    fn of_part(numbers: &'a [R], layout: &Layout, part: Part) -> Result<Self> {
        match part {
            Part::Both => Ok(Self::halves(numbers, layout)),
            _ if layout.dims().len() == 2 => Ok(Self::new(numbers, layout, 0)),
            _ => Err(Error::Invalid("a frozen factor takes one matrix at a time".into())),
        }
    }

    /// Some of its columns.
    fn some_columns(&self, first: usize, count: usize) -> Self {
        Self { numbers: &self.numbers[first * self.column_stride..], columns: count, ..*self }
    }

    /// Matrix `index` of a batch laid out as `layout` in `numbers`.
    fn new(numbers: &'a [R], layout: &Layout, mut index: usize) -> Self {
        let (dims, strides) = (layout.dims(), layout.stride());
        let rank = dims.len();
        let mut start = layout.start_offset();
        for axis in (0..rank - 2).rev() {
            start += index % dims[axis] * strides[axis];
            index /= dims[axis];
        }
        Self {
            numbers: &numbers[start..],
            rows: dims[rank - 2],
            columns: dims[rank - 1],
            row_stride: strides[rank - 2],
            column_stride: strides[rank - 1],
        }
    }

    /// Whether every element lies within the numbers.
    fn fits(&self) -> bool {
        let last = (self.rows.max(1) - 1) * self.row_stride + (self.columns.max(1) - 1) * self.column_stride;
        self.rows * self.columns == 0 || last < self.numbers.len()
    }
}

/// `target = left · right`, or `+=` unless `fresh`; `share` says whether threads share it.
fn product<R: Real>(
    target: &mut Target<'_, R>,
    left: &Matrix<'_, R>,
    right: &Matrix<'_, R>,
    fresh: bool,
    share: Parallelism,
) -> Result<()> {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    let room = target.numbers.len() == m * target.columns && target.first + n <= target.columns;
    if !(left.fits() && right.fits() && k == right.rows && room) {
        let right = right.rows;
        return Err(Error::Invalid(format!("no product of matrices ({m}, {k}) and ({right}, {n})")));
    }
    if m * n == 0 {
        return Ok(());
    }
    let numbers = &mut target.numbers[target.first..];
    if k == 0 {
        // Nothing is added; a fresh target has no other columns.
        if fresh {
            zeroed(numbers);
        }
        return Ok(());
    }
    if m == 1 && left.column_stride == 1 && right.row_stride == 1 {
        // One row by a transposed matrix.
        let rows = Rows { numbers: right.numbers, stride: right.column_stride };
        let row = &mut numbers[..n];
        // SAFETY: what is not fresh holds numbers.
        #[allow(unsafe_code)]
        let row = if fresh { zeroed(row) } else { unsafe { written(row) } };
        gemv::accumulate(row, &left.numbers[..k], rows, &[]);
        return Ok(());
    }
    if (2..=THIN_ROWS).contains(&m) && right.row_stride == 1 {
        thin_product(numbers, target.columns, left, right, fresh, share);
        return Ok(());
    }
    // SAFETY: the target has m rows with room for n columns from its first; that both factors fit was just checked.
    #[allow(unsafe_code)]
    unsafe {
        multiply(numbers, (target.columns, 1), left, right, fresh, share);
    }
    Ok(())
}

/// `target = left · right`, or `+=` unless `fresh`, for few rows and a right factor whose columns are contiguous; the rows
/// of the target are `stride` numbers apart.
///
/// `gemm` turns a product with a row-major target around and packs the right factor, which for few rows costs
/// more than the product. With a column-major target it reads such a factor from its place.
fn thin_product<R: Real>(
    target: &mut [MaybeUninit<R>],
    stride: usize,
    left: &Matrix<'_, R>,
    right: &Matrix<'_, R>,
    fresh: bool,
    share: Parallelism,
) {
    let (m, n) = (left.rows, right.columns);
    let mut room = Room::new(m * n);
    // SAFETY: the room is m × n and column-major, and all of it is written; the caller has checked that both factors fit.
    #[allow(unsafe_code)]
    let columns = unsafe {
        multiply(room.places(), (1, m), left, right, true, share);
        room.filled()
    };
    for i in 0..m {
        let row = &mut target[i * stride..][..n];
        let values = columns[i..].iter().step_by(m);
        if fresh {
            row.iter_mut().zip(values).for_each(|(place, &value)| {
                place.write(value);
            });
            continue;
        }
        // SAFETY: what is not fresh holds numbers.
        #[allow(unsafe_code)]
        let row = unsafe { written(row) };
        row.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value);
    }
}

/// `target = left · right`, or `+=` unless `fresh`; `strides` are the target's, from row to row and from column
/// to column.
///
/// # Safety
/// Both factors must fit their numbers and each other, and every element of the target its slice; unless the product is
/// fresh, the target holds numbers.
#[allow(unsafe_code)]
unsafe fn multiply<R: Real>(
    target: &mut [MaybeUninit<R>],
    strides: (usize, usize),
    left: &Matrix<'_, R>,
    right: &Matrix<'_, R>,
    fresh: bool,
    share: Parallelism,
) {
    let one = R::of(1.0);
    let alpha = if fresh { R::default() } else { one };
    // SAFETY: by the caller's word all strides and sizes stay within their slices; the target is borrowed
    // mutably, so that it overlaps neither factor.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            target.as_mut_ptr().cast(),
            strides.1 as isize,
            strides.0 as isize,
            !fresh,
            left.numbers.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.numbers.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            alpha,
            one,
            false,
            false,
            false,
            share,
        );
    }
}

#[cfg(test)]
mod tests;
