//! Scalars: plain numbers, and pairs of a number with its derivative in one direction.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::exp;

/// A real number as a tensor stores it: `f32` or `f64`.
pub trait Real:
    candle_core::WithDType
    + std::fmt::Debug
    + Default
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + PartialOrd
{
    /// The nearest value of this type.
    fn of(value: f64) -> Self;
    /// eˣ, at most two units in the last place off; branch-free, so that loops over it vectorise.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x), exact for small x too.
    fn ln_1p(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn exp(self) -> Self {
        exp::exp_f32(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f32::ln(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        f32::ln_1p(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn erf(self) -> Self {
        candle_core::cpu::erf::erf_f32(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        f64::ln(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        f64::ln_1p(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn erf(self) -> Self {
        candle_core::cpu::erf::erf_f64(self)
    }
}

/// What a pointwise formula is written over: numbers, pairs of them, or the symbols of a formula that is
/// written down to be run elsewhere.
pub trait Number:
    Copy
    + std::fmt::Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// A constant.
    fn of(value: f64) -> Self;
    /// eˣ.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x), exact for small x too.
    fn ln_1p(self) -> Self;
    /// Square root; its derivative at zero is taken as zero, as an adaptive optimiser needs it.
    fn sqrt(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// `yes` where the value is above zero, `no` elsewhere. Both are computed, so that loops vectorise.
    fn if_positive(self, yes: Self, no: Self) -> Self;
}

/// What a kernel computes with: a [`Real`], or a [`Pair`] of them.
pub trait Scalar: Number {
    /// The number it is made of.
    type Real: Real;
    /// Whether it carries a tangent.
    const DUAL: bool;
    /// Joins a primal and a tangent; a plain number drops the tangent.
    fn join(primal: Self::Real, tangent: Self::Real) -> Self;
    /// The value.
    fn primal(self) -> Self::Real;
    /// The derivative; zero for a plain number.
    fn tangent(self) -> Self::Real;

    /// A constant.
    #[inline(always)]
    fn real(value: Self::Real) -> Self {
        Self::join(value, Self::Real::default())
    }
}

macro_rules! plain {
    ($t:ty) => {
        impl Number for $t {
            #[inline(always)]
            fn of(value: f64) -> Self {
                Real::of(value)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                Real::exp(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                Real::ln(self)
            }
            #[inline(always)]
            fn ln_1p(self) -> Self {
                Real::ln_1p(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                Real::sqrt(self)
            }
            #[inline(always)]
            fn erf(self) -> Self {
                Real::erf(self)
            }
            #[inline(always)]
            fn if_positive(self, yes: Self, no: Self) -> Self {
                if self > 0.0 { yes } else { no }
            }
        }

        impl Scalar for $t {
            type Real = $t;
            const DUAL: bool = false;
            #[inline(always)]
            fn join(primal: $t, _tangent: $t) -> Self {
                primal
            }
            #[inline(always)]
            fn primal(self) -> $t {
                self
            }
            #[inline(always)]
            fn tangent(self) -> $t {
                0.0
            }
        }
    };
}
plain!(f32);
plain!(f64);

/// A number and its derivative along one direction: `primal + ε tangent`, with ε² = 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair<R>(pub R, pub R);

impl<R: Real> Add for Pair<R> {
    type Output = Self;
    #[inline(always)]
    fn add(self, o: Self) -> Self {
        Pair(self.0 + o.0, self.1 + o.1)
    }
}
impl<R: Real> Sub for Pair<R> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, o: Self) -> Self {
        Pair(self.0 - o.0, self.1 - o.1)
    }
}
impl<R: Real> Mul for Pair<R> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, o: Self) -> Self {
        Pair(self.0 * o.0, self.1 * o.0 + self.0 * o.1)
    }
}
impl<R: Real> Div for Pair<R> {
    type Output = Self;
    #[inline(always)]
    fn div(self, o: Self) -> Self {
        let q = self.0 / o.0;
        Pair(q, (self.1 - q * o.1) / o.0)
    }
}
impl<R: Real> Neg for Pair<R> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Pair(-self.0, -self.1)
    }
}

impl<R: Real> Number for Pair<R> {
    #[inline(always)]
    fn of(value: f64) -> Self {
        Pair(R::of(value), R::default())
    }
    #[inline(always)]
    fn exp(self) -> Self {
        let e = self.0.exp();
        Pair(e, e * self.1)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        Pair(self.0.ln(), self.1 / self.0)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        Pair(self.0.ln_1p(), self.1 / (R::of(1.0) + self.0))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        let root = self.0.sqrt();
        let zero = R::default();
        Pair(root, if root > zero { self.1 / (root + root) } else { zero })
    }
    #[inline(always)]
    fn erf(self) -> Self {
        let slope = R::of(std::f64::consts::FRAC_2_SQRT_PI) * (-(self.0 * self.0)).exp();
        Pair(self.0.erf(), slope * self.1)
    }
    #[inline(always)]
    fn if_positive(self, yes: Self, no: Self) -> Self {
        if self.0 > R::default() { yes } else { no }
    }
}

impl<R: Real> Scalar for Pair<R> {
    type Real = R;
    const DUAL: bool = true;
    #[inline(always)]
    fn join(primal: R, tangent: R) -> Self {
        Pair(primal, tangent)
    }
    #[inline(always)]
    fn primal(self) -> R {
        self.0
    }
    #[inline(always)]
    fn tangent(self) -> R {
        self.1
    }
}
