//! Dual numbers by Candle's own operations.
//!
//! This is how a kernel runs where its scalar loops do not: [`Kernel::compose`](crate::autodiff::Kernel::compose)
//! states its formula once more over whole tensors. Nothing here reads a number back to the host.

use candle_core::{D, Tensor};

use super::{Dual, Ops, half};
use crate::Result;

type Tangent = Option<Tensor>;

fn times(tangent: &Tangent, slope: &Tensor) -> Result<Tangent> {
    Ok(tangent.as_ref().map(|t| t.broadcast_mul(slope)).transpose()?)
}

/// Adds to half `index` of a stack that was just made: it is changed in place, so nothing else may hold it.
pub(in crate::autodiff) fn add_to_half(stacked: &Tensor, index: usize, more: &Tensor) -> Result<()> {
    let sum = half(stacked, index)?.broadcast_add(more)?;
    Ok(stacked.slice_set(&sum.unsqueeze(0)?, 0, index)?)
}

impl Dual {
    /// A derivative that came of the smaller operand alone takes the shape of the value.
    fn widened(primal: Tensor, tangent: Tangent) -> Result<Self> {
        let tangent = tangent.map(|t| t.broadcast_as(primal.shape())?.contiguous()).transpose()?;
        Ok(Self { primal, tangent, stacked: None })
    }

