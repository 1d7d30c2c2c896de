//! Rotary positions, joined with the change between token-major and head-major layout.

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{D, Shape, Tensor};

use crate::Result;
use crate::autodiff::fused::{self, Call, Grid};
use crate::autodiff::{Dual, Kernel, Ops, Resident, Rows, RowsMut, Scalar, Stored};

/// Cosines and sines of the rotary angles of positions 0, 1, …; clones share them.
#[derive(Debug, Clone)]
pub struct RopeTable(Arc<Angles>);

#[derive(Debug)]
struct Angles {
    /// Radians a position.
    frequencies: Vec<f64>,
    /// `(positions, frequencies)` each.
    cos: Vec<f64>,
    sin: Vec<f64>,
    /// Cosines and sines once more.
    tensors: [Resident; 2],
}

/// Tables that are shared, one for each set of frequencies, the newest last.
#[derive(Debug)]
struct Tables(RwLock<Vec<RopeTable>>);

static SHARED: Tables = Tables(RwLock::new(Vec::new()));

/// How many sets of frequencies have a shared table: one for each model that a program works with at a time.
const MOST_SHARED: usize = 4;

/// Shared tables hold a multiple of this many positions, so that batches of similar length share one.
const POSITIONS_STEP: usize = 256;

impl Tables {
    fn get(&self, frequencies: &[f64], positions: usize) -> RopeTable {
        let find = |tables: &[RopeTable]| {
            let serves =
                |table: &&RopeTable| table.0.frequencies == frequencies && table.positions() >= positions;
            tables.iter().find(serves).cloned()
        };
        // A thread that panicked while it held the lock left a list that is whole.
        if let Some(table) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return table;
        }
        let table = RopeTable::new(frequencies, positions.next_multiple_of(POSITIONS_STEP));
        let mut tables = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been first.
        if let Some(first) = find(&tables) {
            return first;
        }
        tables.retain(|shorter| shorter.0.frequencies != frequencies);
        if tables.len() == MOST_SHARED {
            tables.remove(0);
        }
        tables.push(table.clone());
        table
    }
}

impl RopeTable {
    /// Angles `position · frequency` for `positions` positions; `head_dim / 2` frequencies.
    pub fn new(frequencies: &[f64], positions: usize) -> Self {
        let angles = || (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let (cos, sin) = (angles().map(f64::cos).collect(), angles().map(f64::sin).collect());
        Self(Arc::new(Angles { frequencies: frequencies.to_vec(), cos, sin, tensors: Default::default() }))
    }

    /// A table of at least `positions` positions, shared by all batches of these frequencies. It is computed and sent
    /// to a device once, and again only when a longer one is needed.
    pub fn shared(frequencies: &[f64], positions: usize) -> Self {
        SHARED.get(frequencies, positions)
    }

    /// How many positions it holds.
    pub fn positions(&self) -> usize {
        self.0.cos.len() / self.half()
    }

    /// Number of frequencies, half the width of a head.
    #[inline(always)]
    fn half(&self) -> usize {
        self.0.frequencies.len()
    }

    /// Cosines and sines, `(positions, half)`, like `x`.
    fn tensors(&self, x: &Tensor) -> Result<[Tensor; 2]> {
        let dims = (self.positions(), self.half());
        let table =
            |index: usize, numbers: &[f64]| self.0.tensors[index].numbers(x, dims, || numbers.to_vec());
        Ok([table(0, &self.0.cos)?, table(1, &self.0.sin)?])
    }

    /// Turns `x: (…, S, 2 · half)` by `direction` times each position's angle.
    fn turn(&self, x: &Dual, direction: f64) -> Result<Dual> {
        let (half, tokens) = (self.half(), x.primal().dim(D::Minus2)?);
        let [cos, sin] = self.tensors(x.primal())?;
        let (cos, sin) = (cos.narrow(0, 0, tokens)?, (sin.narrow(0, 0, tokens)? * direction)?);
        x.batched_linear(|x| {
            let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
            let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
            let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
            Tensor::cat(&[first, second], D::Minus1)
        })
    }
}

/// Heads that stand side by side in the columns of a matrix: `count` of them of one `width`, the head `first` and those
/// behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadsOf {
    /// Number of the first head, from the left.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// Columns of each.
    pub width: usize,
}

