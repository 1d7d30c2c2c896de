//! The next-token loss of a batch and its gradient, over any [`Ops`]: on `Tensor` the gradient, on `Dual` a
//! Hessian-vector product.

use candle_core::{DType, IndexOp, Tensor};

use crate::Result;
use crate::autodiff::kernels::{RowIndex, cross_entropy, gather_rows, product, quotient, scatter_rows};
use crate::autodiff::{Ops, Stored};
use crate::model::lora::LoraLayout;
use crate::model::{Activations, Backbone};

use super::batch::LabelledBatch;
use super::head::{self, Head};

/// Most numbers of one chunk of logits: 32 Mi of f32 are 128 MB, and 256 MB with their tangents.
const LOGITS_PER_CHUNK: usize = 1 << 25;

/// How many of `rows` have their logits computed at once, in chunks of about one size.
pub(super) fn rows_per_chunk(rows: usize, vocab_size: usize) -> usize {
    rows.div_ceil((rows * vocab_size).div_ceil(LOGITS_PER_CHUNK).max(1)).max(1)
}

/// Added to a row's sum of weights before it divides.
const LEAST_SUM: f64 = 1e-30;

/// What a loss is taken of and how it is computed.
pub(super) struct BatchLoss<'a> {
    pub backbone: &'a Backbone,
    pub layout: &'a LoraLayout,
    pub batch: &'a LabelledBatch,
    /// Hidden states below the first adapted layer.
    pub prefix: &'a Tensor,
    /// Factor of each episode's sum over tokens, beside what each of them counts.
    pub factors: &'a [f64],
    /// Whether token weights are scaled to a mean of one in each row.
    pub normalize_weights: bool,
    pub activations: Activations,
}

/// The losses of a batch, without their tangents: for each episode `factor · Σ c_t ω_t CE_t` and `Σ CE_t`, in nats;
/// `(E, 2)` in f64. They stay on the device, so that it need not be waited for.
pub(super) struct PartLosses(pub Tensor);

/// The gradients of a loss.
pub(super) struct LossGrad<V> {
    /// One a tensor of the adapter, in the layout's order.
    pub adapter: Vec<V>,
    /// Of the head; `None` without one.
    pub head: Option<Head<V>>,
}

