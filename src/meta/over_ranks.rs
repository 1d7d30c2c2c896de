//! One episode's loss whose micro-batches several processes share.

use std::sync::Arc;

use candle_core::Tensor;

use super::Learner;
use super::batch_loss::LossGrad;
use super::head::Head;
use super::sequence_loss::{LossValue, SequenceLoss};
use crate::error::Result;
use crate::ranks::{Ranks, agreed, is_alone, sum_tensors};
use crate::text::Sequence;

impl Learner {
    /// As [`inner_loss`](Self::inner_loss), of a context whose micro-batches `ranks` share.
    ///
    /// # Errors
    /// As [`inner_loss`](Self::inner_loss).
    pub fn inner_loss_among(&self, segments: &[Sequence], ranks: &Arc<dyn Ranks>) -> Result<SequenceLoss> {
        SequenceLoss::inner(&self.backbone, &self.layout, &[segments], &self.options, ranks)
    }
}

impl SequenceLoss {
    /// Losses and gradients of all ranks, of those of this one.
    ///
    /// # Errors
    /// What any rank failed with.
    pub(super) fn total(
        &self,
        own: Result<(Vec<LossValue>, LossGrad<Tensor>)>,
    ) -> Result<(Vec<LossValue>, LossGrad<Tensor>)> {
        let (losses, grad) = agreed(&*self.ranks, own)?;
        if is_alone(&*self.ranks) {
            return Ok((losses, grad));
        }
        let losses = self.summed(&losses)?;
        let head = grad.head.iter().flat_map(Head::tensors);
        let mut sums =
            sum_tensors(&*self.ranks, &grad.adapter.iter().chain(head).collect::<Vec<_>>())?.into_iter();
        let adapter = sums.by_ref().take(grad.adapter.len()).collect();
        let next = |_: &Tensor| Ok(sums.next().expect("there is a sum for every tensor"));
        Ok((losses, LossGrad { adapter, head: grad.head.as_ref().map(|head| head.map(next)).transpose()? }))
    }

    /// The losses of all ranks, of those of this one.
    ///
    /// # Errors
    /// What any rank failed with.
    pub(super) fn total_losses(&self, own: Result<Vec<LossValue>>) -> Result<Vec<LossValue>> {
        let losses = agreed(&*self.ranks, own)?;
        if is_alone(&*self.ranks) { Ok(losses) } else { self.summed(&losses) }
    }

    fn summed(&self, own: &[LossValue]) -> Result<Vec<LossValue>> {
        let mut numbers: Vec<f64> = own.iter().flat_map(|loss| [loss.loss, loss.cross_entropy]).collect();
        self.ranks.sum_f64(&mut numbers)?;
        let pair = |pair: &[f64]| LossValue { loss: pair[0], cross_entropy: pair[1] };
        Ok(numbers.chunks(2).map(pair).collect())
    }
}
