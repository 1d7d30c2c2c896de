//! Sums of products of a few rows, as decoding takes them: one kernel reads each frozen matrix once, as it is stored, and
//! adds low-rank terms and bias in place. Sums are f32, or f64 of f64.

use candle_core::{DType, Tensor};

use super::Engine;
use super::address::{address, room};
use super::launch::{Grid, Params, Variant, launch};
use crate::autodiff::product::{Factor, Part, Sum, Term};
use crate::autodiff::{Dual, Ops};
use crate::{Error, Result};

/// Most rows; for more, tensor cores pay.
const MOST_ROWS: usize = 8;
/// Numbers that a lane reads of a row at once, and the most bytes that their address must be a multiple of.
const AT_ONCE: usize = 4;
const ALIGNMENT: usize = 16;
/// Low-rank terms beside W, and where their sizes begin: as in `cuda/few_rows.cuh`.
const LOW_TERMS: usize = 3;
const LOW_SIZES: usize = 8;

/// A factor `(rows, depth)` whose rows lie whole, `stride` numbers from one to the next.
#[derive(Clone, Copy)]
struct Factors {
    address: u64,
    rows: usize,
    depth: usize,
    stride: usize,
    size: usize,
}

impl Factors {
    fn of(x: &Tensor) -> Result<Option<Self>> {
        let (&[rows, depth], &[down, across]) = (x.dims(), x.stride()) else { return Ok(None) };
        if across != 1 && depth != 1 {
            return Ok(None);
        }
        let size = x.dtype().size_in_bytes();
        Ok(Some(Self { address: address(x)?, rows, depth, stride: down, size }))
    }

    /// Whether every row can be read several numbers at once.
    fn is_wide(&self) -> bool {
        let alignment = ALIGNMENT.min(AT_ONCE * self.size);
        let steps = self.rows == 1 || (self.stride * self.size).is_multiple_of(alignment);
        steps && self.address.is_multiple_of(alignment as u64)
    }
}

/// One term `left · rightᵀ`, with the columns that it is added to.
struct Pair {
    left: Factors,
    right: Factors,
    column: usize,
}

impl Pair {
    fn of(term: &Term) -> Result<Option<Self>> {
        let Factor::Tensor(right) = &term.right else { return Ok(None) };
        if term.part != Part::Primal || right.rank() != 2 {
            return Ok(None);
        }
        let factors = Factors::of(&term.left)?.zip(Factors::of(&right.t()?)?);
        let fits = |(left, right): &(Factors, Factors)| left.depth == right.depth && left.depth > 0;
        Ok(factors.filter(fits).map(|(left, right)| Self { left, right, column: term.column }))
    }
}

/// The terms of a sum, where the kernel takes them.
fn pairs(sum: &Sum) -> Result<Option<Vec<Pair>>> {
    let first = &sum.terms[0];
    if sum.terms.len() > 1 + LOW_TERMS || sum.varies() {
        return Ok(None);
    }
    let Some(pairs) = sum.terms.iter().map(Pair::of).collect::<Result<Option<Vec<_>>>>()? else {
        return Ok(None);
    };
    let low = |(pair, term): (&Pair, &Term)| {
        let Factor::Tensor(right) = &term.right else { return false };
        let whole = pair.right.stride == pair.right.depth || pair.right.rows == 1;
        let like_first = right.dtype() == first.left.dtype() && term.left.dtype() == first.left.dtype();
        whole
            && like_first
            && pair.left.rows == pairs[0].left.rows
            && pair.left.stride == pairs[1].left.stride
    };
    let Pair { left, right, .. } = &pairs[0];
    let fits = (1..=MOST_ROWS).contains(&left.rows)
        && right.rows == sum.columns
        && pairs.iter().zip(&sum.terms).skip(1).all(low);
    Ok(fits.then_some(pairs))
}

/// The kernel for so many rows of f32 or f64, and matrices of that type or of bf16.
fn name(rows: usize, weights: DType) -> &'static str {
    match (rows, weights == DType::BF16) {
        (1, false) => "few_rows_1",
        (2, false) => "few_rows_2",
        (3..=4, false) => "few_rows_4",
        (_, false) => "few_rows_8",
        (1, true) => "few_rows_1_by_bf16",
        (2, true) => "few_rows_2_by_bf16",
        (3..=4, true) => "few_rows_4_by_bf16",
        (_, true) => "few_rows_8_by_bf16",
    }
}

