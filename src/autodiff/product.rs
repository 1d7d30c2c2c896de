//! Sums of matrix products: what is asked for, and the portable form by Candle's operations.

use candle_core::{DType, Tensor};

use super::Dual;
use super::dual::add_to_half;
use crate::{Error, Result};

/// Which part of a dual number a term is added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The value.
    Primal,
    /// The derivative.
    Tangent,
    /// Both: the left factor is stacked, `(2, m, k)`, and each half goes to its own.
    Both,
}

/// One product `left · right` of a sum. Factors are `(batch…, rows, columns)`, with any strides.
pub(super) struct Term {
    pub part: Part,
    pub left: Tensor,
    /// May be stored in a smaller type than the left factor, in whose type the product is taken.
    pub right: Tensor,
}

/// `bias + Σ left · right`, of shape `(batch…, m, n)`. The bias, `(n)`, is added to the rows of the value.
pub(super) struct Sum {
    pub bias: Option<Tensor>,
    pub terms: Vec<Term>,
}

impl Term {
    /// The right factor in the type of the left. A matrix that lies transposed is widened as it lies, so that its
    /// strides stay.
    pub fn widened(&self) -> Result<Tensor> {
        let (right, dtype) = (&self.right, self.left.dtype());
        if right.dtype() == dtype {
            return Ok(right.clone());
        }
        let transposed = matches!(*right.stride(), [.., row, column] if row < column);
        Ok(if transposed { right.t()?.to_dtype(dtype)?.t()? } else { right.to_dtype(dtype)? })
    }

    /// The product by Candle; `(2, m, n)` where the left factor is stacked.
    fn composed(&self) -> Result<Tensor> {
        let right = self.widened()?;
        if self.part != Part::Both {
            return Ok(self.left.matmul(&right)?);
        }
        // Both halves share the right factor: one product of twice the rows.
        let (two, m, k) = self.left.dims3()?;
        let product = self.left.reshape((two * m, k))?.matmul(&right)?;
        Ok(product.reshape((two, m, right.dim(1)?))?)
    }
}

impl Sum {
    /// A sum of products of matrices, of which at least one is a part of the value.
    ///
    /// # Errors
    /// No such term, or a factor that is no matrix.
    pub fn new(bias: Option<&Tensor>, terms: Vec<Term>) -> Result<Self> {
        if terms.iter().all(|term| term.part == Part::Tangent) {
            return Err(Error::Invalid("a sum of products without a value".into()));
        }
        if let Some(term) = terms.iter().find(|term| term.left.rank().min(term.right.rank()) < 2) {
            let (left, right) = (term.left.shape(), term.right.shape());
            return Err(Error::Invalid(format!(
                "no product of shapes {left:?} and {right:?}: both must be matrices"
            )));
        }
        Ok(Self { bias: bias.cloned(), terms })
    }

    /// The type of the result.
    pub fn dtype(&self) -> DType {
        self.terms[0].left.dtype()
    }

    /// Whether the result has a derivative.
    pub fn varies(&self) -> bool {
        self.terms.iter().any(|term| term.part != Part::Primal)
    }

    /// The sum by Candle's products: the portable form. What goes to both halves stays stacked.
    pub fn composed(&self) -> Result<Dual> {
        let (mut both, mut primal, mut tangent) = (None, None, None);
        for term in &self.terms {
            let sum = match term.part {
                Part::Both => &mut both,
                Part::Primal => &mut primal,
                Part::Tangent => &mut tangent,
            };
            add_to(sum, term.composed()?)?;
        }
        if let Some(bias) = &self.bias {
            let bias = bias.to_dtype(self.dtype())?;
            primal = Some(primal.map_or(Ok(bias.clone()), |primal| primal.broadcast_add(&bias))?);
        }
        let Some(both) = both else {
            return Dual::new(primal.expect("a term of the value"), tangent);
        };
        for (half, more) in [primal, tangent].into_iter().enumerate() {
            if let Some(more) = more {
                add_to_half(&both, half, &more)?;
            }
        }
        Dual::from_stacked(both)
    }
}

fn add_to(sum: &mut Option<Tensor>, next: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => (sum + next)?,
        None => next,
    });
    Ok(())
}
