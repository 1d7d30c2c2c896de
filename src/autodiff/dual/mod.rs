//! Dual numbers over tensors: a value and its derivative along one direction.

mod arithmetic;

pub(super) use arithmetic::add_to_half;

use candle_core::{D, Shape, Tensor};

use super::Frozen;
use super::choose;
use super::kernel::{Kernel, Stored};
use super::ops::{LowRankUp, MatmulOptions, Ops, rows_axis};
use super::packed::Way;
use super::pointwise::{Pointwise, each_of_duals};
use super::product::{Factor, Part, Sum, Term};
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
        let (primal, tangent) = (half(&stacked, 0)?, half(&stacked, 1)?);
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

    /// The terms of `self · right`.
    fn terms(&self, right: &Self) -> Vec<Term> {
        let mut terms = self.terms_by(&Factor::Tensor(right.primal.clone()));
        terms.extend(right.tangent.as_ref().map(|tangent| Term::new(Part::Tangent, &self.primal, tangent)));
        terms
    }

    /// The terms of `self · right`, which does not vary.
    fn terms_by(&self, right: &Factor) -> Vec<Term> {
        let term = |part, left: &Tensor| Term::by(part, left, right.clone());
        match (&self.stacked, &self.tangent) {
            // One product of twice the rows.
            (Some(stacked), _) if stacked.rank() == 3 => vec![term(Part::Both, stacked)],
            (_, None) => vec![term(Part::Primal, &self.primal)],
            (_, Some(own)) => vec![term(Part::Primal, &self.primal), term(Part::Tangent, own)],
        }
    }

    /// The rows as a batch `right` takes them: in a block for each of its matrices, or as they are for a single one.
    fn blocks(&self, right: &Self) -> Result<Self> {
        let [episodes, _, _] = *right.primal.dims() else { return Ok(self.clone()) };
        let (rows, width) = self.primal.dims2()?;
        self.reshape((episodes, rows / episodes, width))
    }
}

/// A half of a stack, without a copy, however it lies.
pub(super) fn half(stacked: &Tensor, index: usize) -> Result<Tensor> {
    Ok(stacked.narrow(0, index, 1)?.squeeze(0)?)
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
        if let (Some(a), Some(b)) = (&self.stacked, &other.stacked) {
            return Self::from_stacked(Ops::add(a, b)?);
        }
        let tangent = match (&self.tangent, &other.tangent) {
            (Some(a), Some(b)) => Some(Ops::add(a, b)?),
            (a, b) => a.as_ref().or(b.as_ref()).cloned(),
        };
        Self::new(Ops::add(&self.primal, &other.primal)?, tangent)
    }

    fn matmul(&self, other: &Self, options: impl Into<MatmulOptions>) -> Result<Self> {
        let sum = Sum::new(other.primal.dim(D::Minus1)?, None, self.terms(other))?;
        choose::product(&sum.with(options.into()))
    }

    fn affine(
        &self,
        weight: &Frozen,
        bias: Option<&Tensor>,
        low: Option<(&Self, &[LowRankUp<Self>])>,
        stored: Stored,
    ) -> Result<Self> {
        let mut terms = self.joined()?.terms_by(&Factor::frozen(weight, Way::Forward)?);
        if let Some((z, ups)) = low {
            let mut start = 0;
            for LowRankUp { b, column } in ups {
                let rank = b.primal.dim(D::Minus1)?;
                let product = z.blocks(b)?.columns(start, rank)?.terms(&b.t()?);
                terms.extend(product.into_iter().map(|term| term.at(*column)));
                start += rank;
            }
        }
        choose::product(&Sum::new(weight.dims()?.0, bias, terms)?.beside(weight, Way::Forward).stored(stored))
    }

    fn affine_back(&self, weight: &Frozen, low: Option<(&Self, &Self)>, stored: Stored) -> Result<Self> {
        let mut terms = self.joined()?.terms_by(&Factor::frozen(weight, Way::Back)?);
        if let Some((z, a)) = low {
            terms.extend(z.blocks(a)?.terms(a));
        }
        choose::product(&Sum::new(weight.dims()?.1, None, terms)?.beside(weight, Way::Back).stored(stored))
    }

    fn low_back(&self, ups: &[LowRankUp<Self>], options: impl Into<MatmulOptions>) -> Result<Self> {
        let (mut terms, mut start) = (vec![], 0);
        for LowRankUp { b, column } in ups {
            let product = self.blocks(b)?.columns(*column, b.primal.dim(D::Minus2)?)?.terms(b);
            terms.extend(product.into_iter().map(|term| term.at(start)));
            start += b.primal.dim(D::Minus1)?;
        }
        let sum = Sum::new(start, None, terms)?.with(options.into());
        choose::product(&sum)?.reshape((self.primal.dim(0)?, start))
    }

    fn losses(&self, weights: &Self, matrix: &Frozen, targets: &[u32]) -> Result<Option<[Self; 2]>> {
        choose::losses(self, weights, matrix, targets)
    }

    fn cat(parts: &[Self]) -> Result<Self> {
        if let [one] = parts {
            return Ok(one.clone());
        }
        let axis = rows_axis(&parts[0].primal);
        if let Some(stacks) = parts.iter().map(Self::stacked).collect::<Option<Vec<_>>>() {
            return Self::from_stacked(Tensor::cat(&stacks, axis + 1)?);
        }
        let primals: Vec<&Tensor> = parts.iter().map(|part| &part.primal).collect();
        let primal = Tensor::cat(&primals, axis)?;
        if parts.iter().all(|part| part.tangent.is_none()) {
            return Ok(Self::constant(&primal));
        }
        let tangents = parts.iter().map(Self::tangent_or_zeros).collect::<Result<Vec<_>>>()?;
        Self::new(primal, Some(Tensor::cat(&tangents, axis)?))
    }

    fn run<const I: usize, const O: usize, K: Kernel<I, O>>(
        kernel: &K,
        rows: usize,
        inputs: [&Self; I],
        shapes: [Shape; O],
    ) -> Result<[Self; O]> {
        choose::kernel(kernel, rows, inputs, shapes)
    }

    fn run_each<const I: usize, const O: usize, P: Pointwise<I, O>>(
        sets: &[(P, [&Self; I])],
    ) -> Result<Vec<[Self; O]>> {
        each_of_duals(sets)
    }
}