/// How many warps share a column: the more the fewer columns there are, so that the whole card reads.
fn warps_a_column(engine: Engine, columns: usize, chunks: usize) -> usize {
    let (warps, enough, lanes) = (engine.pick(8, 2), engine.pick(8192, 8), engine.lanes());
    let mut parts = 1;
    while 2 * parts <= warps && 2 * parts * columns <= enough && chunks >= 8 * parts * lanes {
        parts *= 2;
    }
    parts
}

/// A sum of few rows without tangents whose matrices lie as they are stored; `None` for others.
///
/// # Errors
/// A bias that does not fit, and what the device refuses.
pub(super) fn few_rows(engine: Engine, sum: &Sum) -> Result<Option<Dual>> {
    let like = &sum.terms[0].left;
    let Some(variant) = Variant::of(like.dtype(), false) else { return Ok(None) };
    let Some(pairs) = pairs(sum)? else { return Ok(None) };
    let Factor::Tensor(weights) = &sum.terms[0].right else { return Ok(None) };
    let Pair { left, right, .. } = &pairs[0];
    let result = room((left.rows, sum.columns), like.dtype(), like)?;
    if sum.columns == 0 {
        return Ok(Some(Dual::constant(&result)));
    }
    let bias = sum.bias.as_ref().map(|bias| checked_bias(bias, sum.columns, like.dtype())).transpose()?;
    let wide = left.is_wide() && right.is_wide();
    let chunks = if wide { left.depth / AT_ONCE } else { 0 };
    let parts = warps_a_column(engine, sum.columns, left.depth / AT_ONCE);
    let stride_of_z = pairs.get(1).map_or(0, |pair| pair.left.stride);
    let mut params = Params::default();
    let sizes = [left.rows, sum.columns, left.depth, left.stride, right.stride, chunks, parts, stride_of_z];
    params.set_sizes(0, &sizes);
    for (nth, Pair { left, right, column }) in pairs.iter().enumerate() {
        params.inputs[2 * nth..2 * nth + 2].copy_from_slice(&[left.address, right.address]);
        if let Some(low) = nth.checked_sub(1) {
            params.set_sizes(LOW_SIZES + 3 * low, &[*column, right.rows, right.depth]);
        }
    }
    params.tables[0] = bias.as_ref().map_or(Ok(0), address)?;
    params.outputs[0] = address(&result)?;
    params.numbers[0] = variant.bits(sum.options.scale);
    let (blocks, threads) = Grid::WarpARow(sum.columns * parts).dims(engine);
    let name = name(left.rows, weights.dtype());
    launch(like.device(), (name, variant), (blocks, 1, threads), &params)?;
    Ok(Some(Dual::constant(&result)))
}

