//! The loss of many sequences, micro-batch by micro-batch: of a context's segments it is the inner loss, of the
//! questions with their answers the outer loss.

use std::borrow::Cow;

use candle_core::Tensor;

use crate::autodiff::Ops;
use crate::model::lora::LoraLayout;
use crate::model::{Activations, Backbone};
use crate::text::Sequence;
use crate::{Error, Result};

use super::batch::LabelledBatch;
use super::batch_loss::{BatchLoss, LossGrad, PartLoss};
use super::head::Head;
use super::options::{InnerOptions, Reduction};

/// Most bytes of hidden states that are kept of the layers below the first adapted one. Beyond it they are
/// computed anew at every pass, so that memory does not grow with the context.
const PREFIX_BYTES: usize = 256 << 20;

/// The micro-batches of one loss. Every position weighs alike, so that their number does not change it.
pub struct SequenceLoss {
    parts: Parts,
    /// Hidden states of each batch below the first adapted layer, if there are such layers and room.
    prefixes: Option<Vec<Tensor>>,
    first_layer: usize,
    factor: f64,
    /// One over the number of predicted tokens.
    per_token: f64,
    normalize_weights: bool,
    activations: Activations,
}

/// Where the micro-batches come from.
enum Parts {
    Batches(Vec<LabelledBatch>),
    /// Made when they are needed: of a long context only the tokens are held, 4 bytes each.
    Segments {
        segments: Vec<Sequence>,
        at_once: usize,
    },
}

/// A loss under one adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossValue {
    /// The loss, weighted and divided as the settings say.
    pub loss: f64,
    /// The plain mean next-token loss of the predicted tokens, in nats.
    pub cross_entropy: f64,
}

impl SequenceLoss {
    /// The inner loss of a context cut into segments.
    ///
    /// # Errors
    /// No segment, no token to predict in a micro-batch, or a token outside the vocabulary.
    pub fn inner(
        backbone: &Backbone,
        layout: &LoraLayout,
        segments: &[Sequence],
        options: &InnerOptions,
    ) -> Result<Self> {
        let positions = segments.len() * (longest(segments)? - 1);
        let at_once = options.micro_batch_segments.max(1);
        segments.iter().try_for_each(|segment| backbone.decoder.config.check_tokens(&segment.tokens))?;
        for part in segments.chunks(at_once) {
            if part.iter().all(|segment| segment.predicted() == 0) {
                return Err(Error::Invalid(
                    "a batch has no token to predict: every token is masked out".into(),
                ));
            }
        }
        let parts = Parts::Segments { segments: segments.to_vec(), at_once };
        Self::from_parts(backbone, layout, parts, positions, options)
    }

    /// The inner loss of batches made elsewhere; `positions` is B × (S − 1) over all of them.
    ///
    /// # Errors
    /// What tensor operations refuse.
    pub fn inner_of_batches(
        backbone: &Backbone,
        layout: &LoraLayout,
        batches: Vec<LabelledBatch>,
        positions: usize,
        options: &InnerOptions,
    ) -> Result<Self> {
        Self::from_parts(backbone, layout, Parts::Batches(batches), positions, options)
    }

    fn from_parts(
        backbone: &Backbone,
        layout: &LoraLayout,
        parts: Parts,
        positions: usize,
        options: &InnerOptions,
    ) -> Result<Self> {
        let divisor = match options.reduction {
            // Without weights the authors' code falls back to the ordinary mean over labelled tokens.
            Reduction::Positions if options.head => positions as f64,
            Reduction::Positions | Reduction::LabelledTokens => parts.total_weight(),
            Reduction::Constant(divisor) => divisor,
        };
        Self::assemble(backbone, layout, parts, divisor, options.normalize_weights, options.activations)
    }

    fn assemble(
        backbone: &Backbone,
        layout: &LoraLayout,
        parts: Parts,
        divisor: f64,
        normalize_weights: bool,
        activations: Activations,
    ) -> Result<Self> {
        let mut whole = Self {
            prefixes: None,
            first_layer: layout.first_layer().unwrap_or(0),
            factor: 1.0 / divisor,
            per_token: 1.0 / parts.predicted() as f64,
            parts,
            normalize_weights,
            activations,
        };
        whole.keep_prefixes(backbone)?;
        Ok(whole)
    }

    /// The outer loss: the mean over the labelled tokens of the questions' answers, each counted as its sequence
    /// says.
    ///
    /// # Errors
    /// What tensor operations refuse.
    pub fn outer(
        backbone: &Backbone,
        layout: &LoraLayout,
        batch: LabelledBatch,
        activations: Activations,
    ) -> Result<Self> {
        let parts = Parts::Batches(vec![batch]);
        let divisor = parts.total_weight();
        Self::assemble(backbone, layout, parts, divisor, false, activations)
    }

    /// The layers below the first adapted one give the same at every step: runs them once, where their
    /// outputs, `context tokens × D` numbers, are few enough to be kept.
    fn keep_prefixes(&mut self, backbone: &Backbone) -> Result<()> {
        let decoder = &backbone.decoder;
        let token_bytes = decoder.config.hidden_size * decoder.dtype.size_in_bytes();
        if self.first_layer > 0 && self.parts.tokens().saturating_mul(token_bytes) <= PREFIX_BYTES {
            let run = |index| backbone.prefix(&self.parts.batch(index, backbone)?.tokens, self.first_layer);
            self.prefixes = Some((0..self.parts.len()).map(run).collect::<Result<_>>()?);
        }
        Ok(())
    }

    /// As for a context that is too long for them to be kept.
    #[cfg(test)]
    pub(super) fn forget_prefixes(&mut self) {
        assert!(self.prefixes.take().is_some());
    }

