//! The form of a kernel for the CPU: its formula over scalars, run over the rows of contiguous tensors on all cores.

#![allow(clippy::disallowed_methods)] // The loops of the CPU: nothing is copied to another device.

use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::{CpuStorage, DType, Device, Shape, Storage, Tensor, WithDType};
use rayon::prelude::*;

use super::kernel::Kernel;
use super::room::{Room, zeroed};
use super::{Dual, Ops, Pair, Scalar};
use crate::vectors::vectorised;
use crate::{Error, Result};

/// Work of fewer output numbers than this is not worth a second thread.
const PARALLEL_FROM: usize = 1 << 15;

/// Numbers of a kernel's input, with their tangents if `S` has them.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a, S: Scalar> {
    primal: &'a [S::Real],
    tangent: &'a [S::Real],
}

impl<S: Scalar> Rows<'_, S> {
    /// How many numbers there are.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.primal.len()
    }

    /// The numbers without their tangents.
    #[inline(always)]
    pub fn primal(&self) -> &[S::Real] {
        self.primal
    }

    /// Number `index`.
    #[inline(always)]
    pub fn get(&self, index: usize) -> S {
        let tangent = if S::DUAL { self.tangent[index] } else { S::Real::default() };
        S::join(self.primal[index], tangent)
    }

    /// The numbers of a range.
    #[inline(always)]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let tangent = if S::DUAL { &self.tangent[range.clone()] } else { self.tangent };
        Self { primal: &self.primal[range], tangent }
    }

    /// Row `index` of rows of `width`.
    #[inline(always)]
    pub fn row(&self, index: usize, width: usize) -> Self {
        self.slice(index * width..(index + 1) * width)
    }
}

/// Numbers of a kernel's output, with their tangents if `S` has them.
#[derive(Debug)]
pub struct RowsMut<'a, S: Scalar> {
    primal: &'a mut [S::Real],
    tangent: &'a mut [S::Real],
}

impl<S: Scalar> RowsMut<'_, S> {
    /// How many there are.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.primal.len()
    }

    /// The numbers of a range.
    #[inline(always)]
    pub fn slice(&mut self, range: Range<usize>) -> RowsMut<'_, S> {
        let tangent = if S::DUAL { &mut self.tangent[range.clone()] } else { &mut [] };
        RowsMut { primal: &mut self.primal[range], tangent }
    }

    /// Writes number `index`.
    #[inline(always)]
    pub fn set(&mut self, index: usize, value: S) {
        self.primal[index] = value.primal();
        if S::DUAL {
            self.tangent[index] = value.tangent();
        }
    }

    /// Reads back number `index`.
    #[inline(always)]
    pub fn get(&self, index: usize) -> S {
        let tangent = if S::DUAL { self.tangent[index] } else { S::Real::default() };
        S::join(self.primal[index], tangent)
    }
}

/// Runs a kernel. Each output has a shape whose size is a multiple of `rows`; it is stacked where any input varies.
pub(super) fn run<const I: usize, const O: usize, K: Kernel<I, O>>(
    kernel: &K,
    rows: usize,
    inputs: [&Dual; I],
    shapes: [Shape; O],
) -> Result<[Dual; O]> {
    let varies = inputs.iter().any(|x| x.tangent().is_some());
    match (inputs[0].primal().dtype(), varies) {
        (DType::F32, false) => run_as::<f32, I, O, K>(kernel, rows, inputs, shapes),
        (DType::F32, true) => run_as::<Pair<f32>, I, O, K>(kernel, rows, inputs, shapes),
        (DType::F64, false) => run_as::<f64, I, O, K>(kernel, rows, inputs, shapes),
        (DType::F64, true) => run_as::<Pair<f64>, I, O, K>(kernel, rows, inputs, shapes),
        (other, _) => Err(Error::Invalid(format!("kernels compute in f32 or f64, not {other:?}"))),
    }
}

