//! Sums of matrix products into one buffer: the form for the CPU.
//!
//! Candle's own product allocates a result for every term of a sum, and asks the system for the number of
//! processors at every call, which costs more than a small product itself. This module calls the same
//! `gemm` kernels with accumulation.

#![allow(clippy::disallowed_methods)] // The loops of the CPU: nothing is copied to another device.

use candle_core::{CpuStorage, DType, Device, Layout, Storage, Tensor};

use super::gemv::{self, Rows};
use super::product::{Part, Sum, Term};
use super::{Dual, Ops, Real};
use crate::{Error, Result};

/// Most rows of a product that is cheaper without packing its right factor.
const THIN_ROWS: usize = 64;

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

fn sum_as<R: Real>(sum: &Sum) -> Result<Dual> {
    let Sum { bias, terms } = sum;
    let mut dims = terms[0].left.dims().to_vec();
    if terms[0].part == Part::Both {
        dims.remove(0);
    }
    let (rank, columns) = (dims.len(), *terms[0].right.dims().last().unwrap_or(&0));
    dims[rank - 1] = columns;
    let half_len: usize = dims.iter().product();
    let matrix_len = dims[rank - 2] * columns;
    let mut result = vec![R::default(); if sum.varies() { 2 * half_len } else { half_len }];
    if let Some(bias) = bias {
        let bias = bias.to_dtype(R::DTYPE)?.to_vec1::<R>()?;
        result[..half_len].chunks_exact_mut(columns).for_each(|row| row.copy_from_slice(&bias));
    }
    for (index, term) in terms.iter().enumerate() {
        let target = match term.part {
            Part::Primal => &mut result[..half_len],
            Part::Tangent => &mut result[half_len..],
            Part::Both => &mut result[..],
        };
        let fresh = index == 0 && bias.is_none();
        add_term::<R>(target, matrix_len, term, fresh)?;
    }
    if sum.varies() {
        dims.insert(0, 2);
        return Dual::from_stacked(Tensor::from_vec(result, dims, &Device::Cpu)?);
    }
    Ok(Dual::constant(&Tensor::from_vec(result, dims, &Device::Cpu)?))
}

/// Adds one term, matrix by matrix of the batch; `fresh` says that the target is still empty.
fn add_term<R: Real>(target: &mut [R], matrix_len: usize, term: &Term, fresh: bool) -> Result<()> {
    let (left, right) = match term.part {
        // Both halves share the right factor: one product of twice the rows.
        Part::Both => {
            let (two, m, k) = term.left.dims3()?;
            (term.left.reshape((two * m, k))?, term.widened()?)
        }
        _ => (term.left.clone(), term.widened()?),
    };
    let (left_guard, left_layout) = left.storage_and_layout();
    let (right_guard, right_layout) = right.storage_and_layout();
    let (left, right) = (numbers::<R>(&left_guard)?, numbers::<R>(&right_guard)?);
    let batch: usize = batch_dims(left_layout).iter().product();
    if batch != batch_dims(right_layout).iter().product::<usize>() {
        let (left, right) = (left_layout.shape(), right_layout.shape());
        return Err(Error::Invalid(format!("no product of shapes {left:?} and {right:?}")));
    }
    let size = if term.part == Part::Both { target.len() } else { matrix_len };
    for (index, target) in target.chunks_exact_mut(size.max(1)).take(batch).enumerate() {
        product(
            target,
            &Matrix::new(left, left_layout, index),
            &Matrix::new(right, right_layout, index),
            fresh,
        )?;
    }
    Ok(())
}

