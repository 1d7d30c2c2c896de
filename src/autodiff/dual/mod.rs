//! Dual numbers over tensors: a value and its derivative along one direction.

mod arithmetic;

pub(super) use arithmetic::add_to_half;

use candle_core::{Shape, Tensor};

use super::choose;
use super::kernel::Kernel;
use super::ops::Ops;
use super::product::{Part, Sum, Term};
use crate::{Error, Result};

/// `primal + ε tangent`, with ε² = 0. A tangent of zero is `None` and costs nothing.
///
/// Where primal and tangent come out of one operation they are halves of one tensor `(2, shape…)`, primal first:
/// the dual is *stacked*. Sums, scalings, products with a frozen matrix and every linear map that counts its
/// dimensions from the last take both halves at once and give a stack back; what treats the two differently
/// takes them as views of the stack, without a copy.
#[derive(Debug, Clone)]
pub struct Dual {
    primal: Tensor,
    tangent: Option<Tensor>,
    stacked: Option<Tensor>,
}

impl Dual {
    /// A value and its tangent, of one shape.
    ///
    /// # Errors
    /// Shapes that differ.
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

    /// The halves of one tensor `(2, shape…)`, primal first.
    ///
    /// # Errors
    /// Another first dimension.
    pub fn from_stacked(stacked: Tensor) -> Result<Self> {
        if stacked.dims().first() != Some(&2) {
            let shape = stacked.shape();
            return Err(Error::Invalid(format!("a dual number is stacked (2, …), not {shape:?}")));
        }
        let (primal, tangent) = (stacked.get(0)?, stacked.get(1)?);
        Ok(Self { primal, tangent: Some(tangent), stacked: Some(stacked) })
    }

    /// The derivative; `None` means zero.
    pub fn tangent(&self) -> Option<&Tensor> {
        self.tangent.as_ref()
    }

    /// Value and derivative as the one tensor `(2, shape…)` that they are halves of, if they are.
    pub fn stacked(&self) -> Option<&Tensor> {
        self.stacked.as_ref()
    }

    /// The derivative, with zeros written out.
    pub fn tangent_or_zeros(&self) -> Result<Tensor> {
        Ok(match &self.tangent {
            Some(tangent) => tangent.clone(),
            None => self.primal.zeros_like()?,
        })
    }

    /// The value alone.
    pub(super) fn into_primal(self) -> Tensor {
        self.primal
    }

    /// The same number, where it varies stacked and contiguous: a copy only if it is not so already.
    pub(super) fn joined(&self) -> Result<Self> {
        match (&self.stacked, &self.tangent) {
            (Some(stacked), _) if stacked.is_contiguous() => Ok(self.clone()),
            (_, Some(tangent)) => Self::from_stacked(Tensor::stack(&[&self.primal, tangent], 0)?),
            (_, None) => Ok(self.clone()),
        }
    }

    /// The terms of `self · right`, of which `right` has `tangent` as its derivative.
    fn terms(&self, right: &Tensor, tangent: Option<&Tensor>) -> Vec<Term> {
        let term =
            |part, left: &Tensor, right: &Tensor| Term { part, left: left.clone(), right: right.clone() };
        let mut terms = match (&self.stacked, &self.tangent) {
            // One product of twice the rows.
            (Some(stacked), _) if stacked.rank() == 3 && stacked.is_contiguous() => {
                vec![term(Part::Both, stacked, right)]
            }
            (_, None) => vec![term(Part::Primal, &self.primal, right)],
            (_, Some(own)) => {
                vec![term(Part::Primal, &self.primal, right), term(Part::Tangent, own, right)]
            }
        };
        terms.extend(tangent.map(|tangent| term(Part::Tangent, &self.primal, tangent)));
        terms
    }

    /// `bias + self · frozen + z · right`.
    fn add_low(&self, frozen: &Tensor, bias: Option<&Tensor>, low: Option<(&Self, &Self)>) -> Result<Self> {
        let mut terms = self.joined()?.terms(frozen, None);
        if let Some((z, right)) = low {
            terms.extend(z.terms(&right.primal, right.tangent.as_ref()));
        }
        choose::product(&Sum::new(bias, terms)?)
    }
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

    fn batched_linear(&self, map: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Result<Self> {
        match &self.stacked {
            Some(stacked) => Self::from_stacked(map(stacked)?),
            None => self.linear(map),
        }
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
        let (own, others) = (self.primal.shape(), other.primal.shape());
        if own != others {
            return Err(Error::Invalid(format!("no sum of shapes {own:?} and {others:?}")));
        }
        self.broadcast_add(other)
    }

    fn matmul(&self, other: &Self) -> Result<Self> {
        choose::product(&Sum::new(None, self.terms(&other.primal, other.tangent.as_ref()))?)
    }

    fn affine(&self, weight: &Tensor, bias: Option<&Tensor>, low: Option<(&Self, &Self)>) -> Result<Self> {
        let low = low.map(|(z, b)| Ok::<_, Error>((z, b.t()?))).transpose()?;
        self.add_low(&weight.t()?, bias, low.as_ref().map(|(z, b)| (*z, b)))
    }

    fn affine_back(&self, weight: &Tensor, low: Option<(&Self, &Self)>) -> Result<Self> {
        self.add_low(weight, None, low)
    }

    fn cat(parts: &[Self]) -> Result<Self> {
        if let Some(stacks) = parts.iter().map(Self::stacked).collect::<Option<Vec<_>>>() {
            return Self::from_stacked(Tensor::cat(&stacks, 1)?);
        }
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
        choose::kernel(kernel, rows, inputs, shapes)
    }
}
