//! Sums of matrix products: what is asked for, and the portable form by Candle's operations.

use std::sync::Arc;

use candle_core::{D, DType, Tensor};

use super::dual::add_to_half;
use super::frozen::Form;
use super::fused::Wide;
use super::kernel::computed_in;
use super::packed::{Blocked, Packed, Way};
use super::{Dual, Frozen, MatmulOptions, Stored};
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

/// The right factor of a product.
#[derive(Debug, Clone)]
pub(super) enum Factor {
    /// May be stored in a smaller type than the left factor, in whose type the product is taken.
    Tensor(Tensor),
    /// A frozen matrix W of the host's as Wᵀ, or on the way back as W itself.
    Packed(Arc<Packed>, Way),
    /// As `Packed`, in the blocks of a file.
    Blocked(Arc<Blocked>, Way),
}

impl Factor {
    /// A frozen matrix as Wᵀ, or on the way back as W itself.
    pub fn frozen(weight: &Frozen, way: Way) -> Result<Self> {
        Ok(match (weight.form(), way) {
            (Form::Plain(plain), Way::Forward) => Self::Tensor(plain.matrix.t()?),
            (Form::Plain(plain), Way::Back) => Self::Tensor(plain.matrix.clone()),
            (Form::Packed(packed), _) => Self::Packed(packed.clone(), way),
            (Form::Blocked(blocked), _) => Self::Blocked(blocked.clone(), way),
        })
    }

    /// Its shape `(batch…, rows, columns)`.
    pub fn dims(&self) -> Vec<usize> {
        let ((out, width), way) = match self {
            Self::Tensor(tensor) => return tensor.dims().to_vec(),
            Self::Packed(packed, way) => (packed.dims(), way),
            Self::Blocked(blocked, way) => (blocked.dims(), way),
        };
        if *way == Way::Forward { vec![width, out] } else { vec![out, width] }
    }

    /// The factor as a tensor: a copy if it is packed or in blocks.
    pub fn tensor(&self) -> Result<Tensor> {
        let (matrix, way) = match self {
            Self::Tensor(tensor) => return Ok(tensor.clone()),
            Self::Packed(packed, way) => (packed.tensor()?, way),
            Self::Blocked(blocked, way) => (blocked.tensor(0..blocked.dims().0)?, way),
        };
        Ok(if *way == Way::Forward { matrix.t()? } else { matrix })
    }
}

/// One product `left · right` of a sum. Factors are `(batch…, rows, columns)`, with any strides.
pub(super) struct Term {
    pub part: Part,
    pub left: Tensor,
    pub right: Factor,
    /// First of the columns of the result that it is added to.
    pub column: usize,
}

/// `bias + Σ left · right`, of shape `(batch…, m, n)`. The bias, `(n)`, is added to the rows of the value.
///
/// The first term says what the batch and the rows are. Another may be a batch where the first is one matrix: its
/// matrices are added to the rows of the result block by block.
pub(super) struct Sum {
    pub bias: Option<Tensor>,
    pub terms: Vec<Term>,
    /// n.
    pub columns: usize,
    /// How products of tensors are taken, what the sum is multiplied with (the bias is not), and how it may be kept.
    pub options: MatmulOptions,
    /// The first term's frozen matrix with room beside it, and which way it is taken.
    pub wide: Option<(Arc<Wide>, Way)>,
}

impl Term {
    /// A product of two factors, added to the columns from the first on.
    pub fn new(part: Part, left: &Tensor, right: &Tensor) -> Self {
        Self::by(part, left, Factor::Tensor(right.clone()))
    }

    /// A product of any factors, added to the columns from the first on.
    pub fn by(part: Part, left: &Tensor, right: Factor) -> Self {
        Self { part, left: left.clone(), right, column: 0 }
    }

    /// The same, added to the columns from `column` on.
    pub fn at(self, column: usize) -> Self {
        Self { column, ..self }
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        self.right.dims().last().copied().unwrap_or(0)
    }

    /// The type that it is computed in.
    fn dtype(&self) -> DType {
        computed_in(self.left.dtype())
    }