/// Copies one head of one token, turned by `direction` times its position's angle.
#[inline(always)]
fn rotate<S: Scalar>(
    table: Option<&RopeTable>,
    position: usize,
    direction: f64,
    x: Rows<'_, S>,
    mut set: impl FnMut(usize, S),
    width: usize,
) {
    let Some(table) = table else {
        for i in 0..width {
            set(i, x.get(i));
        }
        return;
    };
    let half = table.half();
    let (cosines, sines) = (&table.0.cos[position * half..], &table.0.sin[position * half..]);
    for i in 0..half {
        let cos = S::of(cosines[i]);
        let sin = S::of(direction * sines[i]);
        let (a, b) = (x.get(i), x.get(half + i));
        set(i, a * cos - b * sin);
        set(half + i, b * cos + a * sin);
    }
}

/// Exchanges heads and tokens, `(B, S, heads, width)` for `(B, heads, S, width)` or back.
fn swap_heads_and_tokens(x: &Dual) -> Result<Dual> {
    x.batched_linear(|x| x.transpose(D::Minus(3), D::Minus2)?.contiguous())
}

struct Split<'a> {
    tokens: usize,
    /// Heads of a row, those that are not taken included.
    all: usize,
    heads: HeadsOf,
    rope: Option<&'a RopeTable>,
    stored: Stored,
}

impl Kernel<1, 1> for Split<'_> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x]: [Rows<'_, S>; 1], [mut y]: [RowsMut<'_, S>; 1]) {
        let HeadsOf { first, count, width } = self.heads;
        let (batch, head) = (row / count, first + row % count);
        for token in 0..self.tokens {
            let source = x.row((batch * self.tokens + token) * self.all + head, width);
            rotate(self.rope, token, 1.0, source, |i, v| y.set(token * width + i, v), width);
        }
    }

    fn compose(&self, [x]: [Dual; 1]) -> Result<[Dual; 1]> {
        let HeadsOf { first, count, width } = self.heads;
        let batch = x.primal().elem_count() / (self.tokens * self.all * width);
        let x = x.reshape((batch, self.tokens, self.all, width))?;
        let x = swap_heads_and_tokens(&x.batched_linear(|x| x.narrow(D::Minus2, first, count))?)?;
        Ok([match self.rope {
            Some(table) => table.turn(&x, 1.0)?,
            None => x,
        }])
    }

    fn fused(&self, inputs: [&Dual; 1], shapes: &[Shape; 1]) -> Result<Option<[Dual; 1]>> {
        let HeadsOf { first, count, width } = self.heads;
        let pairs = shapes[0].elem_count() / 2;
        if width % 2 == 1 {
            return Ok(None);
        }
        let tables = self.rope.map(|rope| rope.tensors(inputs[0].primal())).transpose()?;
        let call = Call {
            name: "split_heads",
            grid: Grid::Elements(pairs),
            sizes: &[pairs, self.tokens, self.all, first, count, width / 2, usize::from(self.rope.is_some())],
            numbers: &[],
            tables: &tables.iter().flatten().collect::<Vec<_>>(),
            stored: self.stored,
        };
        fused::run(&call, inputs, shapes)
    }
}

struct Merge<'a, const N: usize> {
    tokens: usize,
    width: usize,
    /// Heads of each input.
    counts: [usize; N],
    ropes: [Option<&'a RopeTable>; N],
    stored: Stored,
}