impl BatchLoss<'_> {
    /// `factor · Σ c_t ω_t CE_t` of each episode, and the gradients of their sum: c is what a token of the batch counts;
    /// ω = 1 without a head.
    pub fn gradient<V: Ops>(&self, phi: &[V], head: Option<&Head<V>>) -> Result<(PartLosses, LossGrad<V>)> {
        let adapters = self.layout.by_layer(phi)?;
        let first = self.layout.first_layer().unwrap_or(0);
        let tokens = &self.batch.tokens;
        let (h, trace) = self.backbone.forward(tokens, self.prefix, first, &adapters, self.activations)?;
        let (loss, dh, head) = self.output(&h, head)?;
        let grads = self.backbone.backward(tokens, trace, &adapters, &dh)?;
        Ok((loss, LossGrad { adapter: self.layout.by_tensor(grads)?, head }))
    }

    /// The losses alone: a forward pass.
    pub fn loss(&self, phi: &[Tensor], head: Option<&Head<Tensor>>) -> Result<PartLosses> {
        let (ce, weights) = self.tokens(phi, head)?;
        let factors = match weights {
            None => self.factors(&ce)?,
            Some(weights) => self.times_factors(&weights)?,
        };
        self.parts(&ce, &factors)
    }

    /// Cross entropy of each predicted token, `(R)`, and its weight from the head, if there is one: a forward pass.
    pub fn tokens(&self, phi: &[Tensor], head: Option<&Head<Tensor>>) -> Result<(Tensor, Option<Tensor>)> {
        let adapters = self.layout.by_layer(phi)?;
        let first = self.layout.first_layer().unwrap_or(0);
        let (h, _) = self.backbone.forward(
            &self.batch.tokens,
            self.prefix,
            first,
            &adapters,
            Activations::Recompute,
        )?;
        let rows = gather_rows(&h, &self.batch.predicting)?;
        let weights = match head {
            None => None,
            Some(head) => Some(Weighting { batch_loss: self, head }.forward(&h)?.0),
        };
        // They scale the gradient, which is not wanted here.
        let factors = rows.narrow(1, 0, 1)?.squeeze(1)?.zeros_like()?;
        let mut losses = vec![];
        for (start, length) in self.chunks()? {
            let part = |x: &Tensor| x.narrow(0, start, length);
            let logits =
                Ops::affine(&part(&rows)?, &self.backbone.decoder.lm_head, None, None, Stored::Whole)?;
            let range = start..start + length;
            let [_, ce] =
                cross_entropy(&logits, &part(&factors)?, &self.batch.targets, range, Stored::Whole)?;
            losses.push(ce);
        }
        Ok((Tensor::cat(&losses, 0)?, weights))
    }

    /// The factor of every predicted token, without a head's weight, `(R)`.
    fn factors<V: Ops>(&self, like: &V) -> Result<V> {
        Ok(V::constant(&self.batch.factors(like.primal(), self.factors)?))
    }

    /// `x: (R)`, each number times the factor of its predicted token.
    fn times_factors<V: Ops>(&self, x: &V) -> Result<V> {
        match self.batch.common_factor(self.factors) {
            Some(factor) => x.scale(factor),
            None => product(x, &self.factors(x)?),
        }
    }

    /// Each episode's loss from cross entropies and their factors, both `(R)`; summed in f64.
    fn parts(&self, ce: &Tensor, factors: &Tensor) -> Result<PartLosses> {
        let (ce, factors) = (ce.to_dtype(DType::F64)?, factors.to_dtype(DType::F64)?);
        let both = Tensor::stack(&[&(&ce * factors)?, &ce], 0)?;
        let (mut sums, mut start) = (vec![], 0);
        for &count in self.batch.predicted_of() {
            // An episode that has fewer segments than another has none in the last micro-batches.
            sums.push(if count == 0 {
                both.i((.., 0))?.zeros_like()?
            } else {
                both.narrow(1, start, count)?.sum(1)?
            });
            start += count;
        }
        Ok(PartLosses(Tensor::stack(&sums, 0)?))
    }

    /// Start and length of each chunk of rows whose logits exist at the same time.
    fn chunks(&self) -> Result<impl Iterator<Item = (usize, usize)> + use<>> {
        let count = self.batch.targets.len();
        let chunk = rows_per_chunk(count, self.backbone.decoder.lm_head.dims()?.0);
        Ok((0..count).step_by(chunk).map(move |start| (start, chunk.min(count - start))))
    }

    /// Losses, cotangent of the last hidden states `h: (B · S, D)`, gradient of the head.
    fn output<V: Ops>(&self, h: &V, head: Option<&Head<V>>) -> Result<(PartLosses, V, Option<Head<V>>)> {
        let rows = gather_rows(h, &self.batch.predicting)?;
        let Some(head) = head else {
            let factors = self.factors(&rows)?;
            let (ce, drows) = self.cross_entropy(&rows, &factors)?;
            let losses = self.parts(ce.primal(), factors.primal())?;
            return Ok((losses, scatter_rows(&drows, &self.batch.predicting)?, None));
        };
        let weighting = Weighting { batch_loss: self, head };
        let (weights, residuals) = weighting.forward(h)?;
        let factors = self.times_factors(&weights)?;
        let (ce, drows) = self.cross_entropy(&rows, &factors)?;
        let (dh, grad) = weighting.backward(&residuals, &self.times_factors(&ce)?)?;
        let dh = dh.add(&scatter_rows(&drows, &self.batch.predicting)?)?;
        Ok((self.parts(ce.primal(), factors.primal())?, dh, Some(grad)))
    }

    /// Cross entropies `(R)` and the gradient `(R, D)` of `Σ factor · ce` with respect to `rows: (R, D)`,
    /// without the logits where a device can, else a chunk of rows at a time, so that they never exist whole.
    fn cross_entropy<V: Ops>(&self, rows: &V, factors: &V) -> Result<(V, V)> {
        let matrix = &self.backbone.decoder.lm_head;
        let stored = matrix.precision().into();
        if let Some([ce, drows]) = rows.losses(factors, matrix, self.batch.targets.ids())? {
            return Ok((ce, drows));
        }
        let (mut losses, mut grads) = (vec![], vec![]);
        for (start, length) in self.chunks()? {
            let part = |x: &V| x.linear(|x| x.narrow(0, start, length));
            let logits = part(rows)?.affine(matrix, None, None, Stored::Whole)?;
            let range = start..start + length;
            let [dlogits, ce] = cross_entropy(&logits, &part(factors)?, &self.batch.targets, range, stored)?;
            drop(logits);
            grads.push(dlogits.affine_back(matrix, None, Stored::Whole)?);
            losses.push(ce);
        }
        Ok((V::cat(&losses)?, V::cat(&grads)?))
    }
}

