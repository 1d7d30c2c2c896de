//! Element-wise functions of several tensors, in one pass over memory.

use candle_core::Shape;
use rayon::prelude::*;

use super::formula::Formula;
use super::fused::{self, Call, Each, Grid};
use super::{Dual, Kernel, Number, Ops, Rows, RowsMut, Scalar, Stored};
use crate::Result;

/// A function of `I` numbers that makes `O` numbers, applied element by element.
pub trait Pointwise<const I: usize, const O: usize>: Sync {
    /// The name of its kernel for a GPU, which is printed from it: see `fused/print.rs`.
    const NAME: &'static str;

    /// The function on one element.
    fn eval<S: Number>(&self, x: [S; I]) -> [S; O];
}

/// Numbers a row: long enough to vectorise, short enough to share among threads.
const WIDTH: usize = 1024;

/// Numbers of all sets together from which threads share them.
const SHARED_FROM: usize = 1 << 16;

struct Elements<P> {
    function: P,
    count: usize,
}

impl<const I: usize, const O: usize, P: Pointwise<I, O>> Kernel<I, O> for Elements<P> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, inputs: [Rows<'_, S>; I], mut outputs: [RowsMut<'_, S>; O]) {
        let width = outputs[0].len();
        debug_assert!((row + 1) * width <= self.count);
        let inputs: [_; I] = std::array::from_fn(
            #[inline(always)]
            |nth| inputs[nth].row(row, width),
        );
        // Plain loops over the few inputs and outputs: `map` would be called for every number.
        for i in 0..width {
            let mut x = [S::of(0.0); I];
            for (nth, input) in inputs.iter().enumerate() {
                x[nth] = input.get(i);
            }
            let y = self.function.eval(x);
            for (nth, output) in outputs.iter_mut().enumerate() {
                output.set(i, y[nth]);
            }
        }
    }

    fn compose(&self, inputs: [Dual; I]) -> Result<[Dual; O]> {
        Formula::of(&self.function).eval(inputs)
    }

    fn fused(&self, inputs: [&Dual; I], shapes: &[Shape; O]) -> Result<Option<[Dual; O]>> {
        let (sizes, numbers) = ([self.count], Formula::of(&self.function).constants());
        let grid = Grid::Elements(self.count);
        let stored = Stored::Whole;
        let call = Call { name: P::NAME, grid, sizes: &sizes, numbers: &numbers, tables: &[], stored };
        fused::run(&call, inputs, shapes)
    }
}

/// The widest row up to [`WIDTH`] that divides `count`.
fn row_width(count: usize) -> usize {
    if count <= WIDTH {
        return count.max(1);
    }
    (1..=WIDTH).rev().find(|width| count.is_multiple_of(*width)).unwrap_or(1)
}

/// Applies functions of one type to sets of tensors, each set of one shape: as [`pointwise`] does to each, in fewer launches
/// where the device takes several at once.
pub fn pointwise_each<V: Ops, const I: usize, const O: usize, P: Pointwise<I, O>>(
    sets: &[(P, [&V; I])],
) -> Result<Vec<[V; O]>> {
    V::run_each(sets)
}

/// [`pointwise_each`] of dual numbers.
pub(super) fn each_of_duals<const I: usize, const O: usize, P: Pointwise<I, O>>(
    sets: &[(P, [&Dual; I])],
) -> Result<Vec<[Dual; O]>> {
    if !super::choose::composed_only() {
        let each = sets
            .iter()
            .map(|(function, inputs)| Each { inputs: *inputs, numbers: Formula::of(function).constants() });
        let each: Vec<_> = each.collect();
        if let Some(outputs) = fused::run_each(P::NAME, &each)? {
            return Ok(outputs);
        }
    }
    let one = |(function, inputs): &(P, [&Dual; I])| pointwise(function, *inputs);
    let numbers: usize = sets.iter().map(|(_, inputs)| inputs[0].primal().elem_count()).sum();
    // On the CPU most sets are too small to be shared among threads, but there are many.
    match numbers >= SHARED_FROM && sets[0].1[0].primal().device().is_cpu() {
        true => sets.par_iter().map(one).collect(),
        false => sets.iter().map(one).collect(),
    }
}

impl<const I: usize, const O: usize, P: Pointwise<I, O>> Pointwise<I, O> for &P {
    const NAME: &'static str = P::NAME;

    #[inline(always)]
    fn eval<S: Number>(&self, x: [S; I]) -> [S; O] {
        (**self).eval(x)
    }
}

/// Applies a function to tensors of one shape, element by element, in one pass.
pub fn pointwise<V: Ops, const I: usize, const O: usize>(
    function: impl Pointwise<I, O>,
    inputs: [&V; I],
) -> Result<[V; O]> {
    let shape = inputs[0].primal().shape().clone();
    let count = shape.elem_count();
    let rows = count / row_width(count);
    V::run(&Elements { function, count }, rows, inputs, std::array::from_fn(|_| shape.clone()))
}