    /// The right factor in the type that the product is computed in. A matrix that lies transposed is widened as it
    /// lies, so that its strides stay.
    pub fn widened(&self) -> Result<Tensor> {
        let (right, dtype) = (self.right.tensor()?, self.dtype());
        if right.dtype() == dtype {
            return Ok(right);
        }
        let transposed = matches!(*right.stride(), [.., row, column] if row < column);
        Ok(if transposed { right.t()?.to_dtype(dtype)?.t()? } else { right.to_dtype(dtype)? })
    }

    /// The product by Candle, for a result of shape `dims`; `(2, dims…)` where the left factor is stacked.
    fn composed(&self, dims: &[usize]) -> Result<Tensor> {
        let left = packed(&self.left.to_dtype(self.dtype())?)?;
        let right = packed(&self.widened()?)?;
        let mut own = dims.to_vec();
        own[dims.len() - 1] = self.columns();
        let product = match self.part {
            // Both halves share the right factor: one product of twice the rows.
            Part::Both => {
                own.insert(0, 2);
                left.flatten(0, 1)?.matmul(&right)?
            }
            _ => left.matmul(&right)?,
        };
        let behind = dims[dims.len() - 1] - self.column - self.columns();
        Ok(product.reshape(own)?.pad_with_zeros(D::Minus1, self.column, behind)?)
    }
}

/// A factor that Candle multiplies on every device: its matrices lie whole, as they are or transposed.
fn packed(x: &Tensor) -> Result<Tensor> {
    Ok(if x.is_contiguous() || x.t()?.is_contiguous() { x.clone() } else { x.contiguous()? })
}

impl Sum {
    /// A sum of products of matrices with `columns` columns, of which at least one is a part of the value.
    ///
    /// # Errors
    /// No such term, a factor that is no matrix, or a term that goes beyond the last column.
    pub fn new(columns: usize, bias: Option<&Tensor>, terms: Vec<Term>) -> Result<Self> {
        if terms.iter().all(|term| term.part == Part::Tangent) {
            return Err(Error::Invalid("a sum of products without a value".into()));
        }
        if let Some(term) = terms.iter().find(|term| term.left.rank().min(term.right.dims().len()) < 2) {
            let (left, right) = (term.left.dims(), term.right.dims());
            return Err(Error::Invalid(format!(
                "no product of shapes {left:?} and {right:?}: both must be matrices"
            )));
        }
        if let Some(term) = terms.iter().find(|term| term.column + term.columns() > columns) {
            let end = term.column + term.columns();
            return Err(Error::Invalid(format!(
                "a product ends at column {end} of a result of {columns} columns"
            )));
        }
        Ok(Self { bias: bias.cloned(), terms, columns, options: MatmulOptions::default(), wide: None })
    }

    /// The same with a frozen matrix as the first right factor, at the precision that it is taken at.
    pub fn beside(self, weight: &Frozen, way: Way) -> Self {
        let wide = weight.wide().map(|wide| (wide.clone(), way));
        Self { wide, options: weight.precision().into(), ..self }
    }

    /// The same, taken otherwise.
    pub fn with(self, options: MatmulOptions) -> Self {
        Self { options, ..self }
    }

    /// The same, kept otherwise where a device can.
    pub fn stored(self, stored: Stored) -> Self {
        Self { options: MatmulOptions { stored, ..self.options }, ..self }
    }

    /// The type that it is computed in: that of the left factors, or f32 where those are narrow.
    pub fn dtype(&self) -> DType {
        self.terms[0].dtype()
    }

    /// The shape of the value.
    pub fn dims(&self) -> Vec<usize> {
        let first = &self.terms[0];
        let mut dims = first.left.dims().to_vec();
        if first.part == Part::Both {
            dims.remove(0);
        }
        *dims.last_mut().expect("factors are matrices") = self.columns;
        dims
    }

    /// Whether the result has a derivative.
    pub fn varies(&self) -> bool {
        self.terms.iter().any(|term| term.part != Part::Primal)
    }

    /// The sum by Candle's products: the portable form. What goes to both halves stays stacked.
    pub fn composed(&self) -> Result<Dual> {
        let (mut both, mut primal, mut tangent) = (None, None, None);
        let dims = self.dims();
        for term in &self.terms {
            let sum = match term.part {
                Part::Both => &mut both,
                Part::Primal => &mut primal,
                Part::Tangent => &mut tangent,
            };
            add_to(sum, term.composed(&dims)?)?;
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