/// The head applied to a batch.
struct Weighting<'a, V> {
    batch_loss: &'a BatchLoss<'a>,
    head: &'a Head<V>,
}

/// What its backward pass needs.
struct Weighted<V> {
    residuals: head::Residuals<V>,
    normalized: Option<Normalized<V>>,
}

/// A row-wise normalisation `y = x n / Σ_row x`.
struct Normalized<V> {
    weights: V,
    /// n / Σ_row x, for each token.
    ratio: V,
    /// Σ_row x, for each token.
    sums: V,
    /// 1 where a token belongs to a row, `(B, P)`.
    row_tokens: Tensor,
}

impl<V: Ops> Weighting<'_, V> {
    fn rows(&self) -> &RowIndex {
        let batch = self.batch_loss.batch;
        if self.batch_loss.normalize_weights { &batch.present } else { &batch.predicted }
    }

    /// Weights of the predicted tokens, `(R)`.
    fn forward(&self, h: &V) -> Result<(V, Weighted<V>)> {
        let (weights, residuals) = self.head.forward(&gather_rows(h, self.rows())?)?;
        if !self.batch_loss.normalize_weights {
            return Ok((weights, Weighted { residuals, normalized: None }));
        }
        let normalized = self.normalize(weights)?;
        let all = product(&normalized.weights, &normalized.ratio)?;
        let picked = gather_rows(&all, &self.batch_loss.batch.predicted_in_present)?;
        Ok((picked, Weighted { residuals, normalized: Some(normalized) }))
    }

    /// Cotangent of `h` and the head's gradient from the cotangent `(R)` of the weights.
    fn backward(&self, residuals: &Weighted<V>, dweights: &V) -> Result<(V, Head<V>)> {
        let (dh, grad) = match &residuals.normalized {
            None => self.head.backward(&residuals.residuals, dweights)?,
            Some(normalized) => {
                let picked = &self.batch_loss.batch.predicted_in_present;
                let dall = scatter_rows(dweights, picked)?;
                self.head.backward(&residuals.residuals, &normalized.backward(&dall)?)?
            }
        };
        Ok((scatter_rows(&dh, self.rows())?, grad))
    }

    fn normalize(&self, weights: V) -> Result<Normalized<V>> {
        let batch = self.batch_loss.batch;
        let row_tokens = batch.row_tokens(weights.primal())?;
        let (dtype, device) = (weights.primal().dtype(), weights.primal().device());
        let ones = Tensor::ones(batch.row_of_present.len(), dtype, device)?;
        let counts = row_sums(&row_tokens, &V::constant(&ones))?;
        // A row of which every weight has underflowed to zero keeps weights of zero.
        let least = V::constant(&(ones * LEAST_SUM)?);
        let sums = row_sums(&row_tokens, &weights)?.add(&least)?;
        Ok(Normalized { ratio: quotient(&counts, &sums)?, weights, sums, row_tokens })
    }
}

impl<V: Ops> Normalized<V> {
    /// `dx = (n / s) (dy − Σ_row (dy ⊙ x) / s)`, s the row's sum.
    fn backward(&self, dy: &V) -> Result<V> {
        let along = quotient(&row_sums(&self.row_tokens, &product(dy, &self.weights)?)?, &self.sums)?;
        product(&self.ratio, &dy.add(&along.scale(-1.0)?)?)
    }
}

/// Sum of `x: (P)` over the tokens of the same row, for each token.
fn row_sums<V: Ops>(row_tokens: &Tensor, x: &V) -> Result<V> {
    x.linear(|x| row_tokens.t()?.matmul(&row_tokens.matmul(&x.unsqueeze(1)?)?)?.squeeze(1))
}
