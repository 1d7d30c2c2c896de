//! Sums with a frozen matrix that is packed or in blocks, as a term of [`sum`](super::sum).

#![allow(clippy::disallowed_methods)] // The loops of the CPU: nothing is copied to another device.

use candle_core::{DType, Tensor};
use gemm::Parallelism;

use super::super::Real;
use super::super::packed::{self, Blocked, CpuKernel, Packed, Way};
use super::super::product::Part;
use super::{Matrix, Target, numbers, product};
use crate::{Error, Result};

/// Adds a product with such a matrix; a `fresh` one is written, as in [`add_term`](super::add_term).
pub(super) fn add<R: Product>(
    target: Target<'_, R>,
    left: &Tensor,
    part: Part,
    (right, way): (Host<'_>, Way),
    fresh: bool,
) -> Result<()> {
    match right {
        // Plain loops are slower than the products that others are taken by, and there are none for f64.
        Host::Blocked(blocked) if R::DTYPE != DType::F32 || !CpuKernel::pays() => {
            add_blocked(target, left, part, (blocked, way), fresh)
        }
        right => R::add_host(target, left, part, (right, way), fresh),
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
    /// Adds a product with a factor that `packed` multiplies with; a `fresh` one is written, as in [`add`].
    fn add_host(
        target: Target<'_, Self>,
        left: &Tensor,
        part: Part,
        right: (Host<'_>, Way),
        fresh: bool,
    ) -> Result<()>;
}

impl Product for f32 {
    fn add_host(
        target: Target<'_, Self>,
        left: &Tensor,
        part: Part,
        (right, way): (Host<'_>, Way),
        fresh: bool,
    ) -> Result<()> {
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
            Host::Packed(packed) => packed.multiply(way, rows, into),
            Host::Blocked(blocked) => blocked.multiply(way, rows, into),
        }
    }
}

impl Product for f64 {
    fn add_host(_: Target<'_, Self>, _: &Tensor, _: Part, _: (Host<'_>, Way), _: bool) -> Result<()> {
        Err(Error::Invalid("packed matrices are multiplied in f32".into()))
    }
}
