//! Element-wise functions.

use candle_core::{D, Shape};

use crate::Result;
use crate::autodiff::formula::Formula;
use crate::autodiff::fused::{self, Call, Grid};
use crate::autodiff::{Dual, Kernel, Number, Ops, Pointwise, Rows, RowsMut, Scalar, Stored, pointwise};

/// 1 / (1 + e⁻ˣ). The exponential is taken of −|x|: it never overflows, and so neither does its tangent.
#[inline(always)]
fn sigmoid<S: Number>(x: S) -> S {
    let small = x.if_positive(-x, x).exp();
    let inverse = S::of(1.0) / (S::of(1.0) + small);
    x.if_positive(inverse, small * inverse)
}

struct SwiGlu;
impl Pointwise<2, 1> for SwiGlu {
    const NAME: &'static str = "swiglu";

    #[inline(always)]
    fn eval<S: Number>(&self, [gate, up]: [S; 2]) -> [S; 1] {
        [gate * sigmoid(gate) * up]
    }
}

struct SwiGluVjp;
impl Pointwise<3, 2> for SwiGluVjp {
    const NAME: &'static str = "swiglu_vjp";

    #[inline(always)]
    fn eval<S: Number>(&self, [gate, up, dy]: [S; 3]) -> [S; 2] {
        let s = sigmoid(gate);
        let silu = gate * s;
        [dy * up * (s + silu * (S::of(1.0) - s)), dy * silu]
    }
}

/// [`SwiGlu`] of rows that hold `width` gates and behind them as many ups.
struct Gated {
    width: usize,
    stored: Stored,
}

impl Gated {
    /// The two halves of every row.
    fn halves(&self, x: &Dual) -> Result<[Dual; 2]> {
        let half = |nth| x.batched_linear(|x| x.narrow(D::Minus1, nth * self.width, self.width));
        Ok([half(0)?, half(1)?])
    }

    /// The kernel of this name over `count` gates.
    fn gated<const I: usize>(
        &self,
        (name, count): (&'static str, usize),
        numbers: &[f64],
        inputs: [&Dual; I],
        shapes: &[Shape; 1],
    ) -> Result<Option<[Dual; 1]>> {
        let (grid, sizes) = (Grid::Elements(count), [count, self.width]);
        let call = Call { name, grid, sizes: &sizes, numbers, tables: &[], stored: self.stored };
        fused::run(&call, inputs, shapes)
    }
}

impl Kernel<1, 1> for Gated {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x]: [Rows<'_, S>; 1], [mut y]: [RowsMut<'_, S>; 1]) {
        let (gate, up) = (x.row(2 * row, self.width), x.row(2 * row + 1, self.width));
        for i in 0..self.width {
            let [hidden] = SwiGlu.eval([gate.get(i), up.get(i)]);
            y.set(i, hidden);
        }
    }

    fn compose(&self, [x]: [Dual; 1]) -> Result<[Dual; 1]> {
        Formula::of(&SwiGlu).eval(self.halves(&x)?)
    }

    fn fused(&self, inputs: [&Dual; 1], shapes: &[Shape; 1]) -> Result<Option<[Dual; 1]>> {
        let numbers = Formula::of(&SwiGlu).constants();
        self.gated(("gated", shapes[0].elem_count()), &numbers, inputs, shapes)
    }
}

impl Kernel<2, 1> for Gated {
    #[inline(always)]
    fn row<S: Scalar>(&self, row: usize, [x, dy]: [Rows<'_, S>; 2], [mut dx]: [RowsMut<'_, S>; 1]) {
        let (gate, up) = (x.row(2 * row, self.width), x.row(2 * row + 1, self.width));
        let dy = dy.row(row, self.width);
        for i in 0..self.width {
            let [dgate, dup] = SwiGluVjp.eval([gate.get(i), up.get(i), dy.get(i)]);
            dx.set(i, dgate);
            dx.set(self.width + i, dup);
        }
    }

    fn compose(&self, [x, dy]: [Dual; 2]) -> Result<[Dual; 1]> {
        let [gate, up] = self.halves(&x)?;
        let parts: [Dual; 2] = Formula::of(&SwiGluVjp).eval([gate, up, dy])?;
        let rows = parts[0].primal().elem_count() / self.width;
        let parts = parts.iter().map(|part| part.reshape((rows, 1, self.width)));
        Ok([Dual::cat(&parts.collect::<Result<Vec<_>>>()?)?])
    }

    fn fused(&self, inputs: [&Dual; 2], shapes: &[Shape; 1]) -> Result<Option<[Dual; 1]>> {
        let numbers = Formula::of(&SwiGluVjp).constants();
        self.gated(("gated_vjp", shapes[0].elem_count() / 2), &numbers, inputs, shapes)
    }
}

/// `y = gate · σ(gate) ⊙ up`   SwiGLU, Shazeer 2020.
///
/// `gate_up: (rows, 2 · width)`, the gates before the ups → `y: (rows, width)`.
pub fn swiglu<V: Ops>(gate_up: &V, stored: Stored) -> Result<V> {
    let (rows, columns) = gate_up.primal().dims2()?;
    let width = columns / 2;
    let [y] = V::run(&Gated { width, stored }, rows, [gate_up], [(rows, width).into()])?;
    Ok(y)
}

