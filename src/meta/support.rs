//! The context as the inner loop sees it: micro-batches of segments, and the loss over all of them.

use candle_core::Tensor;

use crate::autodiff::Ops;
use crate::lora::LoraLayout;
use crate::model::{Activations, Backbone};
use crate::text::Sequence;
use crate::{Error, Result};

use super::batch::LabelledBatch;
use super::head::Head;
use super::objective::{LossGrad, Objective};
use super::options::{InnerOptions, Reduction};

/// The micro-batches of one loss. Every position weighs alike, so that their number does not change it.
pub struct Support {
    batches: Vec<LabelledBatch>,
    /// Hidden states of each batch below the first adapted layer, if there are layers below.
    prefixes: Option<Vec<Tensor>>,
    factor: f64,
    normalize_weights: bool,
    activations: Activations,
}

impl Support {
    /// The inner loss of a context cut into segments.
    ///
    /// # Errors
    /// No segment, no token to predict, or a token outside the vocabulary.
    pub fn from_segments(
        backbone: &Backbone,
        layout: &LoraLayout,
        segments: &[Sequence],
        options: &InnerOptions,
    ) -> Result<Self> {
        let width = longest(segments)?;
        let decoder = &backbone.decoder;
        let batches = segments
            .chunks(options.micro_batch_segments.max(1))
            .map(|part| LabelledBatch::from_sequences(part, longest(part)?, &decoder.config, &decoder.device))
            .collect::<Result<Vec<_>>>()?;
        let positions = segments.len() * (width - 1);
        Self::new(backbone, layout, batches, positions, options)
    }

    /// The inner loss of batches made elsewhere; `positions` is B × (S − 1) over all of them.
    pub fn new(
        backbone: &Backbone,
        layout: &LoraLayout,
        batches: Vec<LabelledBatch>,
        positions: usize,
        options: &InnerOptions,
    ) -> Result<Self> {
        let divisor = match options.reduction {
            // Without weights the authors' code falls back to the ordinary mean over labelled tokens.
            Reduction::Positions if options.weighted => positions as f64,
            Reduction::Positions | Reduction::LabelledTokens => labelled(&batches),
            Reduction::Constant(divisor) => divisor,
        };
        let mut support = Self {
            batches,
            prefixes: None,
            factor: 1.0 / divisor,
            normalize_weights: options.normalize_weights,
            activations: options.activations,
        };
        support.cache_prefixes(backbone, layout)?;
        Ok(support)
    }

    /// The outer loss: the mean over the labelled tokens of the questions' answers.
    pub fn queries(
        backbone: &Backbone,
        layout: &LoraLayout,
        batch: LabelledBatch,
        activations: Activations,
    ) -> Result<Self> {
        let batches = vec![batch];
        let factor = 1.0 / labelled(&batches);
        let mut queries = Self { batches, prefixes: None, factor, normalize_weights: false, activations };
        queries.cache_prefixes(backbone, layout)?;
        Ok(queries)
    }

    /// The layers below the first adapted one give the same at every step: run them once. Their outputs
    /// take `context tokens × D` numbers; with every layer adapted nothing is kept.
    fn cache_prefixes(&mut self, backbone: &Backbone, layout: &LoraLayout) -> Result<()> {
        if let Some(first) = layout.first_layer().filter(|&first| first > 0) {
            let run = |batch: &LabelledBatch| backbone.prefix(&batch.tokens, first);
            self.prefixes = Some(self.batches.iter().map(run).collect::<Result<_>>()?);
        }
        Ok(())
    }

    /// The loss and its gradients at `phi`, summed over the micro-batches.
    pub(super) fn gradient<V: Ops>(
        &self,
        backbone: &Backbone,
        layout: &LoraLayout,
        phi: &[V],
        head: Option<&Head<V>>,
    ) -> Result<LossGrad<V>> {
        let mut sum: Option<LossGrad<V>> = None;
        for (index, batch) in self.batches.iter().enumerate() {
            let prefix = match &self.prefixes {
                Some(prefixes) => prefixes[index].clone(),
                None => backbone.prefix(&batch.tokens, 0)?,
            };
            let objective = Objective {
                backbone,
                layout,
                batch,
                prefix: &prefix,
                factor: self.factor,
                normalize_weights: self.normalize_weights,
                activations: self.activations,
            };
            let part = objective.gradient(phi, head)?;
            sum = Some(match sum {
                Some(sum) => sum.add(part)?,
                None => part,
            });
        }
        sum.ok_or_else(|| Error::Invalid("a context needs at least one segment".into()))
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
        Ok(Self { loss: self.loss + other.loss, adapter, head })
    }
}

fn labelled(batches: &[LabelledBatch]) -> f64 {
    batches.iter().map(|batch| batch.targets.len()).sum::<usize>() as f64
}

/// Length of the longest sequence; an error if there is none, or none to learn from.
pub(super) fn longest(sequences: &[Sequence]) -> Result<usize> {
    match sequences.iter().map(|s| s.tokens.len()).max() {
        None => Err(Error::Invalid("a context needs at least one segment".into())),
        Some(0 | 1) => Err(Error::Invalid("a segment needs at least two tokens to learn from".into())),
        Some(length) => Ok(length),
    }
}
