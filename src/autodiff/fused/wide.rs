//! A frozen matrix of bf16 with room beside it, so that low-rank terms and the bias ride along in the one product with it:
//! `x Wᵀ + Σ z Bᵀ + b = [x z 1] [W B b]ᵀ`, and on the way back `dy W + dz A = [dy dz] [W; A]`.
//!
//! The result is then written once, where each term added in its place would read and write it again. B and A are rounded
//! to bf16, as x is: this is for the precision `medium` alone.

use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Tensor};

use super::address::{address, room};
use super::gemm::{Gemm, Kind, Matrices, Operand};
use super::launch::{Grid, Params, Variant, launch};
use super::sum::{Target, multiply};
use super::{Engine, engine};
use crate::Result;
use crate::autodiff::Stored;
use crate::autodiff::packed::Way;
use crate::autodiff::product::{Factor, Part, Sum, Term};

/// Rows and columns beside the matrix: enough for the adapters of three projections of rank 16, their tangents and a bias.
const ROOM: usize = 128;
/// Most low-rank terms.
const SLOTS: usize = 6;
/// Columns that keep all digits of a bias of f32.
const BIAS: usize = 3;

/// A matrix with room beside it. What stands there is written anew for every product, in the order of the device's one
/// stream.
#[derive(Debug)]
pub(in crate::autodiff) struct Wide {
    /// `(out + ROOM, in + ROOM)`.
    numbers: Tensor,
    out: usize,
    width: usize,
    /// Held from what is written beside the matrix to the product that reads it.
    turn: Mutex<()>,
}

/// A low-rank term in its place: `depth` columns beside x.
struct Slot<'a> {
    part: Part,
    left: Matrices,
    right: &'a Tensor,
    /// First of the result's columns that it is added to.
    column: usize,
}

impl Wide {
    /// A copy of a matrix with room; `None` where the device has no products of its own, or for another type than bf16.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn new(matrix: &Tensor) -> Result<Option<Self>> {
        let (out, width) = matrix.dims2()?;
        if engine(matrix.device()).is_none() || matrix.dtype() != DType::BF16 || !width.is_multiple_of(8) {
            return Ok(None);
        }
        let padded = matrix.pad_with_zeros(0, 0, ROOM)?.pad_with_zeros(1, 0, ROOM)?;
        Ok(Some(Self { numbers: padded.contiguous()?, out, width, turn: Mutex::new(()) }))
    }

    /// The matrix alone, in its place.
    ///
    /// # Errors
    /// None but what tensors refuse.
    pub fn matrix(&self) -> Result<Tensor> {
        Ok(self.numbers.narrow(0, 0, self.out)?.narrow(1, 0, self.width)?)
    }

    /// How much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.numbers.elem_count() * self.numbers.dtype().size_in_bytes()
    }

    /// The sum by one product, if its terms have room.
    pub(super) fn sum(&self, engine: Engine, sum: &Sum, way: Way) -> Result<Option<Target>> {
        let Some((first, rest)) = sum.terms.split_first() else { return Ok(None) };
        let Some(slots) = slots(first, rest)? else { return Ok(None) };
        let own = if way == Way::Forward { self.width } else { self.out };
        let used: usize = slots.iter().map(|slot| slot.left.columns).sum();
        let bias = if sum.bias.is_some() { BIAS } else { 0 };
        let extra = (used + bias).next_multiple_of(8);
        let x = Matrices::of(&first.left)?;
        let Some(x) = x.stacked().filter(|x| !x.operand.transposed && x.columns == own) else {
            return Ok(None);
        };
        if extra > ROOM || first.columns() != sum.columns {
            return Ok(None);
        }
        // Alone, what is in bf16 is multiplied as it lies.
        let left = match extra == 0 && x.tensor.dtype() == DType::BF16 {
            true => (x.operand.address, x.operand.stride, None),
            false => {
                let left = extend_left(engine, first, &x, &slots, (bias, extra))?;
                (address(&left)?, x.columns + extra, Some(left))
            }
        };
        let narrow = sum.options.stored == Stored::Narrow;
        let result = Target::of(sum, if narrow { DType::BF16 } else { DType::F32 })?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if extra > 0 {
            self.extend_right(engine, sum, way, &slots, extra)?;
        }
        let depth = own + extra;
        let b = Operand {
            address: address(&self.numbers)?,
            transposed: way == Way::Forward,
            stride: self.width + ROOM,
            batch_stride: 0,
        };
        let gemm = Gemm {
            kind: Kind::Bf16,
            a: Operand { address: left.0, transposed: false, stride: left.1, batch_stride: 0 },
            b,
            c: result.operand(first.part, 0, x.rows)?,
            rows: x.rows,
            depth,
            columns: sum.columns,
            batch: 1,
            alpha: sum.options.scale,
            beta: 0.0,
            narrow,
        };
        multiply(first.left.device(), &gemm)?;
        Ok(Some(result))
    }

    /// Writes the right factors of the low-rank terms and the bias beside the matrix.
    fn extend_right(
        &self,
        engine: Engine,
        sum: &Sum,
        way: Way,
        slots: &[Slot<'_>],
        extra: usize,
    ) -> Result<()> {
        let mut params = Params::default();
        params.outputs[0] = address(&self.numbers)?;
        let bias = sum.bias.as_ref().map(|bias| bias.to_dtype(DType::F32)?.contiguous()).transpose()?;
        params.tables[0] = bias.as_ref().map_or(Ok(0), address)?;
        let forward = way == Way::Forward;
        let count = extra * if forward { self.out } else { self.width };
        let sizes =
            [count, extra, self.out, self.width, self.width + ROOM, usize::from(forward), slots.len()];
        params.set_sizes(0, &sizes);
        for (nth, slot) in slots.iter().enumerate() {
            params.inputs[nth] = address(slot.right)?;
            let (columns, strides) = (slot.right.dims()[1], slot.right.stride());
            params.set_sizes(8 + 5 * nth, &[slot.left.columns, slot.column, columns, strides[0], strides[1]]);
        }
        let (blocks, threads) = Grid::Elements(count).dims(engine);
        launch(self.numbers.device(), ("extend_right", single()), (blocks, 1, threads), &params)
    }
}

