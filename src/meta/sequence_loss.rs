//! The loss of many sequences, micro-batch by micro-batch: of a context's segments it is the inner loss, of the
//! questions with their answers the outer loss. Those of several episodes may be taken together, each under an adapter
//! of its own: the products with frozen matrices are then shared.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::autodiff::Ops;
use crate::device::among_threads;
use crate::model::lora::LoraLayout;
use crate::model::{Activations, Backbone};
use crate::ranks::{Ranks, alone};
use crate::text::Sequence;
use crate::{Error, Result};

use super::batch::{LabelledBatch, longest};
use super::batch_loss::{BatchLoss, LossGrad, PartLosses};
use super::head::Head;
use super::micro_batches::Parts;
use super::options::{InnerOptions, Reduction};

/// Most bytes of hidden states that are kept of the layers below the first adapted one. Beyond it they are
/// computed anew at every pass, so that memory does not grow with the context.
pub(super) const PREFIX_BYTES: usize = 256 << 20;

/// The micro-batches of the losses of one or several episodes. Every position weighs alike, so that their number does
/// not change a loss.
pub struct SequenceLoss {
    parts: Parts,
    /// Processes that take a micro-batch each in turn.
    pub(super) ranks: Arc<dyn Ranks>,
    /// Hidden states of each batch below the first adapted layer, if there are such layers and room; of those of other ranks
    /// there are none.
    prefixes: Option<Vec<Option<Tensor>>>,
    first_layer: usize,
    /// What each episode's sum over tokens is multiplied with.
    factors: Vec<f64>,
    /// One over each episode's number of predicted tokens.
    per_token: Vec<f64>,
    normalize_weights: bool,
    activations: Activations,
}

/// A loss under one adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossValue {
    /// The loss, weighted and divided as the settings say.
    pub loss: f64,
    /// The plain mean next-token loss of the predicted tokens, in nats.
    pub cross_entropy: f64,
}

/// A predicted token of a context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLoss {
    /// Its weight ω in the inner loss; 1 without a head.
    pub weight: f64,
    /// Its plain next-token loss, in nats.
    pub cross_entropy: f64,
}

impl SequenceLoss {
    /// The inner losses of the contexts of some episodes, each cut into segments. Several `ranks` take a micro-batch each in
    /// turn, and losses and gradients on tensors are summed over all; not so Hessian-vector products. All of them must hold
    /// the same loss and call the same functions.
    ///
    /// # Errors
    /// No episode or no segment, no token to predict in a micro-batch, or a token outside the vocabulary.
    pub fn inner(
        backbone: &Backbone,
        layout: &LoraLayout,
        episodes: &[&[Sequence]],
        options: &InnerOptions,
        ranks: &Arc<dyn Ranks>,
    ) -> Result<Self> {
        let at_once = options.micro_batch_segments.max(1);
        let mut positions = vec![];
        for &segments in episodes {
            positions.push(segments.len() * (longest(segments)? - 1));
            segments.iter().try_for_each(|segment| backbone.decoder.config.check_tokens(&segment.tokens))?;
            for part in segments.chunks(at_once) {
                if part.iter().all(|segment| segment.predicted() == 0) {
                    return Err(Error::Invalid(
                        "a batch has no token to predict: every token is masked out".into(),
                    ));
                }
            }
        }
        let episodes = episodes.iter().map(|segments| segments.to_vec()).collect();
        Self::from_parts(backbone, layout, Parts::Segments { episodes, at_once }, &positions, options, ranks)
    }