impl<const N: usize> Kernel<N, 1> for Merge<'_, N> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, inputs: [Rows<'_, S>; N], [mut y]: [RowsMut<'_, S>; 1]) {
        let (tokens, width) = (self.tokens, self.width);
        let (batch, token) = (row / tokens, row % tokens);
        let mut column = 0;
        for (input, x) in inputs.iter().enumerate() {
            let (count, rope) = (self.counts[input], self.ropes[input]);
            for head in 0..count {
                let source = x.row((batch * count + head) * tokens + token, width);
                rotate(rope, token, -1.0, source, |i, v| y.set(column + i, v), width);
                column += width;
            }
        }
    }

    fn compose(&self, inputs: [Dual; N]) -> Result<[Dual; 1]> {
        let mut parts = vec![];
        for (input, x) in inputs.into_iter().enumerate() {
            let count = self.counts[input];
            let batch = x.primal().elem_count() / (self.tokens * count * self.width);
            let x = x.reshape((batch, count, self.tokens, self.width))?;
            let x = match self.ropes[input] {
                Some(table) => table.turn(&x, -1.0)?,
                None => x,
            };
            parts.push(swap_heads_and_tokens(&x)?);
        }
        Ok([Dual::cat(&parts)?])
    }

    fn fused(&self, inputs: [&Dual; N], shapes: &[Shape; 1]) -> Result<Option<[Dual; 1]>> {
        let (pairs, all) = (shapes[0].elem_count() / 2, self.counts.iter().sum());
        // A kernel tells three kinds apart.
        if self.width % 2 == 1 || N > 3 {
            return Ok(None);
        }
        let rope = self.ropes.iter().flatten().next();
        let tables = rope.map(|rope| rope.tensors(inputs[0].primal())).transpose()?;
        let mut sizes = vec![pairs, self.tokens, all, self.width / 2];
        let kinds = self.counts.iter().zip(&self.ropes);
        sizes.extend(kinds.flat_map(|(&count, rope)| [count, usize::from(rope.is_some())]));
        let call = Call {
            name: "merge_heads",
            grid: Grid::Elements(pairs),
            sizes: &sizes,
            numbers: &[],
            tables: &tables.iter().flatten().collect::<Vec<_>>(),
            stored: self.stored,
        };
        fused::run(&call, inputs, shapes)
    }
}

/// From token-major to head-major, turning each head by its token's angle if a table is given (RoPE, Su et
/// al. 2021, in the halves layout of Hugging Face): of `(B, S, all · width)` the named heads → `(B, heads, S, width)`.
pub fn split_heads<V: Ops>(x: &V, heads: HeadsOf, rope: Option<&RopeTable>, stored: Stored) -> Result<V> {
    let (batch, tokens, columns) = x.primal().dims3()?;
    let HeadsOf { count, width, .. } = heads;
    let shape = Shape::from((batch, count, tokens, width));
    let kernel = Split { tokens, all: columns / width, heads, rope, stored };
    let [y] = V::run(&kernel, batch * count, [x], [shape])?;
    Ok(y)
}

/// The transpose (and inverse) of [`split_heads`] for heads of several kinds, each `(B, heads, S, width)` →
/// `(B, S, all · width)`, turning back those for which a table is given.
pub fn merge_heads<V: Ops, const N: usize>(
    x: [&V; N],
    ropes: [Option<&RopeTable>; N],
    stored: Stored,
) -> Result<V> {
    let (batch, _, tokens, width) = x[0].primal().dims4()?;
    let counts = x.map(|x| x.primal().elem_count() / (batch * tokens * width));
    let shape = Shape::from((batch, tokens, counts.iter().sum::<usize>() * width));
    let [y] = V::run(&Merge { tokens, width, counts, ropes, stored }, batch * tokens, x, [shape])?;
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_shared_until_a_longer_one_is_asked_for() {
        let tables = Tables(RwLock::new(Vec::new()));
        let same = |a: &RopeTable, b: &RopeTable| Arc::ptr_eq(&a.0, &b.0);
        let first = tables.get(&[1.0, 0.1], 3);
        assert_eq!(first.positions(), POSITIONS_STEP);
        assert!(same(&first, &tables.get(&[1.0, 0.1], POSITIONS_STEP)));
        assert!(!same(&first, &tables.get(&[1.0, 0.2], 3)));
        let longer = tables.get(&[1.0, 0.1], POSITIONS_STEP + 1);
        assert_eq!(longer.positions(), 2 * POSITIONS_STEP);
        assert_eq!(longer.0.cos[..first.0.cos.len()], first.0.cos);
        assert!(same(&longer, &tables.get(&[1.0, 0.1], 3)));
        for other in 0..10 {
            tables.get(&[f64::from(other)], 1);
        }
        assert_eq!(tables.0.read().unwrap().len(), MOST_SHARED);
    }
}
