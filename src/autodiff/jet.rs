//! Tensors with a derivative along one direction, by Candle's own operations.
//!
//! This is how a kernel runs where its scalar loops do not: [`Kernel::compose`](super::Kernel::compose) states
//! its formula once more over whole tensors. Nothing here reads a number back to the host.

use candle_core::{D, Tensor};

use crate::Result;

/// A tensor and its derivative; `None` is a derivative of zero and costs nothing.
#[derive(Debug, Clone)]
pub struct Jet {
    /// The value.
    pub primal: Tensor,
    /// The derivative, of the same shape.
    pub tangent: Option<Tensor>,
}

type Tangent = Option<Tensor>;

fn plus(a: Tangent, b: Tangent) -> Result<Tangent> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some(a.broadcast_add(&b)?),
        (a, b) => a.or(b),
    })
}

fn times(tangent: &Tangent, slope: &Tensor) -> Result<Tangent> {
    Ok(tangent.as_ref().map(|t| t.broadcast_mul(slope)).transpose()?)
}

impl Jet {
    /// A value that does not vary.
    pub fn constant(primal: Tensor) -> Self {
        Self { primal, tangent: None }
    }

    /// A linear map of value and derivative.
    pub fn linear(&self, map: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Self> {
        let tangent = self.tangent.as_ref().map(&map).transpose()?;
        Ok(Self { primal: map(&self.primal)?, tangent })
    }

    /// `factor · self + shift`.
    pub fn scaled(&self, factor: f64, shift: f64) -> Result<Self> {
        let tangent = match &self.tangent {
            Some(tangent) if factor != 1.0 => Some(tangent.affine(factor, 0.0)?),
            unscaled => unscaled.clone(),
        };
        Ok(Self { primal: self.primal.affine(factor, shift)?, tangent })
    }

    /// `self + other`; as in all products and sums here, a size of one is repeated.
    pub fn add(&self, other: &Self) -> Result<Self> {
        let primal = self.primal.broadcast_add(&other.primal)?;
        let tangent = plus(self.tangent.clone(), other.tangent.clone())?;
        Self { primal, tangent }.widened()
    }

    /// `self − other`.
    pub fn sub(&self, other: &Self) -> Result<Self> {
        self.add(&other.scaled(-1.0, 0.0)?)
    }

    /// `self ⊙ other`.
    pub fn mul(&self, other: &Self) -> Result<Self> {
        let primal = self.primal.broadcast_mul(&other.primal)?;
        let tangent = plus(times(&self.tangent, &other.primal)?, times(&other.tangent, &self.primal)?)?;
        Self { primal, tangent }.widened()
    }

    /// `self / other`, element by element.
    pub fn div(&self, other: &Self) -> Result<Self> {
        let primal = self.primal.broadcast_div(&other.primal)?;
        let tangent = match (&self.tangent, &other.tangent) {
            (None, None) => None,
            (own, None) => own.clone(),
            (own, Some(other)) => {
                let lost = Some(primal.broadcast_mul(other)?.neg()?);
                plus(own.clone(), lost)?
            }
        };
        let tangent = tangent.map(|t| t.broadcast_div(&other.primal)).transpose()?;
        Self { primal, tangent }.widened()
    }

    /// A derivative that came of the smaller factor alone takes the shape of the value.
    fn widened(self) -> Result<Self> {
        let shape = self.primal.shape().clone();
        let tangent = self.tangent.map(|t| t.broadcast_as(&shape)?.contiguous()).transpose()?;
        Ok(Self { tangent, ..self })
    }

    /// A function of the value whose derivative is `slope(y)` at the result y; not computed where none is due.
    fn map(
        &self,
        primal: Tensor,
        slope: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
    ) -> Result<Self> {
        let tangent = self.tangent.as_ref().map(|t| t * slope(&primal)?).transpose()?;
        Ok(Self { primal, tangent })
    }

    /// eˣ.
    pub fn exp(&self) -> Result<Self> {
        self.map(self.primal.exp()?, |y| Ok(y.clone()))
    }

    /// Natural logarithm.
    pub fn ln(&self) -> Result<Self> {
        self.map(self.primal.log()?, |_| self.primal.recip())
    }

    /// ln(1 + x), exact for small x too: with u the rounded 1 + x it is `x ln(u) / (u − 1)`, in which the
    /// rounding cancels (Kahan).
    pub fn ln_1p(&self) -> Result<Self> {
        let x = &self.primal;
        let u = x.affine(1.0, 1.0)?;
        let rounded = u.affine(1.0, -1.0)?;
        let ratio = ((x * u.log()?)? / &rounded)?;
        let primal = rounded.ne(&x.zeros_like()?)?.where_cond(&ratio, x)?;
        self.map(primal, |_| u.recip())
    }

    /// Square root, with a derivative of zero at zero.
    pub fn sqrt(&self) -> Result<Self> {
        self.map(self.primal.sqrt()?, |root| {
            let zeros = root.zeros_like()?;
            root.gt(&zeros)?.where_cond(&root.affine(2.0, 0.0)?.recip()?, &zeros)
        })
    }

    /// The error function.
    pub fn erf(&self) -> Result<Self> {
        let slope =
            |_: &Tensor| self.primal.sqr()?.neg()?.exp()?.affine(std::f64::consts::FRAC_2_SQRT_PI, 0.0);
        self.map(self.primal.erf()?, slope)
    }

    /// `yes` where the value is above zero, `no` elsewhere; all of one shape.
    pub fn if_positive(&self, yes: &Self, no: &Self) -> Result<Self> {
        let positive = self.primal.gt(&self.primal.zeros_like()?)?;
        let primal = positive.where_cond(&yes.primal, &no.primal)?;
        let written_out = |jet: &Self| match &jet.tangent {
            Some(tangent) => Ok(tangent.clone()),
            None => jet.primal.zeros_like(),
        };
        let tangent = match (&yes.tangent, &no.tangent) {
            (None, None) => None,
            _ => Some(positive.where_cond(&written_out(yes)?, &written_out(no)?)?),
        };
        Ok(Self { primal, tangent })
    }

    /// Sum over the last dimension, which stays with a size of one.
    pub fn row_sum(&self) -> Result<Self> {
        self.linear(|x| x.sum_keepdim(D::Minus1))
    }

    /// The largest value along the last dimension, which stays with a size of one; a constant, for it is only
    /// subtracted where it cancels.
    pub fn row_max(&self) -> Result<Self> {
        Ok(Self::constant(self.primal.contiguous()?.max_keepdim(D::Minus1)?))
    }

    /// The same numbers in another shape.
    pub fn reshape(&self, dims: &[usize]) -> Result<Self> {
        self.linear(|x| x.reshape(dims))
    }
}
