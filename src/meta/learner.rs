//! Inner loop and meta-gradient: reverse over the steps, forward over the gradient.

use std::borrow::Cow;

use candle_core::Tensor;

use crate::model::lora::LoraLayout;
use crate::model::{Activations, Backbone, Decoder};
use crate::optim::{Rule, global_norm};
use crate::ranks::alone;
use crate::text::Sequence;
use crate::{Error, Result};

use super::MetaParams;
use super::batch::LabelledBatch;
use super::inner::{self, InnerSteps};
use super::meta_gradient::{EpisodeGradient, MetaGradient, MetaGradients};
use super::options::{InnerOptimizer, InnerOptions, with_rule};
use super::sequence_loss::{LossValue, SequenceLoss, TokenLoss};
use super::sweep::Sweep;

/// A frozen decoder, the form of its adapter, and the settings of the inner loop.
#[derive(Debug, Clone)]
pub struct Learner {
    /// The decoder.
    pub backbone: Backbone,
    /// The adapter's form.
    pub layout: LoraLayout,
    /// The inner loop's settings.
    pub options: InnerOptions,
}

/// How the inner loop goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Adapting {
    /// Part of a step's gradient is summed.
    MicroBatch {
        /// The inner step, from 0.
        step: usize,
        /// Micro-batches done in this step.
        micro_batches: usize,
    },
    /// A step was taken.
    Step {
        /// The inner step, from 0.
        step: usize,
        /// The loss before it.
        before: LossValue,
    },
}

/// An adapter that has learned a context.
#[derive(Debug, Clone)]
pub struct Adapted {
    /// Its tensors φ_N, in the layout's order.
    pub phi: Vec<Tensor>,
    /// The inner loss before each step.
    pub inner_losses: Vec<f64>,
}

impl Learner {
    /// Joins a decoder with the adapter's form and the inner settings.
    ///
    /// # Errors
    /// An adapter without matrices, or more differentiated steps than steps.
    pub fn new(decoder: Decoder, layout: LoraLayout, options: InnerOptions) -> Result<Self> {
        if layout.sites.is_empty() {
            return Err(Error::Invalid(
                "the adapter has no matrix: name at least one target and layer".into(),
            ));
        }
        if options.differentiated > options.steps {
            let (t, n) = (options.differentiated, options.steps);
            return Err(Error::Invalid(format!("cannot differentiate {t} of {n} inner steps")));
        }
        Ok(Self { backbone: Backbone::new(decoder)?, layout, options })
    }