    /// Number of micro-batches.
    pub fn micro_batches(&self) -> usize {
        self.parts.len()
    }

    /// The loss and its gradients at `phi`, summed over the micro-batches; `done(n)` is called after the
    /// n-th of them, from 1.
    pub(super) fn gradient<V: Ops>(
        &self,
        backbone: &Backbone,
        layout: &LoraLayout,
        phi: &[V],
        head: Option<&Head<V>>,
        done: &mut dyn FnMut(usize),
    ) -> Result<(LossValue, LossGrad<V>)> {
        let (mut loss, mut sum) = (LossValue { loss: 0.0, cross_entropy: 0.0 }, None);
        self.each(
            backbone,
            layout,
            |batch_loss| {
                let (part, grad) = batch_loss.gradient(phi, head)?;
                loss.add(part, self.per_token);
                sum = Some(match sum.take() {
                    Some(sum) => LossGrad::add(sum, grad)?,
                    None => grad,
                });
                Ok(())
            },
            done,
        )?;
        let grad = sum.ok_or_else(|| Error::Invalid("a context needs at least one segment".into()))?;
        Ok((loss, grad))
    }

    /// The loss at `phi` alone; `done` as for [`gradient`](Self::gradient).
    pub(super) fn loss(
        &self,
        backbone: &Backbone,
        layout: &LoraLayout,
        phi: &[Tensor],
        head: Option<&Head<Tensor>>,
        done: &mut dyn FnMut(usize),
    ) -> Result<LossValue> {
        let mut loss = LossValue { loss: 0.0, cross_entropy: 0.0 };
        self.each(
            backbone,
            layout,
            |batch_loss| {
                loss.add(batch_loss.loss(phi, head)?, self.per_token);
                Ok(())
            },
            done,
        )?;
        Ok(loss)
    }

    /// Calls `work` on the loss of one micro-batch after another.
    fn each(
        &self,
        backbone: &Backbone,
        layout: &LoraLayout,
        mut work: impl FnMut(&BatchLoss<'_>) -> Result<()>,
        done: &mut dyn FnMut(usize),
    ) -> Result<()> {
        for index in 0..self.parts.len() {
            let batch = self.parts.batch(index, backbone)?;
            let prefix = match &self.prefixes {
                Some(prefixes) => prefixes[index].clone(),
                None => backbone.prefix(&batch.tokens, self.first_layer)?,
            };
            work(&BatchLoss {
                backbone,
                layout,
                batch: &batch,
                prefix: &prefix,
                factor: self.factor,
                normalize_weights: self.normalize_weights,
                activations: self.activations,
            })?;
            done(index + 1);
        }
        Ok(())
    }
}

impl LossValue {
    fn add(&mut self, part: PartLoss, per_token: f64) {
        self.loss += part.loss;
        self.cross_entropy += part.cross_entropy_sum * per_token;
    }
}

impl Parts {
    fn len(&self) -> usize {
        match self {
            Self::Batches(batches) => batches.len(),
            Self::Segments { segments, at_once } => segments.len().div_ceil(*at_once),
        }
    }

    /// Tokens with their padding, at most.
    fn tokens(&self) -> usize {
        match self {
            Self::Batches(batches) => batches.iter().map(|b| b.tokens.size() * b.tokens.tokens()).sum(),
            Self::Segments { segments, .. } => {
                segments.len() * segments.iter().map(|s| s.tokens.len()).max().unwrap_or(0)
            }
        }
    }

    /// Tokens that are predicted.
    fn predicted(&self) -> usize {
        match self {
            Self::Batches(batches) => batches.iter().map(|batch| batch.targets.len()).sum(),
            Self::Segments { segments, .. } => segments.iter().map(Sequence::predicted).sum(),
        }
    }

    /// The same, each counted as its loss is.
    fn total_weight(&self) -> f64 {
        match self {
            Self::Batches(batches) => batches.iter().map(LabelledBatch::total_weight).sum(),
            Self::Segments { segments, .. } => segments.iter().flat_map(Sequence::predicted_weights).sum(),
        }
    }

    fn batch(&self, index: usize, backbone: &Backbone) -> Result<Cow<'_, LabelledBatch>> {
        match self {
            Self::Batches(batches) => Ok(Cow::Borrowed(&batches[index])),
            Self::Segments { segments, at_once } => {
                let first = index * at_once;
                let part = &segments[first..segments.len().min(first + at_once)];
                let decoder = &backbone.decoder;
                let batch =
                    LabelledBatch::from_sequences(part, longest(part)?, &decoder.config, &decoder.device)?;
                Ok(Cow::Owned(batch))
            }
        }
    }
}

impl<V: Ops> LossGrad<V> {
    fn add(self, other: Self) -> Result<Self> {
        let add = |a: &V, b: &V| a.add(b);
        let adapter =
            self.adapter.iter().zip(&other.adapter).map(|(a, b)| add(a, b)).collect::<Result<_>>()?;
        let head = match (self.head, other.head) {
            (Some(a), Some(b)) => Some(a.zip(&b, add)?),
            (head, _) => head,
        };
        Ok(Self { adapter, head })
    }
}

/// Length of the longest sequence; an error if there is none, or none to learn from.
pub(super) fn longest(sequences: &[Sequence]) -> Result<usize> {
    match sequences.iter().map(|s| s.tokens.len()).max() {
        None => Err(Error::Invalid("a context needs at least one segment".into())),
        Some(0 | 1) => Err(Error::Invalid("a segment needs at least two tokens to learn from".into())),
        Some(length) => Ok(length),
    }
}
