//! Sums with a frozen matrix that is packed or in blocks, as a term of [`sum`](super::sum).

#![allow(clippy::disallowed_methods)] // The loops of the CPU: nothing is copied to another device.

use candle_core::{DType, Layout, Storage, Tensor};
use gemm::Parallelism;

use super::super::Real;
use super::super::packed::{self, Blocked, CpuKernel, Packed, Way};
use super::super::product::{Factor, Part, Term};
use super::{Matrix, Target, evenly_spaced, numbers, product};
use crate::config::MatmulPrecision;
use crate::{Error, Result};

/// Adds a product with such a matrix; a `fresh` one is written, as in [`add_term`](super::add_term). Says whether it added
/// the low-rank terms too: all of them, or none.
pub(super) fn add<R: Product>(
    target: Target<'_, R>,
    left: &Tensor,
    part: Part,
    (right, way): (Host<'_>, Way),
    low: &[Term],
    fresh: bool,
) -> Result<bool> {
    match right {
        // Plain loops are slower than the products that others are taken by, and there are none for f64.
        Host::Blocked(blocked) if R::DTYPE != DType::F32 || !CpuKernel::pays() => {
            add_blocked(target, left, part, (blocked, way), fresh)?;
            Ok(false)
        }
        right => R::add_host(target, left, part, (right, way), low, fresh),
    }
}

/// Numbers of W that are taken out of their blocks at a time, where they are then multiplied as any others.
const TAKEN_APART: usize = 1 << 18;

/// Adds a product with a matrix in blocks, some rows of it at a time; a `fresh` one is written, as in [`add`].
fn add_blocked<R: Real>(
    target: Target<'_, R>,
    left: &Tensor,
    part: Part,
    (blocked, way): (&Blocked, Way),
    fresh: bool,
) -> Result<()> {
    let (guard, layout) = left.storage_and_layout();
    let left = Matrix::of_part(numbers::<R>(&guard)?, layout, part)?;
    let (out, width) = blocked.dims();
    let depth = if way == Way::Forward { width } else { out };
    if !left.fits() || left.columns != depth {
        let (rows, columns) = (left.rows, left.columns);
        return Err(Error::Invalid(format!(
            "no product of matrices ({rows}, {columns}) and ({out}, {width})"
        )));
    }
    let at_once = (TAKEN_APART / width.max(1)).max(1);
    for start in (0..out).step_by(at_once) {
        let rows = start..out.min(start + at_once);
        let count = rows.len();
        let numbers: Vec<R> =
            blocked.range(rows).into_iter().map(|number| R::of(f64::from(number))).collect();
        let right =
            Matrix { numbers: &numbers, rows: count, columns: width, row_stride: width, column_stride: 1 };
        let first = if way == Way::Forward { target.first + start } else { target.first };
        let mut target = Target { numbers: &mut *target.numbers, columns: target.columns, first };
        match way {
            Way::Forward => {
                let turned =
                    Matrix { rows: width, columns: count, row_stride: 1, column_stride: width, ..right };
                product(&mut target, &left, &turned, fresh, Parallelism::Rayon(0))?;
            }
            Way::Back => {
                let some = left.some_columns(start, count);
                product(&mut target, &some, &right, fresh && start == 0, Parallelism::Rayon(0))?;
            }
        }
    }
    Ok(())
}

/// A matrix that the kernels of `packed` multiply with.
pub(super) enum Host<'a> {
    Packed(&'a Packed),
    Blocked(&'a Blocked),
}

/// Numbers that a sum is taken in.
pub(super) trait Product: Real {
    /// Adds a product with a factor that `packed` multiplies with, as [`add`] says.
    fn add_host(
        target: Target<'_, Self>,
        left: &Tensor,
        part: Part,
        right: (Host<'_>, Way),
        low: &[Term],
        fresh: bool,
    ) -> Result<bool>;

    /// Adds products of matrices that both vary, where there is a faster way than by [`product`] at this precision; says
    /// whether there is.
    fn add_varying(
        target: &mut Target<'_, Self>,
        factors: (&[Matrix<'_, Self>], &[Matrix<'_, Self>]),
        precision: MatmulPrecision,
        fresh: bool,
    ) -> Result<bool> {
        let _ = (target, factors, precision, fresh);
        Ok(false)
    }
}

impl Product for f32 {
    fn add_host(
        target: Target<'_, Self>,
        left: &Tensor,
        part: Part,
        (right, way): (Host<'_>, Way),
        low: &[Term],
        fresh: bool,
    ) -> Result<bool> {
        // Kernels read the rows of a left factor from end to end.
        let left = if *left.stride().last().unwrap_or(&1) == 1 { left.clone() } else { left.contiguous()? };
        let (guard, layout) = left.storage_and_layout();
        let matrix = Matrix::of_part(numbers::<f32>(&guard)?, layout, part)?;
        if !matrix.fits() || target.numbers.len() != matrix.rows * target.columns {
            let (rows, columns) = (matrix.rows, target.columns);
            return Err(Error::Invalid(format!(
                "no product of {rows} rows for a result of {columns} columns"
            )));
        }
        let rows = packed::Left {
            numbers: matrix.numbers,
            stride: matrix.row_stride,
            rows: matrix.rows,
            width: matrix.columns,
        };
        let into = packed::Target {
            numbers: &mut target.numbers[target.first..],
            stride: target.columns,
            add: !fresh,
        };
        match right {
            Host::Packed(packed) => {
                let factors = low_factors(low, part, matrix.rows)?;
                let guards = factors.iter().map(|of| [&of.left, &of.right].map(Tensor::storage_and_layout));
                let guards: Vec<_> = guards.collect();
                let terms = factors
                    .iter()
                    .zip(&guards)
                    .map(|(of, [left, right])| of.term((&left.0, left.1), (&right.0, right.1)));
                let rode = packed.multiply(way, rows, &terms.collect::<Result<Vec<_>>>()?, into)?;
                Ok(rode && factors.len() == low.len())
            }
            Host::Blocked(blocked) => blocked.multiply(way, rows, into).map(|()| false),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn add_varying(
        target: &mut Target<'_, Self>,
        (lefts, rights): (&[Matrix<'_, Self>], &[Matrix<'_, Self>]),
        precision: MatmulPrecision,
        fresh: bool,
    ) -> Result<bool> {
        let (Some(left), Some(right)) = (lefts.first(), rights.first()) else { return Ok(false) };
        let Some(planes) = packed::planes_for(precision, (left.rows, left.columns, right.columns)) else {
            return Ok(false);
        };
        let [lefts, rights] = [lefts, rights].map(|all| all.iter().map(Matrix::view).collect::<Vec<_>>());
        if !lefts.iter().chain(&rights).all(packed::View::lies_along) {
            return Ok(false);
        }
        let into = packed::Target {
            numbers: &mut target.numbers[target.first..],
            stride: target.columns,
            add: !fresh,
        };
        packed::multiply_varying((&lefts, &rights), planes, into)?;
        Ok(true)
    }
}

impl<'a> Matrix<'a, f32> {
    /// As `packed` takes it.
    fn view(&self) -> packed::View<'a> {
        let &Self { numbers, rows, columns, row_stride, column_stride } = self;
        packed::View { numbers, rows, columns, row_stride, column_stride }
    }
}

/// The factors of a low-rank term, and the row of the product that it begins at.
struct LowFactors {
    part: Part,
    first_row: usize,
    left: Tensor,
    column: usize,
    right: Tensor,
}

/// The low-rank terms behind a frozen one whose part of the sum has `rows` rows; none unless all are matrices that go to rows
/// of that part.
fn low_factors(low: &[Term], part: Part, rows: usize) -> Result<Vec<LowFactors>> {
    let mut all = vec![];
    for term in low {
        let first_row = match (part, term.part) {
            (Part::Both, Part::Tangent) => rows / 2,
            (Part::Both, _) | (Part::Primal, Part::Primal) => 0,
            _ => return Ok(vec![]),
        };
        let Factor::Tensor(right) = &term.right else { return Ok(vec![]) };
        let matrix = if term.part == Part::Both { 3 } else { 2 };
        let is_f32 = term.left.dtype() == DType::F32 && right.dtype() == DType::F32;
        if !is_f32 || term.left.rank() != matrix || right.rank() != 2 {
            return Ok(vec![]);
        }
        let left = if term.part == Part::Both { evenly_spaced(&term.left)? } else { term.left.clone() };
        all.push(LowFactors { part: term.part, first_row, left, column: term.column, right: right.clone() });
    }
    Ok(all)
}

impl LowFactors {
    /// As `packed` takes it, from where its factors lie.
    fn term<'a>(
        &self,
        (left, left_layout): (&'a Storage, &Layout),
        (right, right_layout): (&'a Storage, &Layout),
    ) -> Result<packed::LowTerm<'a>> {
        let left = Matrix::of_part(numbers::<f32>(left)?, left_layout, self.part)?.view();
        let right = Matrix::new(numbers::<f32>(right)?, right_layout, 0).view();
        Ok(packed::LowTerm { first_row: self.first_row, left, column: self.column, right })
    }
}

impl Product for f64 {
    fn add_host(
        _: Target<'_, Self>,
        _: &Tensor,
        _: Part,
        _: (Host<'_>, Way),
        _: &[Term],
        _: bool,
    ) -> Result<bool> {
        Err(Error::Invalid("packed matrices are multiplied in f32".into()))
    }
}