fn run_as<S: Scalar, const I: usize, const O: usize, K: Kernel<I, O>>(
    kernel: &K,
    rows: usize,
    inputs: [&Dual; I],
    shapes: [Shape; O],
) -> Result<[Dual; O]> {
    let flat = inputs.iter().map(|x| contiguous::<S>(x)).collect::<Result<Vec<_>>>()?;
    let guards: Vec<_> = flat
        .iter()
        .map(|(primal, tangent)| {
            (primal.storage_and_layout(), tangent.as_ref().map(|t| t.storage_and_layout()))
        })
        .collect();
    let mut views = Vec::with_capacity(I);
    for ((primal, layout), tangent) in &guards {
        let tangent = match tangent {
            Some((tangent, layout)) => numbers::<S::Real>(tangent, layout.start_offset(), layout.shape())?,
            None => &[],
        };
        let primal = numbers::<S::Real>(primal, layout.start_offset(), layout.shape())?;
        views.push(Rows::<S> { primal, tangent });
    }
    let views: [Rows<'_, S>; I] = views.try_into().expect("one view an input");
    let copies = if S::DUAL { 2 } else { 1 };
    // What is left over would never be written.
    if let Some(shape) = shapes.iter().find(|shape| !shape.elem_count().is_multiple_of(rows)) {
        return Err(Error::Invalid(format!("an output of shape {shape:?} has no {rows} rows of one size")));
    }
    let mut rooms: [Room<S::Real>; O] = std::array::from_fn(|o| Room::new(copies * shapes[o].elem_count()));
    fill(kernel, rows, views, rooms.each_mut().map(Room::places));
    // SAFETY: outputs consist of rows, as was just checked, and each row was written, with zeros before the kernel saw it.
    #[allow(unsafe_code)]
    let buffers = rooms.map(|room| unsafe { room.filled() });
    let outputs = buffers.into_iter().zip(shapes).map(|(buffer, shape)| wrap::<S>(buffer, shape));
    let outputs = outputs.collect::<Result<Vec<_>>>()?;
    Ok(outputs.try_into().expect("one value an output"))
}

/// The numbers of an output, those of its tangent behind those of its value.
fn wrap<S: Scalar>(numbers: Vec<S::Real>, shape: Shape) -> Result<Dual> {
    if !S::DUAL {
        return Ok(Dual::constant(&Tensor::from_vec(numbers, shape, &Device::Cpu)?));
    }
    let mut dims = shape.into_dims();
    dims.insert(0, 2);
    Dual::from_stacked(Tensor::from_vec(numbers, dims, &Device::Cpu)?)
}

/// Places for a block of rows of an output.
struct Block<'a, S: Scalar> {
    primal: &'a mut [MaybeUninit<S::Real>],
    tangent: &'a mut [MaybeUninit<S::Real>],
}