    /// The same learner with micro-batches of so many segments.
    pub fn with_micro_batch(&self, segments: usize) -> Cow<'_, Self> {
        match self.options.micro_batch_segments == segments {
            true => Cow::Borrowed(self),
            false => {
                let options = InnerOptions { micro_batch_segments: segments, ..self.options.clone() };
                Cow::Owned(Self { options, ..self.clone() })
            }
        }
    }

    /// The inner loss of a context: the next-token loss of its segments.
    ///
    /// # Errors
    /// No segment, no token to predict, or a token outside the vocabulary.
    pub fn inner_loss(&self, segments: &[Sequence]) -> Result<SequenceLoss> {
        self.inner_losses(&[segments])
    }

    /// The inner losses of several contexts, to be taken together.
    ///
    /// # Errors
    /// As [`inner_loss`](Self::inner_loss).
    pub fn inner_losses(&self, contexts: &[&[Sequence]]) -> Result<SequenceLoss> {
        SequenceLoss::inner(&self.backbone, &self.layout, contexts, &self.options, &alone())
    }

    /// The outer loss of questions: the next-token loss of their labelled tokens, which are the answers'.
    ///
    /// # Errors
    /// As [`inner_loss`](Self::inner_loss).
    pub fn outer_loss(&self, queries: &[Sequence]) -> Result<SequenceLoss> {
        self.outer_losses(&[queries])
    }

    /// The outer losses of the questions of several episodes, to be taken together.
    ///
    /// # Errors
    /// As [`inner_loss`](Self::inner_loss).
    pub fn outer_losses(&self, queries: &[&[Sequence]]) -> Result<SequenceLoss> {
        let decoder = &self.backbone.decoder;
        let batch = LabelledBatch::from_sequences(queries, &decoder.config, &decoder.device)?;
        SequenceLoss::outer(&self.backbone, &self.layout, batch, Activations::Keep)
    }

    /// Writes a context into the adapter: N inner steps from φ₀.
    ///
    /// # Errors
    /// Parameters that do not fit the adapter or the settings, and as [`inner_loss`](Self::inner_loss).
    pub fn adapt(&self, params: &MetaParams, segments: &[Sequence]) -> Result<Adapted> {
        self.adapt_to(params, &self.inner_loss(segments)?, &mut |_| Ok(()))
    }

    /// As [`adapt`](Self::adapt), on a prepared context of one episode; `watch` is told how it goes on, and
    /// stops it with an error.
    ///
    /// # Errors
    /// Parameters that do not fit the adapter or the settings, and what `watch` returns.
    pub fn adapt_to(
        &self,
        params: &MetaParams,
        context: &SequenceLoss,
        watch: &mut dyn FnMut(Adapting) -> Result<()>,
    ) -> Result<Adapted> {
        one_of(context)?;
        Ok(self.adapt_all(params, context, watch)?.remove(0))
    }

    /// As [`adapt`](Self::adapt), on the contexts of several episodes together: one pass takes the segments of all, each
    /// under an adapter of its own.
    ///
    /// # Errors
    /// As [`adapt`](Self::adapt).
    pub fn adapt_together(&self, params: &MetaParams, contexts: &[&[Sequence]]) -> Result<Vec<Adapted>> {
        self.adapt_all(params, &self.inner_losses(contexts)?, &mut |_| Ok(()))
    }

    fn adapt_all(
        &self,
        params: &MetaParams,
        contexts: &SequenceLoss,
        watch: &mut dyn FnMut(Adapting) -> Result<()>,
    ) -> Result<Vec<Adapted>> {
        self.check(params)?;
        let episodes = contexts.episodes();
        let (phi, losses) = with_rule!(self.options.optimizer, rule => {
            let steps = InnerSteps::new(&self.options, rule, params, episodes)?;
            self.unrolled(&steps, params, contexts, &mut |_| {}, watch)?
        });
        let own = |(phi, inner_losses)| Adapted { phi, inner_losses };
        Ok(inner::each(&phi, episodes)?.into_iter().zip(losses).map(own).collect())
    }

    /// All inner steps; `keep` gets each step's gradient. The adapters of all episodes after them, and the losses of
    /// each before each step.
    fn unrolled<R: Rule>(
        &self,
        steps: &InnerSteps<'_, R>,
        params: &MetaParams,
        contexts: &SequenceLoss,
        keep: &mut dyn FnMut(Vec<Tensor>),
        watch: &mut dyn FnMut(Adapting) -> Result<()>,
    ) -> Result<(Vec<Tensor>, Vec<Vec<f64>>)> {
        let mut at = steps.start();
        let mut losses = vec![vec![]; contexts.episodes()];
        for step in 0..self.options.steps {
            let phi = inner::adapter(&at);
            let mut done = |micro_batches| watch(Adapting::MicroBatch { step, micro_batches });
            let own = contexts.gradient(&self.backbone, &self.layout, &phi, params.head.as_ref(), &mut done);
            let (before, grads) = contexts.total(own)?;
            drop(phi);
            at = steps.step(&at, &grads.adapter, step)?;
            losses.iter_mut().zip(&before).for_each(|(all, before)| all.push(before.loss));
            watch(Adapting::Step { step, before: before[0] })?;
            keep(grads.adapter);
        }
        Ok((inner::adapter(&at), losses))
    }

    /// The inner loss of one episode's context under the adapter `phi`: a forward pass; `done(n)` is called after the
    /// n-th micro-batch, from 1.
    ///
    /// # Errors
    /// Parameters that do not fit the adapter or the settings, and what `done` returns.
    pub fn inner_loss_at(
        &self,
        params: &MetaParams,
        context: &SequenceLoss,
        phi: &[Tensor],
        done: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<LossValue> {
        one_of(context)?;
        self.check(params)?;
        Ok(context.losses(&self.backbone, &self.layout, phi, params.head.as_ref(), done)?.remove(0))
    }

    /// Weight and loss of each predicted token of one episode's context under `phi`, in the order of the text.
    ///
    /// # Errors
    /// As [`inner_loss_at`](Self::inner_loss_at).
    pub fn token_losses(
        &self,
        params: &MetaParams,
        context: &SequenceLoss,
        phi: &[Tensor],
    ) -> Result<Vec<TokenLoss>> {
        one_of(context)?;
        self.check(params)?;
        context.tokens(&self.backbone, &self.layout, phi, params.head.as_ref())
    }

    /// Loss of an episode's answers after adapting to its context, and its gradient with respect to
    /// `params` through the last T inner steps (PERK, section 3.2).
    ///
    /// # Errors
    /// As [`adapt`](Self::adapt). Numbers that are not finite are no error here: the caller knows the episode.
    pub fn meta_gradient(
        &self,
        params: &MetaParams,
        segments: &[Sequence],
        queries: &[Sequence],
    ) -> Result<MetaGradient> {
        self.meta_gradient_of(params, &self.inner_loss(segments)?, &self.outer_loss(queries)?)
    }

    /// As [`meta_gradient`](Self::meta_gradient), on a prepared context and questions of one episode.
    ///
    /// # Errors
    /// As [`adapt_to`](Self::adapt_to).
    pub fn meta_gradient_of(
        &self,
        params: &MetaParams,
        context: &SequenceLoss,
        questions: &SequenceLoss,
    ) -> Result<MetaGradient> {
        one_of(context)?;
        let MetaGradients { mut episodes, tree } = self.meta_gradients_of(params, context, questions)?;
        let EpisodeGradient { inner_losses, outer_loss, .. } = episodes.remove(0);
        Ok(MetaGradient { inner_losses, outer_loss, tree })
    }

    /// As [`meta_gradient`](Self::meta_gradient), of several episodes together: one pass takes the segments of all, each
    /// under an adapter of its own. `contexts` and `queries` have an entry an episode.
    ///
    /// # Errors
    /// As [`meta_gradient`](Self::meta_gradient).
    pub fn meta_gradients(
        &self,
        params: &MetaParams,
        contexts: &[&[Sequence]],
        queries: &[&[Sequence]],
    ) -> Result<MetaGradients> {
        self.meta_gradients_of(params, &self.inner_losses(contexts)?, &self.outer_losses(queries)?)
    }

    fn meta_gradients_of(
        &self,
        params: &MetaParams,
        contexts: &SequenceLoss,
        questions: &SequenceLoss,
    ) -> Result<MetaGradients> {
        self.check(params)?;
        let (expected, found) = (contexts.episodes(), questions.episodes());
        if expected != found {
            return Err(Error::Invalid(format!(
                "there are contexts of {expected} episodes, questions of {found}"
            )));
        }
        with_rule!(self.options.optimizer, rule => self.through_the_steps(rule, params, contexts, questions))
    }

    fn through_the_steps<R: Rule>(
        &self,
        rule: R,
        params: &MetaParams,
        contexts: &SequenceLoss,
        questions: &SequenceLoss,
    ) -> Result<MetaGradients> {
        let steps = InnerSteps::new(&self.options, rule, params, contexts.episodes())?;
        let mut grads = vec![];
        let (phi, inner_losses) =
            self.unrolled(&steps, params, contexts, &mut |grad| grads.push(grad), &mut |_| Ok(()))?;
        let (outer_losses, outer) =
            questions.gradient(&self.backbone, &self.layout, &phi, None, &mut |_| Ok(()))?;
        drop(phi);
        let mut sweep = Sweep::new(self, steps, params, contexts, grads, &outer.adapter)?;
        drop(outer);
        for step in (0..self.options.steps).rev() {
            sweep.back_through(step)?;
        }
        let episodes = inner_losses.into_iter().zip(outer_losses).zip(sweep.norms()?);
        let episodes = episodes.map(|((inner_losses, outer), norm)| EpisodeGradient {
            inner_losses,
            outer_loss: outer.loss,
            norm,
        });
        Ok(MetaGradients { episodes: episodes.collect(), tree: sweep.finish()? })
    }

    /// Losses of the answers of some episodes under φ₀ itself, without an inner step, and their gradients: plain
    /// fine-tuning. The learning rates and the head get a gradient of zero.
    ///
    /// # Errors
    /// As [`adapt`](Self::adapt).
    pub fn answer_gradients(&self, params: &MetaParams, queries: &[&[Sequence]]) -> Result<MetaGradients> {
        self.check(params)?;
        let (mut episodes, mut tree) = (vec![], params.zeros_like()?);
        for queries in queries {
            let questions = self.outer_loss(queries)?;
            let (losses, gradient) =
                questions.gradient(&self.backbone, &self.layout, &params.adapter, None, &mut |_| Ok(()))?;
            let norm = global_norm(&gradient.adapter)?;
            let sums = tree.adapter.iter().zip(&gradient.adapter);
            tree.adapter = sums.map(|(sum, own)| Ok((sum + own)?)).collect::<Result<_>>()?;
            episodes.push(EpisodeGradient { inner_losses: vec![], outer_loss: losses[0].loss, norm });
        }
        Ok(MetaGradients { episodes, tree })
    }

    /// Refuses parameters that do not fit the adapter or the settings.
    pub(super) fn check(&self, params: &MetaParams) -> Result<()> {
        let expected = self.layout.num_tensors();
        let (tensors, (rates, steps)) = (params.adapter.len(), params.inner_lr.dims2()?);
        if tensors != expected || rates != expected {
            return Err(Error::Invalid(format!(
                "the adapter has {expected} tensors, but the start has {tensors} and the learning rates {rates}"
            )));
        }
        if steps < self.options.steps {
            let wanted = self.options.steps;
            return Err(Error::Invalid(format!("there are learning rates for {steps} of {wanted} steps")));
        }
        for (index, tensor) in params.adapter.iter().enumerate() {
            let (name, shape) = (self.layout.name(index), self.layout.shape(index));
            if tensor.dims2()? != shape {
                let found = tensor.dims();
                return Err(Error::Invalid(format!("`{name}` should be {shape:?}, but is {found:?}")));
            }
        }
        if params.head.is_some() != self.options.head {
            return Err(Error::Invalid(
                "a weighted inner loss needs a head, and an unweighted one none".into(),
            ));
        }
        Ok(())
    }
}

/// Refuses the losses of several episodes.
pub(super) fn one_of(context: &SequenceLoss) -> Result<()> {
    match context.episodes() {
        1 => Ok(()),
        several => Err(Error::Invalid(format!("expected the context of one episode, found {several}"))),
    }
}
