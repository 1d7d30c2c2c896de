//! Cross entropy of rows of logits, with its gradient in the same pass.

use std::ops::Range;

use candle_core::{Shape, Tensor};

use crate::Result;
use crate::autodiff::fused::{self, Call, Grid};
use crate::autodiff::{Dual, Kernel, Ops, Resident, Rows, RowsMut, Scalar, Stored};

use super::reduce::{LANES, largest, sum};

/// The tokens that the rows of a batch predict.
#[derive(Debug, Clone)]
pub struct Targets {
    ids: Vec<u32>,
    tensor: Resident,
}

impl Targets {
    /// One token id a row.
    pub fn new(ids: Vec<u32>) -> Self {
        Self { ids, tensor: Resident::default() }
    }

    /// The token ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

struct CrossEntropy<'a> {
    targets: &'a Targets,
    /// Which of the targets belong to the rows.
    range: Range<usize>,
    vocab: usize,
    stored: Stored,
}

impl Kernel<2, 2> for CrossEntropy<'_> {
    #[inline(always)]
    fn row<S: Scalar>(
        &self,
        row: usize,
        [z, weight]: [Rows<'_, S>; 2],
        [mut dz, mut ce]: [RowsMut<'_, S>; 2],
    ) {
        let (z, target) = (z.row(row, self.vocab), self.targets.ids[self.range.start + row] as usize);
        let largest = S::real(largest(z.primal()));
        let total = sum(
            self.vocab,
            #[inline(always)]
            |range, partial: &mut [S; LANES]| {
                let (z, mut dz) = (z.slice(range.clone()), dz.slice(range));
                for (i, sum) in partial.iter_mut().enumerate().take(z.len()) {
                    let exponential = (z.get(i) - largest).exp();
                    dz.set(i, exponential);
                    *sum = *sum + exponential;
                }
            },
        );
        ce.set(0, total.ln() + largest - z.get(target));
        let weight = weight.get(row);
        let factor = weight / total;
        for i in 0..self.vocab {
            dz.set(i, dz.get(i) * factor);
        }
        dz.set(target, dz.get(target) - weight);
    }

    fn compose(&self, [z, weight]: [Dual; 2]) -> Result<[Dual; 2]> {
        let targets = self.targets.tensor.ids(z.primal().device(), || self.targets.ids.clone())?;
        let targets = targets.narrow(0, self.range.start, self.range.len())?.unsqueeze(1)?.contiguous()?;
        let (largest, weight) = (z.row_max()?, weight.reshape((self.range.len(), 1))?);
        let exponentials = z.broadcast_sub(&largest)?.exp()?;
        let total = exponentials.row_sum()?;
        let chosen = z.linear(|z| z.contiguous()?.gather(&targets, 1))?;
        let ce = total.ln()?.broadcast_add(&largest)?.broadcast_sub(&chosen)?;
        let dz = exponentials.broadcast_mul(&weight.broadcast_div(&total)?)?;
        // Less the weight where the target stands.
        let negated = weight.scale(-1.0)?;
        let less = |dz: &Tensor, weight: &Tensor| dz.scatter_add(&targets, &weight.contiguous()?, 1);
        let tangent = match negated.tangent() {
            Some(weight) => Some(less(&dz.tangent_or_zeros()?, weight)?),
            None => dz.tangent().cloned(),
        };
        Ok([Dual::new(less(dz.primal(), negated.primal())?, tangent)?, ce])
    }

    fn fused(&self, inputs: [&Dual; 2], shapes: &[Shape; 2]) -> Result<Option<[Dual; 2]>> {
        let targets = self.targets.tensor.ids(inputs[0].primal().device(), || self.targets.ids.clone())?;
        let rows = self.range.len();
        let call = Call {
            name: "cross_entropy",
            grid: Grid::BlockARow(rows, self.vocab),
            sizes: &[rows, self.vocab, self.range.start],
            numbers: &[],
            tables: &[&targets],
            stored: self.stored,
        };
        fused::run(&call, inputs, shapes)
    }
}

/// Cross entropy of each row and the gradient of their weighted sum `Σ weightᵣ · ceᵣ`:
/// `[dz, ce]` with `ce = ln Σ exp z − z[target]` and `dz = weight (softmax z − onehot)`.
///
/// `logits: (R, V)`, `weights: (R)`, the R `targets` of `range`, token ids below V → `dz: (R, V)`, `ce: (R)`; `stored` is of
/// dz.
pub fn cross_entropy<V: Ops>(
    logits: &V,
    weights: &V,
    targets: &Targets,
    range: Range<usize>,
    stored: Stored,
) -> Result<[V; 2]> {
    let (rows, vocab) = logits.primal().dims2()?;
    let shapes = [Shape::from((rows, vocab)), Shape::from(rows)];
    V::run(&CrossEntropy { targets, range, vocab, stored }, rows, [logits, weights], shapes)
}