/// Cotangent of [`swiglu`]'s input from the cotangent `dy` of its output:
/// `d gate = dy ⊙ up ⊙ (σ + gate σ (1 − σ))`, `d up = dy ⊙ gate σ`.
pub fn swiglu_vjp<V: Ops>(gate_up: &V, dy: &V, stored: Stored) -> Result<V> {
    let shape = gate_up.primal().shape().clone();
    let (rows, columns) = shape.dims2()?;
    let [dx] = V::run(&Gated { width: columns / 2, stored }, rows, [gate_up, dy], [shape])?;
    Ok(dx)
}

#[inline(always)]
fn normal_cdf<S: Number>(x: S) -> S {
    S::of(0.5) * (S::of(1.0) + (x * S::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

struct Gelu;
impl Pointwise<1, 1> for Gelu {
    const NAME: &'static str = "gelu";

    #[inline(always)]
    fn eval<S: Number>(&self, [x]: [S; 1]) -> [S; 1] {
        [x * normal_cdf(x)]
    }
}

struct GeluVjp;
impl Pointwise<2, 1> for GeluVjp {
    const NAME: &'static str = "gelu_vjp";

    #[inline(always)]
    fn eval<S: Number>(&self, [x, dy]: [S; 2]) -> [S; 1] {
        let inverse_root = 0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
        let density = S::of(inverse_root) * (x * x * S::of(-0.5)).exp();
        [dy * (normal_cdf(x) + x * density)]
    }
}

/// `y = x Φ(x)`   GELU, Hendrycks & Gimpel 2016, the exact form.
pub fn gelu<V: Ops>(x: &V) -> Result<V> {
    let [y] = pointwise(Gelu, [x])?;
    Ok(y)
}

/// Cotangent of [`gelu`]'s input: `dy ⊙ (Φ(x) + x φ(x))`.
pub fn gelu_vjp<V: Ops>(x: &V, dy: &V) -> Result<V> {
    let [dx] = pointwise(GeluVjp, [x, dy])?;
    Ok(dx)
}

struct Softplus(f64);
impl Pointwise<1, 1> for Softplus {
    const NAME: &'static str = "softplus";

    #[inline(always)]
    fn eval<S: Number>(&self, [x]: [S; 1]) -> [S; 1] {
        let z = x * S::of(self.0);
        // ln(1 + eᶻ) = max(z, 0) + ln(1 + e^−|z|) does not overflow.
        let (head, tail) = (z.if_positive(z, S::of(0.0)), z.if_positive(-z, z));
        [(head + tail.exp().ln_1p()) / S::of(self.0)]
    }
}

struct SoftplusVjp(f64);
impl Pointwise<2, 1> for SoftplusVjp {
    const NAME: &'static str = "softplus_vjp";

    #[inline(always)]
    fn eval<S: Number>(&self, [x, dy]: [S; 2]) -> [S; 1] {
        [dy * sigmoid(x * S::of(self.0))]
    }
}

/// `y = ln(1 + e^{βx}) / β`.
pub fn softplus<V: Ops>(x: &V, beta: f64) -> Result<V> {
    let [y] = pointwise(Softplus(beta), [x])?;
    Ok(y)
}

/// Cotangent of [`softplus`]'s input: `dy ⊙ σ(βx)`.
pub fn softplus_vjp<V: Ops>(x: &V, dy: &V, beta: f64) -> Result<V> {
    let [dx] = pointwise(SoftplusVjp(beta), [x, dy])?;
    Ok(dx)
}

struct Product;
impl Pointwise<2, 1> for Product {
    const NAME: &'static str = "product";

    #[inline(always)]
    fn eval<S: Number>(&self, [x, y]: [S; 2]) -> [S; 1] {
        [x * y]
    }
}

struct Quotient;
impl Pointwise<2, 1> for Quotient {
    const NAME: &'static str = "quotient";

    #[inline(always)]
    fn eval<S: Number>(&self, [x, y]: [S; 2]) -> [S; 1] {
        [x / y]
    }
}

/// `x ⊙ y`, of one shape.
pub fn product<V: Ops>(x: &V, y: &V) -> Result<V> {
    let [z] = pointwise(Product, [x, y])?;
    Ok(z)
}

/// `x / y`, element by element, of one shape.
pub fn quotient<V: Ops>(x: &V, y: &V) -> Result<V> {
    let [z] = pointwise(Quotient, [x, y])?;
    Ok(z)
}

/// All of these formulas as C++.
#[cfg(test)]
pub(in crate::autodiff) fn sources() -> Vec<String> {
    use crate::autodiff::formula::source;
    vec![
        source(&SwiGlu),
        source(&SwiGluVjp),
        source(&Gelu),
        source(&GeluVjp),
        source(&Softplus(1.0)),
        source(&SoftplusVjp(1.0)),
        source(&Product),
        source(&Quotient),
    ]
}