fn batch_dims(layout: &Layout) -> &[usize] {
    &layout.dims()[..layout.dims().len() - 2]
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

/// `target = left · right`, or `+=` unless `fresh`; the target is row-major.
fn product<R: Real>(
    target: &mut [R],
    left: &Matrix<'_, R>,
    right: &Matrix<'_, R>,
    fresh: bool,
) -> Result<()> {
    let (m, k, n) = (left.rows, left.columns, right.columns);
    let fits = left.fits() && right.fits() && k == right.rows && target.len() == m * n;
    if !fits {
        let right = right.rows;
        return Err(Error::Invalid(format!("no product of matrices ({m}, {k}) and ({right}, {n})")));
    }
    if m == 1 && k > 0 && left.column_stride == 1 && right.row_stride == 1 {
        // One row by a transposed matrix: a fresh target holds zeros, so adding to it is right either way.
        let rows = Rows { numbers: right.numbers, stride: right.column_stride };
        gemv::accumulate(target, &left.numbers[..k], rows, None);
        return Ok(());
    }
    if (2..=THIN_ROWS).contains(&m) && right.row_stride == 1 {
        thin_product(target, left, right);
        return Ok(());
    }
    // SAFETY: the target is m × n and row-major; that both factors fit was just checked.
    #[allow(unsafe_code)]
    unsafe {
        multiply(target, (n, 1), left, right, fresh);
    }
    Ok(())
}

/// `target += left · right` for few rows and a right factor whose columns are contiguous.
///
/// `gemm` turns a product with a row-major target around and packs the right factor, which for few rows costs
/// more than the product. With a column-major target it reads such a factor from its place.
fn thin_product<R: Real>(target: &mut [R], left: &Matrix<'_, R>, right: &Matrix<'_, R>) {
    let (m, n) = (left.rows, right.columns);
    let mut columns = vec![R::default(); m * n];
    // SAFETY: the target is m × n and column-major; the caller has checked that both factors fit.
    #[allow(unsafe_code)]
    unsafe {
        multiply(&mut columns, (1, m), left, right, true);
    }
    for (j, column) in columns.chunks_exact(m).enumerate() {
        for (i, &value) in column.iter().enumerate() {
            target[i * n + j] += value;
        }
    }
}

/// `target = left · right`, or `+=` unless `fresh`; `strides` are the target's, from row to row and from column
/// to column.
///
/// # Safety
/// Both factors must fit their numbers and each other, and every element of the target its slice.
#[allow(unsafe_code)]
unsafe fn multiply<R: Real>(
    target: &mut [R],
    strides: (usize, usize),
    left: &Matrix<'_, R>,
    right: &Matrix<'_, R>,
    fresh: bool,
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
            target.as_mut_ptr(),
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
            gemm::Parallelism::Rayon(0),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::choose;

    fn ramp(dims: &[usize], seed: usize) -> Tensor {
        let count: usize = dims.iter().product();
        let numbers: Vec<f64> = (0..count).map(|i| ((i * 37 + seed * 11) % 19) as f64 - 9.0).collect();
        Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap()
    }

    fn same(a: &Tensor, b: &Tensor) {
        assert_eq!(a.dims(), b.dims());
        let difference = (a - b).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        assert_eq!(difference, 0.0);
    }

    fn term(part: Part, left: &Tensor, right: &Tensor) -> Term {
        Term { part, left: left.clone(), right: right.clone() }
    }

    fn found(bias: Option<&Tensor>, terms: Vec<Term>) -> Result<Dual> {
        choose::product(&Sum::new(bias, terms)?)
    }

    /// A sum that does not vary.
    fn plain(bias: Option<&Tensor>, terms: Vec<Term>) -> Tensor {
        found(bias, terms).unwrap().into_primal()
    }

    #[test]
    fn a_sum_of_products_equals_the_products_summed() {
        let (x, w, z, b) = (ramp(&[5, 7], 1), ramp(&[3, 7], 2), ramp(&[5, 2], 3), ramp(&[3, 2], 4));
        let bias = ramp(&[3], 5);
        let (wt, bt) = (w.t().unwrap(), b.t().unwrap());
        let terms = || vec![term(Part::Primal, &x, &wt), term(Part::Primal, &z, &bt)];
        let expected = (x.matmul(&wt).unwrap() + z.matmul(&bt).unwrap()).unwrap();
        same(&plain(None, terms()), &expected);
        same(&plain(Some(&bias), terms()), &expected.broadcast_add(&bias).unwrap());
    }

    #[test]
    fn each_part_takes_its_own_terms_and_the_bias_goes_to_the_value() {
        let (x, w, z, b) = (ramp(&[2, 5, 7], 1), ramp(&[7, 3], 2), ramp(&[5, 2], 3), ramp(&[2, 3], 4));
        let bias = ramp(&[3], 5);
        let half = |i: usize| x.get(i).unwrap().matmul(&w).unwrap();
        let terms = || vec![term(Part::Both, &x, &w), term(Part::Tangent, &z, &b)];
        for bias in [None, Some(&bias)] {
            let found = found(bias, terms()).unwrap();
            assert!(found.stacked().is_some());
            let value = bias.map_or_else(|| half(0), |bias| half(0).broadcast_add(bias).unwrap());
            same(found.primal(), &value);
            same(found.tangent().unwrap(), &(half(1) + z.matmul(&b).unwrap()).unwrap());
        }
    }

    #[test]
    fn batches_of_transposed_and_cut_factors_are_found_by_their_strides() {
        let a = ramp(&[2, 3, 6, 4], 1).narrow(2, 1, 5).unwrap();
        let b = ramp(&[2, 3, 8, 4], 2).transpose(2, 3).unwrap();
        let expected = a.contiguous().unwrap().matmul(&b.contiguous().unwrap()).unwrap();
        same(&plain(None, vec![term(Part::Primal, &a, &b)]), &expected);
    }

    #[test]
    fn products_of_any_number_of_rows_add_to_the_bias_alike() {
        let (w, bias) = (ramp(&[37, 29], 2), ramp(&[37], 3));
        let wt = w.t().unwrap();
        // One row, few rows and many take different ways.
        for rows in [1, 2, 5, THIN_ROWS, THIN_ROWS + 1] {
            let x = ramp(&[rows, 29], rows);
            let term = || vec![term(Part::Primal, &x, &wt)];
            let expected = x.matmul(&wt).unwrap();
            same(&plain(None, term()), &expected);
            same(&plain(Some(&bias), term()), &expected.broadcast_add(&bias).unwrap());
        }
    }

    #[test]
    fn a_frozen_factor_of_a_smaller_type_counts_as_its_numbers_however_it_lies() {
        let w = ramp(&[37, 29], 2).to_dtype(DType::BF16).unwrap();
        let (wide, x) = (w.to_dtype(DType::F64).unwrap(), ramp(&[3, 29], 1));
        let back = ramp(&[3, 37], 4);
        let transposed = |w: &Tensor| w.t().unwrap();
        let product = |x: &Tensor, w: &Tensor| plain(None, vec![term(Part::Primal, x, w)]);
        same(&product(&x, &transposed(&w)), &x.matmul(&transposed(&wide)).unwrap());
        same(&product(&back, &w), &back.matmul(&wide).unwrap());
    }

    #[test]
    fn factors_that_do_not_fit_are_refused() {
        let refused = |a: &[usize], b: &[usize]| {
            found(None, vec![term(Part::Primal, &ramp(a, 1), &ramp(b, 2))]).is_err()
        };
        assert!(refused(&[2, 3], &[4, 2]));
        assert!(refused(&[2, 2, 3], &[3, 3, 2]));
        assert!(refused(&[3], &[3, 2]));
        assert!(found(None, vec![]).is_err());
    }
}
