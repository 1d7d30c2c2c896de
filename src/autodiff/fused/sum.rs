//! Sums of products on a device that has products of its own: every term is added to the result in its place, and no
//! frozen matrix is widened.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::address::{address, room};
use super::few_rows::{checked_bias, few_rows};
use super::gemm::{Gemm, Kind, Matrices, Operand, kind};
use super::launch::{Grid, Params, Variant, launch};
use super::{Engine, engine};
use crate::autodiff::product::{Factor, Part, Sum, Term};
use crate::autodiff::{Dual, Ops, Stored};
use crate::config::MatmulPrecision;
use crate::{Error, Result};

/// A sum of products; `None` where the device, a type or a form of a factor has no product here.
///
/// # Errors
/// Shapes that do not fit, and what the device refuses.
pub(in crate::autodiff) fn sum(sum: &Sum) -> Result<Option<Dual>> {
    let like = &sum.terms[0].left;
    let Some(engine) = engine(like.device()).filter(|_| sum.terms.iter().all(suits)) else {
        return Ok(None);
    };
    if let Some(result) = few_rows(engine, sum)? {
        return Ok(Some(result));
    }
    if let Some((wide, way)) = &sum.wide
        && sum.options.precision == MatmulPrecision::Medium
        && sum.dtype() == DType::F32
        && let Some(result) = wide.sum(engine, sum, *way)?
    {
        return Ok(Some(result.into_dual(sum)?));
    }
    let result = Target::of(sum, if is_narrow(sum) { DType::BF16 } else { sum.dtype() })?;
    if result.half > 0 {
        fill(engine, sum, &result)?;
    }
    Ok(Some(result.into_dual(sum)?))
}

/// Whether a sum comes out in bf16: BLAS writes that of factors in bf16 alone.
fn is_narrow(sum: &Sum) -> bool {
    let by_bf16 = |term: &Term| {
        let Factor::Tensor(right) = &term.right else { return false };
        [term.left.dtype(), right.dtype()].contains(&DType::BF16)
    };
    let Sum { options, bias, .. } = sum;
    options.stored == Stored::Narrow
        && options.precision == MatmulPrecision::Medium
        && bias.is_none()
        && sum.terms.iter().all(by_bf16)
}

/// Whether there is a product for a term.
fn suits(term: &Term) -> bool {
    let (left, Factor::Tensor(right)) = (&term.left, &term.right) else { return false };
    let single = |x: &Tensor| matches!(x.dtype(), DType::F32 | DType::BF16);
    single(left) && single(right) || (left.dtype(), right.dtype()) == (DType::F64, DType::F64)
}

/// Where a sum is written.
pub(super) struct Target {
    numbers: Tensor,
    /// Numbers of the value, and as many of the tangent behind them.
    half: usize,
    columns: usize,
}

impl Target {
    /// Room for a sum, to be written.
    pub fn of(sum: &Sum, dtype: DType) -> Result<Self> {
        let mut dims = sum.dims();
        let half = dims.iter().product();
        if sum.varies() {
            dims.insert(0, 2);
        }
        Ok(Self { numbers: room(dims, dtype, &sum.terms[0].left)?, half, columns: sum.columns })
    }

    fn into_dual(self, sum: &Sum) -> Result<Dual> {
        match sum.varies() {
            true => Dual::from_stacked(self.numbers),
            false => Ok(Dual::constant(&self.numbers)),
        }
    }

    /// Some columns of the matrices of a part, `rows` rows each, from its first number.
    pub fn operand(&self, part: Part, column: usize, rows: usize) -> Result<Operand> {
        let start = if part == Part::Tangent { self.half } else { 0 };
        let size = self.numbers.dtype().size_in_bytes();
        Ok(Operand {
            address: address(&self.numbers)? + ((start + column) * size) as u64,
            transposed: false,
            stride: self.columns,
            batch_stride: rows * self.columns,
        })
    }
}

fn fill(engine: Engine, sum: &Sum, result: &Target) -> Result<()> {
    let halves = if sum.varies() { 2 } else { 1 };
    let fresh = match &sum.bias {
        Some(bias) => {
            write_bias(engine, bias, result, halves)?;
            vec![false; sum.terms.len()]
        }
        None => match fresh_terms(sum, halves) {
            Some(fresh) => fresh,
            None => {
                result.numbers.zero_set()?;
                vec![false; sum.terms.len()]
            }
        },
    };
    for (term, fresh) in sum.terms.iter().zip(fresh) {
        add(engine, sum, term, result, fresh)?;
    }
    Ok(())
}

fn halves_of(part: Part) -> Range<usize> {
    match part {
        Part::Primal => 0..1,
        Part::Tangent => 1..2,
        Part::Both => 0..2,
    }
}

/// For each term whether it is the first to write its places; `None` if terms overlap in parts or leave places out, so that
/// the result must be cleared first.
fn fresh_terms(sum: &Sum, halves: usize) -> Option<Vec<bool>> {
    let mut written: [Vec<Range<usize>>; 2] = Default::default();
    let mut fresh = vec![];
    for term in &sum.terms {
        let own = term.column..term.column + term.columns();
        let states: Vec<Option<bool>> = halves_of(term.part)
            .map(|half| {
                let written = &written[half];
                let apart = written.iter().all(|other| other.end <= own.start || own.end <= other.start);
                let within = written.iter().any(|other| other.start <= own.start && own.end <= other.end);
                if apart { Some(true) } else { within.then_some(false) }
            })
            .collect();
        let first = states[0]?;
        if states.iter().any(|state| *state != Some(first)) {
            return None;
        }
        if first {
            halves_of(term.part).for_each(|half| written[half].push(own.clone()));
        }
        fresh.push(first);
    }
    let whole = |half: &Vec<Range<usize>>| half.iter().map(Range::len).sum::<usize>() == sum.columns;
    written[..halves].iter().all(whole).then_some(fresh)
}