/// The type that kernels of one type are named after.
fn single() -> Variant {
    Variant::of(DType::F32, false).expect("there are kernels of f32")
}

/// The terms beside the first, if each is one matrix with as many rows by one of f32.
fn slots<'a>(first: &Term, rest: &'a [Term]) -> Result<Option<Vec<Slot<'a>>>> {
    let rows = |term: &Term| {
        let dims = term.left.dims();
        dims[dims.len() - 2]
    };
    let whole = |term: &Term| match term.part {
        Part::Both => term.left.rank() == 3,
        _ => term.left.rank() == 2,
    };
    if rest.len() > SLOTS || !whole(first) || rows(first) == 0 {
        return Ok(None);
    }
    let mut slots = vec![];
    for term in rest {
        let Factor::Tensor(right) = &term.right else { return Ok(None) };
        let fits = whole(term)
            && right.rank() == 2
            && right.dtype() == DType::F32
            && rows(term) == rows(first)
            && right.dims()[0] == term.left.dims()[term.left.rank() - 1]
            // The tangent's rows exist where the first term has them.
            && (first.part == Part::Both || term.part == Part::Primal);
        let left = Matrices::of(&term.left)?;
        if !fits || left.operand.transposed {
            return Ok(None);
        }
        slots.push(Slot { part: term.part, left, right, column: term.column });
    }
    Ok(Some(slots))
}

/// `[x z … 1]` in bf16, `(rows, in + extra)`: in rows of the value and of the tangent each term's own, zeros where it has
/// none.
fn extend_left(
    engine: Engine,
    first: &Term,
    x: &Matrices,
    slots: &[Slot<'_>],
    (bias, extra): (usize, usize),
) -> Result<Tensor> {
    let depth = x.columns + extra;
    let result = room((x.rows, depth), DType::BF16, &first.left)?;
    let mut params = Params::default();
    (params.inputs[0], params.outputs[0]) = (x.operand.address, address(&result)?);
    let half = if first.part == Part::Both { x.rows / 2 } else { x.rows };
    let count = x.rows * depth;
    let is_narrow = |x: &Tensor| x.dtype() == DType::BF16;
    params.narrow_inputs = i64::from(is_narrow(&x.tensor));
    params.narrow_outputs = 1;
    params.move_several();
    params.set_sizes(0, &[count, x.columns, x.operand.stride, half, extra, bias, slots.len()]);
    for (nth, slot) in slots.iter().enumerate() {
        params.narrow_inputs |= i64::from(is_narrow(&slot.left.tensor)) << (1 + nth);
        let size = slot.left.tensor.dtype().size_in_bytes();
        let Operand { address, stride, batch_stride, .. } = slot.left.operand;
        (params.inputs[1 + nth], params.input_tangents[1 + nth]) = match slot.part {
            Part::Primal => (address, 0),
            Part::Tangent => (0, address),
            Part::Both => (address, address + (batch_stride * size) as u64),
        };
        params.set_sizes(8 + 2 * nth, &[slot.left.columns, stride]);
    }
    let (blocks, threads) = params.elements(count).dims(engine);
    launch(first.left.device(), ("extend_left", single()), (blocks, 1, threads), &params)?;
    Ok(result)
}
