//! Cross entropy of rows of logits, with its gradient in the same pass.

use candle_core::Shape;

use crate::Result;
use crate::autodiff::{Kernel, Ops, Rows, RowsMut, Scalar};

use super::norm::sum;

struct CrossEntropy<'a> {
    targets: &'a [u32],
    vocab: usize,
}

impl Kernel<2, 2> for CrossEntropy<'_> {
    #[inline(always)]
    fn row<S: Scalar>(
        &self,
        row: usize,
        [z, weight]: [Rows<'_, S>; 2],
        [mut dz, mut ce]: [RowsMut<'_, S>; 2],
    ) {
        let (z, target) = (z.row(row, self.vocab), self.targets[row] as usize);
        let mut largest = z.get(0).primal();
        for i in 1..self.vocab {
            let value = z.get(i).primal();
            largest = if value > largest { value } else { largest };
        }
        let largest = S::real(largest);
        for i in 0..self.vocab {
            dz.set(i, (z.get(i) - largest).exp());
        }
        let total = sum(self.vocab, |i| dz.get(i));
        ce.set(0, total.ln() + largest - z.get(target));
        let weight = weight.get(row);
        let factor = weight / total;
        for i in 0..self.vocab {
            dz.set(i, dz.get(i) * factor);
        }
        dz.set(target, dz.get(target) - weight);
    }
}

/// Cross entropy of each row and the gradient of their weighted sum `Σ weightᵣ · ceᵣ`:
/// `[dz, ce]` with `ce = ln Σ exp z − z[target]` and `dz = weight (softmax z − onehot)`.
///
/// `logits: (R, V)`, `weights: (R)`, `targets: R` token ids below V → `dz: (R, V)`, `ce: (R)`.
pub fn cross_entropy<V: Ops>(logits: &V, weights: &V, targets: &[u32]) -> Result<[V; 2]> {
    let (rows, vocab) = logits.primal().dims2()?;
    let shapes = [Shape::from((rows, vocab)), Shape::from(rows)];
    V::run(&CrossEntropy { targets, vocab }, rows, [logits, weights], shapes)
}