fn write_bias(engine: Engine, bias: &Tensor, result: &Target, halves: usize) -> Result<()> {
    let (numbers, columns) = (&result.numbers, result.columns);
    let bias = checked_bias(bias, columns, numbers.dtype())?;
    let variant = Variant::of(numbers.dtype(), false).expect("results are f32 or f64");
    let mut params = Params::default();
    (params.inputs[0], params.outputs[0]) = (address(&bias)?, address(numbers)?);
    params.set_sizes(0, &[result.half, columns, halves]);
    let (blocks, threads) = Grid::Elements(result.half * halves).dims(engine);
    launch(numbers.device(), ("rows_of_bias", variant), (blocks, 1, threads), &params)
}

/// Adds a term, or writes it where it is the first.
fn add(engine: Engine, sum: &Sum, term: &Term, result: &Target, fresh: bool) -> Result<()> {
    let Factor::Tensor(right) = &term.right else { return Ok(()) };
    let (left, right) = (Matrices::of(&term.left)?, Matrices::of(right)?);
    let fits = left.columns == right.rows
        && [1, left.count].contains(&right.count)
        && left.count * left.rows * result.columns == result.half * halves_of(term.part).len();
    if !fits {
        let (left, right) = (term.left.dims(), term.right.dims());
        return Err(Error::Invalid(format!("no product of shapes {left:?} and {right:?}")));
    }
    let one = if right.count == 1 { left.stacked() } else { None };
    let left = one.unwrap_or(left);
    let (types, precision) = ((term.left.dtype(), right.tensor.dtype()), sum.options.precision);
    let mut gemm = Gemm {
        kind: kind(types.0, precision).expect("suits() has looked"),
        a: left.operand,
        b: Operand {
            batch_stride: if right.count == 1 { 0 } else { right.operand.batch_stride },
            ..right.operand
        },
        c: result.operand(term.part, term.column, left.rows)?,
        rows: left.rows,
        depth: left.columns,
        columns: right.columns,
        batch: left.count,
        alpha: sum.options.scale,
        beta: if fresh { 0.0 } else { 1.0 },
        narrow: result.numbers.dtype() == DType::BF16,
    };
    let device = term.left.device();
    if types.0 == types.1 {
        return multiply(device, &gemm);
    }
    gemm.kind = Kind::Bf16;
    let is_left = types.1 == DType::BF16;
    let planes = Planes::of(engine, if is_left { &left } else { &right }, precision)?;
    for plane in 0..planes.count {
        let factor = if is_left { &mut gemm.a } else { &mut gemm.b };
        *factor = planes.operand(plane, factor)?;
        multiply(device, &gemm)?;
        gemm.beta = 1.0;
    }
    Ok(())
}

/// A factor in f32 as a sum of factors in bf16, whose products with numbers of bf16 are exact.
struct Planes {
    numbers: Tensor,
    count: usize,
    /// Numbers of a matrix from row to row, or where it is transposed from column to column.
    stride: usize,
    /// Numbers of a matrix.
    size: usize,
}

/// How many planes keep what the precision promises: 8 bits each.
fn planes(precision: MatmulPrecision) -> usize {
    match precision {
        MatmulPrecision::Highest => 3,
        MatmulPrecision::High => 2,
        MatmulPrecision::Medium => 1,
    }
}

impl Planes {
    fn of(engine: Engine, factor: &Matrices, precision: MatmulPrecision) -> Result<Self> {
        // As it lies: what is transposed stays so.
        let upright = if factor.operand.transposed { factor.tensor.t()? } else { factor.tensor.clone() };
        let rows = match Matrices::of(&upright)?.stacked().filter(|rows| !rows.operand.transposed) {
            Some(rows) => rows,
            None => Matrices::of(&upright.contiguous()?)?
                .stacked()
                .expect("contiguous matrices lie below each other"),
        };
        let (count, numbers) = (planes(precision), rows.rows * rows.columns);
        let planes = room((count, numbers), DType::BF16, &upright)?;
        let mut params = Params::default();
        (params.inputs[0], params.outputs[0]) = (rows.operand.address, address(&planes)?);
        params.move_several();
        params.set_sizes(0, &[numbers, rows.columns, rows.operand.stride, count]);
        let variant = Variant::of(upright.dtype(), false).expect("planes are of f32");
        let (blocks, threads) = params.elements(numbers).dims(engine);
        launch(upright.device(), ("planes", variant), (blocks, 1, threads), &params)?;
        Ok(Self { numbers: planes, count, stride: rows.columns, size: numbers / factor.count.max(1) })
    }

    /// One plane in the place of the factor.
    fn operand(&self, plane: usize, factor: &Operand) -> Result<Operand> {
        let numbers = self.numbers.dims()[1];
        let address = address(&self.numbers)? + (plane * numbers * DType::BF16.size_in_bytes()) as u64;
        let batch_stride = if factor.batch_stride == 0 { 0 } else { self.size };
        Ok(Operand { address, transposed: factor.transposed, stride: self.stride, batch_stride })
    }
}

/// Takes a product.
pub(super) fn multiply(device: &Device, gemm: &Gemm) -> Result<()> {
    super::launch::count();
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::blas::multiply(device, gemm),
        #[cfg(test)]
        Device::Cpu => {
            super::host::multiply(gemm);
            Ok(())
        }
        _ => {
            let _ = gemm;
            Err(Error::Invalid("this device has no products of its own".into()))
        }
    }
}
