//! Element-wise functions.

use crate::Result;
use crate::autodiff::{Number, Ops, Pointwise, pointwise};

/// 1 / (1 + e⁻ˣ). The exponential is taken of −|x|: it never overflows, and so neither does its tangent.
#[inline(always)]
fn sigmoid<S: Number>(x: S) -> S {
    let small = x.if_positive(-x, x).exp();
    let inverse = S::of(1.0) / (S::of(1.0) + small);
    x.if_positive(inverse, small * inverse)
}

struct SwiGlu;
impl Pointwise<2, 1> for SwiGlu {
    #[inline(always)]
    fn eval<S: Number>(&self, [gate, up]: [S; 2]) -> [S; 1] {
        [gate * sigmoid(gate) * up]
    }
}

struct SwiGluVjp;
impl Pointwise<3, 2> for SwiGluVjp {
    #[inline(always)]
    fn eval<S: Number>(&self, [gate, up, dy]: [S; 3]) -> [S; 2] {
        let s = sigmoid(gate);
        let silu = gate * s;
        [dy * up * (s + silu * (S::of(1.0) - s)), dy * silu]
    }
}

/// `y = gate · σ(gate) ⊙ up`   SwiGLU, Shazeer 2020. All of one shape.
pub fn swiglu<V: Ops>(gate: &V, up: &V) -> Result<V> {
    let [y] = pointwise(SwiGlu, [gate, up])?;
    Ok(y)
}

/// Cotangents `[gate, up]` of [`swiglu`] from the cotangent `dy` of its output:
/// `d gate = dy ⊙ up ⊙ (σ + gate σ (1 − σ))`, `d up = dy ⊙ gate σ`.
pub fn swiglu_vjp<V: Ops>(gate: &V, up: &V, dy: &V) -> Result<[V; 2]> {
    pointwise(SwiGluVjp, [gate, up, dy])
}

#[inline(always)]
fn normal_cdf<S: Number>(x: S) -> S {
    S::of(0.5) * (S::of(1.0) + (x * S::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

struct Gelu;
impl Pointwise<1, 1> for Gelu {
    #[inline(always)]
    fn eval<S: Number>(&self, [x]: [S; 1]) -> [S; 1] {
        [x * normal_cdf(x)]
    }
}

struct GeluVjp;
impl Pointwise<2, 1> for GeluVjp {
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
    #[inline(always)]
    fn eval<S: Number>(&self, [x, y]: [S; 2]) -> [S; 1] {
        [x * y]
    }
}

struct Quotient;
impl Pointwise<2, 1> for Quotient {
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
