//! Rotary positions, joined with the change between token-major and head-major layout.

use candle_core::{D, Shape, Tensor};

use crate::Result;
use crate::autodiff::{Dual, Kernel, Ops, Resident, Rows, RowsMut, Scalar};

/// Cosines and sines of the rotary angles of positions 0, 1, …
#[derive(Debug, Clone)]
pub struct RopeTable {
    cos: Vec<f64>,
    sin: Vec<f64>,
    half: usize,
    /// Cosines and sines once more, `(positions, half)` each.
    tensors: [Resident; 2],
}

impl RopeTable {
    /// Angles `position · frequency` for `positions` positions; `head_dim / 2` frequencies.
    pub fn new(frequencies: &[f64], positions: usize) -> Self {
        let angles = || (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let half = frequencies.len();
        let (cos, sin) = (angles().map(f64::cos).collect(), angles().map(f64::sin).collect());
        Self { cos, sin, half, tensors: Default::default() }
    }

    /// How many positions it holds.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half
    }
}

impl RopeTable {
    /// Turns `x: (…, S, 2 · half)` by `direction` times each position's angle.
    fn turn(&self, x: &Dual, direction: f64) -> Result<Dual> {
        let dims = (self.positions(), self.half);
        let table = |index: usize, numbers: &[f64]| {
            self.tensors[index].numbers(x.primal(), dims, || numbers.to_vec())
        };
        let tokens = x.primal().dim(D::Minus2)?;
        let cos = table(0, &self.cos)?.narrow(0, 0, tokens)?;
        let sin = (table(1, &self.sin)?.narrow(0, 0, tokens)? * direction)?;
        x.batched_linear(|x| {
            let (a, b) = (x.narrow(D::Minus1, 0, self.half)?, x.narrow(D::Minus1, self.half, self.half)?);
            let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
            let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
            Tensor::cat(&[first, second], D::Minus1)
        })
    }
}

/// Sizes of one batch of heads.
#[derive(Clone, Copy)]
struct Heads {
    tokens: usize,
    heads: usize,
    width: usize,
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
    let half = table.half;
    for i in 0..half {
        let cos = S::of(table.cos[position * half + i]);
        let sin = S::of(direction * table.sin[position * half + i]);
        let (a, b) = (x.get(i), x.get(half + i));
        set(i, a * cos - b * sin);
        set(half + i, b * cos + a * sin);
    }
}

/// Exchanges heads and tokens, `(B, S, heads, width)` for `(B, heads, S, width)` or back.
fn swap_heads_and_tokens(x: &Dual) -> Result<Dual> {
    x.batched_linear(|x| x.transpose(D::Minus(3), D::Minus2)?.contiguous())
}

struct Split<'a>(Heads, Option<&'a RopeTable>);
impl Kernel<1, 1> for Split<'_> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x]: [Rows<'_, S>; 1], [mut y]: [RowsMut<'_, S>; 1]) {
        let Heads { tokens, heads, width } = self.0;
        let (batch, head) = (row / heads, row % heads);
        for token in 0..tokens {
            let source = x.row((batch * tokens + token) * heads + head, width);
            rotate(self.1, token, 1.0, source, |i, v| y.set(token * width + i, v), width);
        }
    }

    fn compose(&self, [x]: [Dual; 1]) -> Result<[Dual; 1]> {
        let Heads { tokens, heads, width } = self.0;
        let batch = x.primal().elem_count() / (tokens * heads * width);
        let x = swap_heads_and_tokens(&x.reshape((batch, tokens, heads, width))?)?;
        Ok([match self.1 {
            Some(table) => table.turn(&x, 1.0)?,
            None => x,
        }])
    }
}

struct Merge<'a>(Heads, Option<&'a RopeTable>);
impl Kernel<1, 1> for Merge<'_> {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x]: [Rows<'_, S>; 1], [mut y]: [RowsMut<'_, S>; 1]) {
        let Heads { tokens, heads, width } = self.0;
        let (batch, token) = (row / tokens, row % tokens);
        for head in 0..heads {
            let source = x.row((batch * heads + head) * tokens + token, width);
            rotate(self.1, token, -1.0, source, |i, v| y.set(head * width + i, v), width);
        }
    }

    fn compose(&self, [x]: [Dual; 1]) -> Result<[Dual; 1]> {
        let Heads { tokens, heads, width } = self.0;
        let batch = x.primal().elem_count() / (tokens * heads * width);
        let x = x.reshape((batch, heads, tokens, width))?;
        let x = match self.1 {
            Some(table) => table.turn(&x, -1.0)?,
            None => x,
        };
        Ok([swap_heads_and_tokens(&x)?])
    }
}

/// From token-major to head-major, turning each head by its token's angle if a table is given (RoPE, Su et
/// al. 2021, in the halves layout of Hugging Face): `(B, S, heads · width) → (B, heads, S, width)`.
pub fn split_heads<V: Ops>(x: &V, heads: usize, rope: Option<&RopeTable>) -> Result<V> {
    let (batch, tokens, all) = x.primal().dims3()?;
    let sizes = Heads { tokens, heads, width: all / heads };
    let shape = Shape::from((batch, heads, tokens, sizes.width));
    let [y] = V::run(&Split(sizes, rope), batch * heads, [x], [shape])?;
    Ok(y)
}

/// The transpose (and inverse) of [`split_heads`]: `(B, heads, S, width) → (B, S, heads · width)`, turning
/// back if a table is given.
pub fn merge_heads<V: Ops>(x: &V, rope: Option<&RopeTable>) -> Result<V> {
    let (batch, heads, tokens, width) = x.primal().dims4()?;
    let shape = Shape::from((batch, tokens, heads * width));
    let [y] = V::run(&Merge(Heads { tokens, heads, width }, rope), batch * tokens, [x], [shape])?;
    Ok(y)
}