/// Cuts the outputs into one block of rows a thread, and fills the blocks.
fn fill<S: Scalar, const I: usize, const O: usize, K: Kernel<I, O>>(
    kernel: &K,
    rows: usize,
    inputs: [Rows<'_, S>; I],
    outputs: [&mut [MaybeUninit<S::Real>]; O],
) {
    let size = outputs.iter().map(|places| places.len()).max().unwrap_or(0);
    let blocks = if size < PARALLEL_FROM { 1 } else { 2 * rayon::current_num_threads() };
    let rows_per_block = rows.div_ceil(blocks).max(1);
    let mut tasks: Vec<Vec<Block<'_, S>>> = Vec::new();
    for places in outputs {
        let count = if S::DUAL { places.len() / 2 } else { places.len() };
        let block = (count / rows * rows_per_block).max(1);
        let (primal, tangent) = places.split_at_mut(count);
        let mut tangents = tangent.chunks_mut(block);
        for (index, primal) in primal.chunks_mut(block).enumerate() {
            let tangent = tangents.next().unwrap_or_default();
            if tasks.len() <= index {
                tasks.push(Vec::with_capacity(O));
            }
            tasks[index].push(Block { primal, tangent });
        }
    }
    let work = |(index, block): (usize, Vec<Block<'_, S>>)| {
        let first = index * rows_per_block;
        run_block(kernel, first..(first + rows_per_block).min(rows), inputs, block);
    };
    if blocks == 1 {
        tasks.into_iter().enumerate().for_each(work);
    } else {
        tasks.into_par_iter().enumerate().for_each(work);
    }
}

/// One thread's rows, compiled for the widest vectors that the processor has. Every row is zeros before the kernel sees it:
/// a kernel need not write what is zero.
fn run_block<S: Scalar, const I: usize, const O: usize, K: Kernel<I, O>>(
    kernel: &K,
    rows: Range<usize>,
    inputs: [Rows<'_, S>; I],
    outputs: Vec<Block<'_, S>>,
) {
    let mut outputs: [Block<'_, S>; O] = outputs.try_into().ok().expect("one block an output");
    let count = rows.len().max(1);
    let widths = outputs.each_ref().map(|all| all.primal.len() / count);
    vectorised(
        #[inline(always)]
        || {
            for row in rows.clone() {
                // Not `map`: it is compiled apart, for no vectors, and called for every row.
                let outputs = std::array::from_fn(
                    #[inline(always)]
                    |nth| outputs[nth].next(widths[nth]),
                );
                kernel.row(row, inputs, outputs);
            }
        },
    );
}

impl<'a, S: Scalar> Block<'a, S> {
    /// The next row, of zeros.
    #[inline(always)]
    fn next(&mut self, width: usize) -> RowsMut<'a, S> {
        let (primal, rest) = std::mem::take(&mut self.primal).split_at_mut(width);
        self.primal = rest;
        let (tangent, rest) = std::mem::take(&mut self.tangent).split_at_mut(if S::DUAL { width } else { 0 });
        self.tangent = rest;
        RowsMut { primal: zeroed(primal), tangent: zeroed(tangent) }
    }
}

/// Value and tangent of an input, copied only where they are not contiguous, as the halves of a stack mostly are; a
/// missing tangent is made of zeros where one is needed.
fn contiguous<S: Scalar>(x: &Dual) -> Result<(Tensor, Option<Tensor>)> {
    let tangent = match x.tangent() {
        Some(tangent) => Some(tangent.contiguous()?),
        None if S::DUAL => Some(x.primal().zeros_like()?.contiguous()?),
        None => None,
    };
    Ok((x.primal().contiguous()?, tangent))
}

/// The numbers of a contiguous tensor that begins at `start` in its storage.
pub(super) fn numbers<'a, T: WithDType>(
    storage: &'a Storage,
    start: usize,
    shape: &Shape,
) -> Result<&'a [T]> {
    let Storage::Cpu(storage) = storage else {
        return Err(Error::Invalid("the tensors of one operation are on different devices".into()));
    };
    let all = CpuStorage::as_slice::<T>(storage)?;
    Ok(&all[start..start + shape.elem_count()])
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;

    impl Kernel<1, 1> for Ones {
        fn row<S: Scalar>(&self, _: usize, _: [Rows<'_, S>; 1], [mut y]: [RowsMut<'_, S>; 1]) {
            (0..y.len()).for_each(|i| y.set(i, S::of(1.0)));
        }

        fn compose(&self, [x]: [Dual; 1]) -> Result<[Dual; 1]> {
            Ok([x])
        }
    }

    #[test]
    fn an_output_that_is_not_made_of_rows_of_one_size_is_refused() {
        let x = Dual::constant(&Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap());
        let ones = |rows, shape: usize| run(&Ones, rows, [&x], [shape.into()]);
        let [y] = ones(3, 6).unwrap();
        assert_eq!(y.primal().to_vec1::<f32>().unwrap(), [1.0; 6]);
        assert!(ones(3, 7).is_err());
    }
}