    /// Both stacks, where there are two that broadcast as their halves do.
    fn stacks<'a>(&'a self, other: &'a Self) -> Option<(&'a Tensor, &'a Tensor)> {
        let both = self.stacked.as_ref().zip(other.stacked.as_ref());
        both.filter(|(a, b)| a.rank() == b.rank())
    }

    /// The stack, where there is one that broadcasts with the value of `other` as its halves do.
    fn stack_for(&self, other: &Self) -> Option<&Tensor> {
        self.stacked.as_ref().filter(|_| self.primal.rank() >= other.primal.rank())
    }

    /// `factor · self + shift`.
    pub fn scaled(&self, factor: f64, shift: f64) -> Result<Self> {
        if shift == 0.0 {
            return self.scale(factor);
        }
        let tangent = match &self.tangent {
            Some(tangent) if factor != 1.0 => Some(tangent.affine(factor, 0.0)?),
            unscaled => unscaled.clone(),
        };
        Ok(Self { primal: self.primal.affine(factor, shift)?, tangent, stacked: None })
    }

    /// `self + other`; as in all products and sums here, a size of one is repeated.
    pub fn broadcast_add(&self, other: &Self) -> Result<Self> {
        if let Some((a, b)) = self.stacks(other) {
            return Self::from_stacked(a.broadcast_add(b)?);
        }
        let primal = self.primal.broadcast_add(&other.primal)?;
        let tangent = match (&self.tangent, &other.tangent) {
            (Some(a), Some(b)) => Some(a.broadcast_add(b)?),
            (a, b) => a.as_ref().or(b.as_ref()).cloned(),
        };
        Self::widened(primal, tangent)
    }

    /// `self − other`.
    pub fn broadcast_sub(&self, other: &Self) -> Result<Self> {
        if let Some((a, b)) = self.stacks(other) {
            return Self::from_stacked(a.broadcast_sub(b)?);
        }
        let primal = self.primal.broadcast_sub(&other.primal)?;
        let tangent = match (&self.tangent, &other.tangent) {
            (Some(a), Some(b)) => Some(a.broadcast_sub(b)?),
            (None, Some(b)) => Some(b.neg()?),
            (a, None) => a.clone(),
        };
        Self::widened(primal, tangent)
    }

    /// `self ⊙ other`. The stack of one by the value of the other is the product with half of Leibniz' rule.
    pub fn broadcast_mul(&self, other: &Self) -> Result<Self> {
        let stack = self.stack_for(other).map(|stack| (stack, self, other));
        let stack = stack.or_else(|| other.stack_for(self).map(|stack| (stack, other, self)));
        let Some((stack, own, by)) = stack else {
            let primal = self.primal.broadcast_mul(&other.primal)?;
            let tangent = match (times(&self.tangent, &other.primal)?, times(&other.tangent, &self.primal)?) {
                (Some(a), Some(b)) => Some(a.broadcast_add(&b)?),
                (a, b) => a.or(b),
            };
            return Self::widened(primal, tangent);
        };
        let product = stack.broadcast_mul(&by.primal)?;
        if let Some(rest) = times(&by.tangent, &own.primal)? {
            add_to_half(&product, 1, &rest)?;
        }
        Self::from_stacked(product)
    }

    /// `self / other`, element by element.
    pub fn broadcast_div(&self, other: &Self) -> Result<Self> {
        if let (Some(stack), None) = (self.stack_for(other), &other.tangent) {
            return Self::from_stacked(stack.broadcast_div(&other.primal)?);
        }
        let primal = self.primal.broadcast_div(&other.primal)?;
        let tangent = match (&self.tangent, times(&other.tangent, &primal)?) {
            (Some(own), Some(lost)) => Some(own.broadcast_sub(&lost)?),
            (None, Some(lost)) => Some(lost.neg()?),
            (own, None) => own.clone(),
        };
        let tangent = tangent.map(|t| t.broadcast_div(&other.primal)).transpose()?;
        Self::widened(primal, tangent)
    }

    /// A function of the value whose derivative is `slope(y)` at the result y; not computed where none is due.
    fn map(
        &self,
        primal: Tensor,
        slope: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
    ) -> Result<Self> {
        let tangent = self.tangent.as_ref().map(|t| t * slope(&primal)?).transpose()?;
        Ok(Self { primal, tangent, stacked: None })
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
        if let Some((yes, no)) = yes.stacks(no) {
            return Self::from_stacked(positive.broadcast_as(yes.shape())?.where_cond(yes, no)?);
        }
        let primal = positive.where_cond(&yes.primal, &no.primal)?;
        let tangent = match (&yes.tangent, &no.tangent) {
            (None, None) => None,
            _ => Some(positive.where_cond(&yes.tangent_or_zeros()?, &no.tangent_or_zeros()?)?),
        };
        Ok(Self { primal, tangent, stacked: None })
    }

    /// Sum over the last dimension, which stays with a size of one.
    pub fn row_sum(&self) -> Result<Self> {
        self.batched_linear(|x| x.sum_keepdim(D::Minus1))
    }

    /// The largest value along the last dimension, which stays with a size of one; a constant, for it is only
    /// subtracted where it cancels.
    pub fn row_max(&self) -> Result<Self> {
        Ok(Self::constant(&self.primal.contiguous()?.max_keepdim(D::Minus1)?))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::autodiff::{LowRankUp, Stored};

    fn ramp(dims: &[usize], seed: usize) -> Tensor {
        let count: usize = dims.iter().product();
        let numbers: Vec<f64> = (0..count).map(|i| ((i * 37 + seed * 11) % 23) as f64 / 7.0 - 1.6).collect();
        Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap()
    }

    fn stack(dims: &[usize], seed: usize) -> Dual {
        Dual::from_stacked(ramp(&[&[2], dims].concat(), seed)).unwrap()
    }

    /// The same number in two tensors.
    fn apart(x: &Dual) -> Dual {
        Dual::new(x.primal().clone(), x.tangent().cloned()).unwrap()
    }

    fn same(found: &Dual, expected: &Dual) {
        let numbers = |x: &Dual| [x.primal().clone(), x.tangent_or_zeros().unwrap()];
        for (a, b) in numbers(found).iter().zip(&numbers(expected)) {
            assert_eq!((a.dims(), a.dtype()), (b.dims(), DType::F64));
            let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(difference < 1e-12, "{difference:e}");
        }
    }

    #[test]
    fn a_stack_gives_the_numbers_of_its_halves() {
        type Binary = fn(&Dual, &Dual) -> Result<Dual>;
        let operations: [Binary; 4] =
            [Dual::broadcast_add, Dual::broadcast_sub, Dual::broadcast_mul, Dual::broadcast_div];
        for operation in operations {
            for dims in [&[3, 4], &[3, 1], &[1, 4], &[4][..]] {
                let (x, y) = (stack(&[3, 4], 1), stack(dims, 2));
                let constant = |x: &Dual| Dual::constant(x.primal());
                let pairs = [(&x, &y), (&y, &x), (&x, &constant(&y)), (&constant(&x), &y), (&x, &apart(&y))];
                for (a, b) in pairs {
                    same(&operation(a, b).unwrap(), &operation(&apart(a), &apart(b)).unwrap());
                }
            }
        }
        let (x, yes, no) = (stack(&[3, 4], 3), stack(&[3, 4], 4), stack(&[3, 4], 5));
        let chosen = apart(&x).if_positive(&apart(&yes), &apart(&no)).unwrap();
        same(&x.if_positive(&yes, &no).unwrap(), &chosen);
    }

    #[test]
    fn what_is_linear_keeps_a_stack_whole() {
        let (x, y) = (stack(&[3, 4], 1), stack(&[3, 4], 2));
        let factor = Dual::constant(&ramp(&[3, 1], 3));
        let matrix = ramp(&[5, 4], 4).into();
        let whole: Vec<Result<Dual>> = vec![
            x.add(&y),
            x.broadcast_sub(&y),
            x.broadcast_mul(&factor),
            factor.broadcast_mul(&x),
            x.broadcast_mul(&y),
            x.broadcast_div(&factor),
            x.scale(3.0),
            x.reshape((2, 6)),
            x.row_sum(),
            Dual::cat(&[x.clone(), y.clone()]),
            x.affine(&matrix, Some(&ramp(&[5], 6)), None, Stored::Whole),
            apart(&x).affine(
                &matrix,
                None,
                Some((&y, &[LowRankUp { b: stack(&[5, 4], 5), column: 0 }])),
                Stored::Whole,
            ),
        ];
        for (index, found) in whole.into_iter().enumerate() {
            assert!(found.unwrap().stacked().is_some(), "operation {index} took the stack apart");
        }
    }

    #[test]
    fn operands_are_as_they_were_after_a_product() {
        let (x, y) = (stack(&[3, 4], 1), stack(&[3, 4], 2));
        x.broadcast_mul(&y).unwrap();
        same(&x, &stack(&[3, 4], 1));
        same(&y, &stack(&[3, 4], 2));
    }
}