    /// The inner loss of one episode's batches made elsewhere; `positions` is B × (S − 1) over all of them.
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
        Self::from_parts(backbone, layout, Parts::Batches(batches), &[positions], options, &alone())
    }

    fn from_parts(
        backbone: &Backbone,
        layout: &LoraLayout,
        parts: Parts,
        positions: &[usize],
        options: &InnerOptions,
        ranks: &Arc<dyn Ranks>,
    ) -> Result<Self> {
        let divisors = match options.reduction {
            // Without weights the authors' code falls back to the ordinary mean over labelled tokens.
            Reduction::Positions if options.head => positions.iter().map(|&count| count as f64).collect(),
            Reduction::Positions | Reduction::LabelledTokens => parts.total_weights(),
            Reduction::Constant(divisor) => vec![divisor; positions.len()],
        };
        let (normalize_weights, activations) = (options.normalize_weights, options.activations);
        Self::assemble(backbone, layout, parts, &divisors, (normalize_weights, activations), ranks)
    }

    fn assemble(
        backbone: &Backbone,
        layout: &LoraLayout,
        parts: Parts,
        divisors: &[f64],
        (normalize_weights, activations): (bool, Activations),
        ranks: &Arc<dyn Ranks>,
    ) -> Result<Self> {
        let mut whole = Self {
            ranks: Arc::clone(ranks),
            prefixes: None,
            first_layer: layout.first_layer().unwrap_or(0),
            factors: divisors.iter().map(|divisor| 1.0 / divisor).collect(),
            per_token: parts.predicted().into_iter().map(|count| 1.0 / count as f64).collect(),
            parts,
            normalize_weights,
            activations,
        };
        whole.keep_prefixes(backbone)?;
        Ok(whole)
    }

    /// Whether this rank takes micro-batch `index`.
    fn is_own(&self, index: usize) -> bool {
        index % self.ranks.count() == self.ranks.rank()
    }

    /// The outer losses: of each episode of the batch the mean over the labelled tokens of its questions' answers, each
    /// counted as its sequence says.
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
        let divisors = parts.total_weights();
        Self::assemble(backbone, layout, parts, &divisors, (false, activations), &alone())
    }

    /// How many episodes it is the losses of.
    pub fn episodes(&self) -> usize {
        self.factors.len()
    }

    /// The layers below the first adapted one give the same at every step: runs them once, where their
    /// outputs, `context tokens × D` numbers, are few enough to be kept.
    fn keep_prefixes(&mut self, backbone: &Backbone) -> Result<()> {
        let decoder = &backbone.decoder;
        let token_bytes = decoder.config.hidden_size * decoder.dtype.size_in_bytes();
        if self.first_layer > 0 && self.parts.tokens().saturating_mul(token_bytes) <= PREFIX_BYTES {
            let run = |index| backbone.prefix(&self.parts.batch(index, backbone)?.tokens, self.first_layer);
            let run = |index| Some(run(index)).filter(|_| self.is_own(index)).transpose();
            self.prefixes = Some((0..self.parts.len()).map(run).collect::<Result<_>>()?);
        }
        Ok(())
    }

    /// As for a context that is too long for them to be kept.
    #[cfg(test)]
    pub(super) fn forget_prefixes(&mut self) {
        assert!(self.prefixes.take().is_some());
    }

    /// Number of micro-batches that this rank takes.
    pub fn micro_batches(&self) -> usize {
        (0..self.parts.len()).filter(|&index| self.is_own(index)).count()
    }

    /// The losses and the gradients of their sum at `phi`, summed over the micro-batches; `done(n)` is called after the
    /// n-th of them, from 1. Of several episodes every tensor of `phi` has a leading dimension with each one's own.
    pub(super) fn gradient<V: Ops>(
        &self,
        backbone: &Backbone,
        layout: &LoraLayout,
        phi: &[V],
        head: Option<&Head<V>>,
        done: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<(Vec<LossValue>, LossGrad<V>)> {
        let (mut losses, mut sum) = (vec![], None);
        self.each(
            backbone,
            layout,
            |batch_loss| {
                let (parts, grad) =
                    among_threads(&backbone.decoder.device, || batch_loss.gradient(phi, head))?;
                losses.push(parts);
                sum = Some(match sum.take() {
                    Some(sum) => LossGrad::add(sum, grad)?,
                    None => grad,
                });
                Ok(())
            },
            done,
        )?;
        let none = |x: &V| Ok(V::constant(&x.primal().zeros_like()?));
        let grad = match sum {
            Some(sum) => sum,
            None if self.parts.len() > 0 => LossGrad {
                adapter: phi.iter().map(none).collect::<Result<_>>()?,
                head: head.map(|head| head.map(none)).transpose()?,
            },
            None => return Err(Error::Invalid("a context needs at least one segment".into())),
        };
        Ok((self.read(&losses)?, grad))
    }

    /// The losses at `phi` alone; arguments as for [`gradient`](Self::gradient).
    pub(super) fn losses(
        &self,
        backbone: &Backbone,
        layout: &LoraLayout,
        phi: &[Tensor],
        head: Option<&Head<Tensor>>,
        done: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<LossValue>> {
        let mut losses = vec![];
        let own = self
            .each(
                backbone,
                layout,
                |batch_loss| {
                    losses.push(among_threads(&backbone.decoder.device, || batch_loss.loss(phi, head))?);
                    Ok(())
                },
                done,
            )
            .and_then(|()| self.read(&losses));
        self.total_losses(own)
    }

    /// What each predicted token of one episode's context loses and counts under `phi`, in the order of the text.
    #[expect(clippy::disallowed_methods, reason = "what is read is shown to people")]
    pub(super) fn tokens(
        &self,
        backbone: &Backbone,
        layout: &LoraLayout,
        phi: &[Tensor],
        head: Option<&Head<Tensor>>,
    ) -> Result<Vec<TokenLoss>> {
        let mut tokens = vec![];
        let numbers = |x: &Tensor| Ok::<_, Error>(x.to_dtype(DType::F64)?.to_vec1::<f64>()?);
        let read = |batch_loss: &BatchLoss<'_>| {
            let (ce, weights) = among_threads(&backbone.decoder.device, || batch_loss.tokens(phi, head))?;
            let ce = numbers(&ce)?;
            let weights = weights.map_or_else(|| Ok(vec![1.0; ce.len()]), |weights| numbers(&weights))?;
            let pair = |(cross_entropy, weight)| TokenLoss { weight, cross_entropy };
            tokens.extend(ce.into_iter().zip(weights).map(pair));
            Ok(())
        };
        self.each(backbone, layout, read, &mut |_| Ok(()))?;
        Ok(tokens)
    }

    /// The losses of all micro-batches together, added in their order.
    fn read(&self, parts: &[PartLosses]) -> Result<Vec<LossValue>> {
        let mut losses = vec![LossValue { loss: 0.0, cross_entropy: 0.0 }; self.episodes()];
        let sums: Vec<&Tensor> = parts.iter().map(|parts| &parts.0).collect();
        if sums.is_empty() {
            return Ok(losses);
        }
        #[expect(clippy::disallowed_methods, reason = "all in one read, once a gradient")]
        let sums: Vec<Vec<Vec<f64>>> = Tensor::stack(&sums, 0)?.to_vec3()?;
        for part in &sums {
            for ((loss, part), per_token) in losses.iter_mut().zip(part).zip(&self.per_token) {
                loss.loss += part[0];
                loss.cross_entropy += part[1] * per_token;
            }
        }
        Ok(losses)
    }

    /// Calls `work` on the loss of one micro-batch after another.
    fn each(
        &self,
        backbone: &Backbone,
        layout: &LoraLayout,
        mut work: impl FnMut(&BatchLoss<'_>) -> Result<()>,
        done: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let own = (0..self.parts.len()).filter(|&index| self.is_own(index));
        for (nth, index) in own.enumerate() {
            let batch = self.parts.batch(index, backbone)?;
            let prefix = match self.prefixes.as_ref().map(|prefixes| &prefixes[index]) {
                Some(Some(prefix)) => prefix.clone(),
                _ => {
                    let prefix = || backbone.prefix(&batch.tokens, self.first_layer);
                    among_threads(&backbone.decoder.device, prefix)?
                }
            };
            work(&BatchLoss {
                backbone,
                layout,
                batch: &batch,
                prefix: &prefix,
                factors: &self.factors,
                normalize_weights: self.normalize_weights,
                activations: self.activations,
            })?;
            done(nth + 1)?;
        }
        Ok(())
    }
}

impl<V: Ops> LossGrad<V> {
    fn add(self, other: Self) -> Result<Self> {
        let pairs: Vec<_> = self.adapter.iter().zip(&other.adapter).map(|(a, b)| [a, b]).collect();
        let adapter = V::add_each(&pairs)?;
        let head = match (self.head, other.head) {
            (Some(a), Some(b)) => Some(a.zip(&b, |a, b| a.add(b))?),
            (head, _) => head,
        };
        Ok(Self { adapter, head })
    }
}