/// A bias of as many numbers as a sum has columns, in the type of the sum.
///
/// # Errors
/// Another shape.
pub(super) fn checked_bias(bias: &Tensor, columns: usize, dtype: DType) -> Result<Tensor> {
    if bias.dims() != [columns] {
        let found = bias.dims();
        return Err(Error::Invalid(format!("no sum of {columns} columns with a bias of shape {found:?}")));
    }
    Ok(bias.to_dtype(dtype)?.contiguous()?)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::autodiff::MatmulOptions;
    use crate::config::MatmulPrecision;
    use crate::device::under_test;

    fn numbers(dims: (usize, usize), seed: usize, dtype: DType) -> Tensor {
        let count = dims.0 * dims.1;
        let number = |i: usize| ((i * 37 + seed * 101) % 113) as f64 / 57.0 - 1.0;
        let numbers = Tensor::from_vec((0..count).map(number).collect(), dims, &under_test()).unwrap();
        numbers.to_dtype(dtype).unwrap()
    }

    /// `s (x Wᵀ + Σ z Bᵀ) + bias` with B's of `ranks` for thirds of the columns; x and z are columns of wider matrices.
    fn sum(rows: usize, (columns, depth): (usize, usize), ranks: &[usize], types: [DType; 2]) -> Sum {
        let wider = numbers((rows, depth + 8), 1, types[0]);
        let x = wider.narrow(1, 8, depth).unwrap();
        let weights = numbers((columns, depth), 2, types[1]);
        let mut terms = vec![Term::new(Part::Primal, &x, &weights.t().unwrap())];
        let all: usize = ranks.iter().sum();
        let (z, mut start) = (numbers((rows, all.max(1)), 3, types[0]), 0);
        for (nth, &rank) in ranks.iter().enumerate() {
            let b = numbers((columns / 3, rank), 4 + nth, types[0]);
            let z = z.narrow(1, start, rank).unwrap();
            terms.push(Term::new(Part::Primal, &z, &b.t().unwrap()).at(nth * (columns / 3)));
            start += rank;
        }
        let bias = numbers((1, columns), 9, types[0]).squeeze(0).unwrap();
        let bias = (ranks.len() > 1).then_some(bias);
        let scale = if bias.is_some() { 1.0 } else { 1.75 };
        let options = MatmulOptions { scale, ..MatmulPrecision::High.into() };
        Sum::new(columns, bias.as_ref(), terms).unwrap().with(options)
    }

    #[test]
    fn few_rows_are_multiplied_as_the_portable_form_multiplies_them() {
        let Some(engine) = super::super::engine(&under_test()) else { return };
        let [f64, f32, bf16] = [DType::F64, DType::F32, DType::BF16];
        // On a card of the size of a model's too.
        let large = if under_test().is_cpu() { (41, 72) } else { (9728, 896) };
        let ranks: [&[usize]; 5] = [&[], &[1], &[16], &[3, 3, 3], &[16, 1]];
        for (types, tolerance) in [([f64, f64], 1e-12), ([f32, f32], 1e-4), ([f32, bf16], 1e-4)] {
            for rows in 1..=8 {
                for (nth, shape) in [(5, 1), (12, 7), (3, 160), large, (4, 131)].into_iter().enumerate() {
                    let sum = sum(rows, shape, ranks[nth], types);
                    let found = few_rows(engine, &sum).unwrap().expect("a sum of few rows").into_primal();
                    let expected = sum.composed().unwrap().scale(sum.options.scale).unwrap().into_primal();
                    let difference = (found - expected).unwrap().abs().unwrap().flatten_all().unwrap();
                    let most = difference.max(0).unwrap().to_dtype(f64).unwrap().to_scalar::<f64>().unwrap();
                    assert!(most < tolerance, "{rows} rows by {shape:?} in {types:?}: {most:e}");
                }
            }
        }
    }

    #[test]
    fn sums_of_other_forms_are_left_to_other_products() {
        let Some(engine) = super::super::engine(&under_test()) else { return };
        let types = [DType::F64; 2];
        let taken = |sum: &Sum| few_rows(engine, sum).unwrap().is_some();
        assert!(taken(&sum(8, (9, 4), &[2], types)));
        assert!(!taken(&sum(9, (9, 4), &[2], types)));
        let (x, w) = (numbers((2, 5), 1, DType::F64), numbers((5, 4), 2, DType::F64));
        let by = |part, right: &Tensor| {
            let right = Term::new(Part::Primal, &x, right);
            let mut terms = vec![right];
            terms.extend((part == Part::Tangent).then(|| Term::new(part, &x, &w)));
            Sum::new(4, None, terms).unwrap()
        };
        // A matrix that lies the other way, and a sum that varies.
        assert!(!taken(&by(Part::Primal, &w)));
        let turned = w.t().unwrap().contiguous().unwrap().t().unwrap();
        assert!(taken(&by(Part::Primal, &turned)));
        assert!(!taken(&by(Part::Tangent, &turned)));
        let mut faulty = sum(1, (9, 4), &[1, 1], types);
        faulty.bias = Some(numbers((1, 3), 1, DType::F64).squeeze(0).unwrap());
        assert!(few_rows(engine, &faulty).unwrap_err().to_string().contains("bias of shape"));
    }
}
