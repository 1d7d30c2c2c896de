//! Dual numbers over tensors: a value and its derivative along one direction.

use candle_core::{Shape, Tensor};

use super::gemm::{Half, Term, sum_of_products};
use super::kernel::{self, Kernel};
use super::ops::Ops;
use crate::{Error, Result};

/// `primal + ε tangent`, with ε² = 0. A tangent of zero is `None` and costs nothing.
///
/// Where primal and tangent come out of one operation they are halves of one tensor `(2, shape…)`, so that
/// a product with a frozen matrix takes both at once, without a copy.
#[derive(Debug, Clone)]
pub struct Dual {
    primal: Tensor,
    tangent: Option<Tensor>,
    stacked: Option<Tensor>,
}

impl Dual {
    /// A value and its tangent, of one shape.
    pub fn new(primal: Tensor, tangent: Option<Tensor>) -> Result<Self> {
        if let Some(tangent) = &tangent
            && tangent.shape() != primal.shape()
        {
            let (expected, found) = (primal.shape(), tangent.shape());
            return Err(Error::Invalid(format!(
                "a tangent of shape {found:?} for a value of shape {expected:?}"
            )));
        }
        Ok(Self { primal, tangent, stacked: None })
    }

    /// The derivative; `None` means zero.
    pub fn tangent(&self) -> Option<&Tensor> {
        self.tangent.as_ref()
    }

    /// The derivative, with zeros written out.
    pub fn tangent_or_zeros(&self) -> Result<Tensor> {
        Ok(match &self.tangent {
            Some(tangent) => tangent.clone(),
            None => self.primal.zeros_like()?,
        })
    }

    fn from_stacked(stacked: Tensor) -> Result<Self> {
        let (primal, tangent) = (stacked.get(0)?, stacked.get(1)?);
        Ok(Self { primal, tangent: Some(tangent), stacked: Some(stacked) })
    }

    /// The terms of `self · other`, of which `other` has `tangent` as its derivative.
    fn product_terms<'a>(&'a self, other: &'a Tensor, tangent: Option<&'a Tensor>) -> Vec<Term<'a>> {
        let second = |left, right| Term { half: Half::Second, left, right };
        let mut terms = match (&self.stacked, &self.tangent) {
            (Some(stacked), _) if stacked.rank() == 3 => {
                vec![Term { half: Half::Both, left: stacked, right: other }]
            }
            (_, None) => vec![Term { half: Half::First, left: &self.primal, right: other }],
            (_, Some(own)) => {
                vec![Term { half: Half::First, left: &self.primal, right: other }, second(own, other)]
            }
        };
        terms.extend(tangent.map(|tangent| second(&self.primal, tangent)));
        terms
    }

    /// `bias + self · frozen + z · right`.
    fn add_low(&self, frozen: &Tensor, bias: Option<&Tensor>, low: Option<(&Self, &Self)>) -> Result<Self> {
        let stacked = match (&self.stacked, &self.tangent) {
            (None, Some(tangent)) => Some(Tensor::stack(&[&self.primal, tangent], 0)?),
            (stacked, _) => stacked.clone(),
        };
        let whole = Self { stacked, ..self.clone() };
        let mut terms = whole.product_terms(frozen, None);
        if let Some((z, right)) = low {
            terms.extend(z.product_terms(&right.primal, right.tangent.as_ref()));
        }
        Self::from_terms(bias, &terms)
    }

    fn from_terms(bias: Option<&Tensor>, terms: &[Term<'_>]) -> Result<Self> {
        let varies = terms.iter().any(|term| term.half != Half::First);
        let result = sum_of_products(varies, bias, terms)?;
        if varies { Self::from_stacked(result) } else { Ok(Self::constant(&result)) }
    }
}

fn sum(a: Option<Tensor>, b: Option<Tensor>) -> Result<Option<Tensor>> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some((a + b)?),
        (a, b) => a.or(b),
    })
}

impl Ops for Dual {
    fn constant(tensor: &Tensor) -> Self {
        Self { primal: tensor.clone(), tangent: None, stacked: None }
    }

    fn primal(&self) -> &Tensor {
        &self.primal
    }

    fn linear(&self, map: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Self> {
        let tangent = self.tangent.as_ref().map(&map).transpose()?;
        Ok(Self { primal: map(&self.primal)?, tangent, stacked: None })
    }

    fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        match &self.stacked {
            Some(stacked) => {
                let mut dims = shape.into_dims();
                dims.insert(0, 2);
                Self::from_stacked(stacked.reshape(dims)?)
            }
            None => self.linear(|x| x.reshape(&shape)),
        }
    }

    fn add(&self, other: &Self) -> Result<Self> {
        if let (Some(a), Some(b)) = (&self.stacked, &other.stacked) {
            return Self::from_stacked((a + b)?);
        }
        let tangent = sum(self.tangent.clone(), other.tangent.clone())?;
        Ok(Self { primal: (&self.primal + &other.primal)?, tangent, stacked: None })
    }

    fn matmul(&self, other: &Self) -> Result<Self> {
        Self::from_terms(None, &self.product_terms(&other.primal, other.tangent.as_ref()))
    }

    fn affine(&self, weight: &Tensor, bias: Option<&Tensor>, low: Option<(&Self, &Self)>) -> Result<Self> {
        let low = low.map(|(z, b)| Ok::<_, Error>((z, Ops::t(b)?))).transpose()?;
        let weight = weight.to_dtype(self.primal.dtype())?.t()?;
        self.add_low(&weight, bias, low.as_ref().map(|(z, b)| (*z, b)))
    }

    fn affine_back(&self, weight: &Tensor, low: Option<(&Self, &Self)>) -> Result<Self> {
        self.add_low(&weight.to_dtype(self.primal.dtype())?, None, low)
    }

    fn cat(parts: &[Self]) -> Result<Self> {
        let primals: Vec<&Tensor> = parts.iter().map(|part| &part.primal).collect();
        let primal = Tensor::cat(&primals, 0)?;
        if parts.iter().all(|part| part.tangent.is_none()) {
            return Ok(Self::constant(&primal));
        }
        let tangents = parts.iter().map(Self::tangent_or_zeros).collect::<Result<Vec<_>>>()?;
        Self::new(primal, Some(Tensor::cat(&tangents, 0)?))
    }

    fn run<const I: usize, const O: usize, K: Kernel<I, O>>(
        kernel: &K,
        rows: usize,
        inputs: [&Self; I],
        shapes: [Shape; O],
    ) -> Result<[Self; O]> {
        let varies = inputs.iter().any(|x| x.tangent.is_some());
        let outputs = kernel::run(kernel, rows, inputs.map(|x| (&x.primal, x.tangent.as_ref())), shapes)?;
        let wrap = |x: Tensor| if varies { Self::from_stacked(x) } else { Ok(Self::constant(&x)) };
        let outputs = outputs.into_iter().map(wrap).collect::<Result<Vec<_>>>()?;
        Ok(outputs.try_into().expect("one value an output"))
    }
}
