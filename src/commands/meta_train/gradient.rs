//! The mean gradient of a step's episodes, shared among ranks and their threads, and added in order.

use crate::{
    config::Objective,
    error::{Error, Result},
    meta::{GradientMean, MetaGradient, MetaGradients, MetaParams, Tell, within},
    ranks::{Ranks, agreed, share},
    tasks::{EncodedEpisode, EpisodeSource, Split},
};

use super::super::Setup;

/// Takes gradients of training episodes.
pub(super) struct Gradients<'a> {
    pub(super) setup: &'a Setup,
    pub(super) source: &'a dyn EpisodeSource,
    /// Processes that share the episodes of a step.
    pub(super) ranks: &'a dyn Ranks,
    /// Outer steps done, for messages.
    pub(super) step: usize,
    /// Told of memory that was too small.
    pub(super) tell: Tell<'a>,
}

impl Gradients<'_> {
    /// The mean over the episodes of a step, of which `first` is the first, and the tokens of their contexts. Every rank
    /// gets the same.
    pub(super) fn mean(&self, params: &MetaParams, first: u64) -> Result<(MetaGradient, usize)> {
        let indices: Vec<u64> = (first..).take(self.setup.config.outer.episodes_per_step).collect();
        let (mean, context_tokens) = agreed(self.ranks, self.sum(params, share(self.ranks, &indices)))?;
        let mean = mean.over(self.ranks, params, self.setup.learner.options.steps)?.finish()?;
        let mut tokens = [context_tokens as f64];
        self.ranks.sum_f64(&mut tokens)?;
        Ok((mean, tokens[0] as usize))
    }

    /// The sum over some episodes, which this rank's threads share, and the tokens of their contexts.
    fn sum(&self, params: &MetaParams, indices: &[u64]) -> Result<(GradientMean, usize)> {
        let (workers, together) = (&self.setup.workers, &self.setup.limits.episodes_together);
        let groups: Vec<&[u64]> = indices.chunks(together.get()).collect();
        // Gradients wait here to be added in order: a few for each thread, not all of a large step's.
        let at_once = if workers.count() == 1 { 1 } else { 4 * workers.count() };
        let (mut mean, mut context_tokens) = (GradientMean::default(), 0);
        for part in groups.chunks(at_once) {
            for (gradients, tokens) in
                workers.map(part, |indices| self.of(params, indices))?.into_iter().flatten()
            {
                mean.add(gradients)?;
                context_tokens += tokens;
            }
        }
        Ok((mean, context_tokens))
    }

    /// The meta-gradients of some episodes, computed together as far as there is memory, each part with the tokens of
    /// its contexts.
    fn of(&self, params: &MetaParams, indices: &[u64]) -> Result<Vec<(MetaGradients, usize)>> {
        let objective = self.setup.config.outer.objective;
        let encode = |&index: &u64| {
            self.setup.encoder.encode(&self.source.episode(index)?, index, Split::Train, objective)
        };
        let episodes = indices.iter().map(encode).collect::<Result<Vec<_>>>()?;
        let limits = &self.setup.limits;
        let segments = episodes.iter().map(|episode| episode.segments.len()).max().unwrap_or(0);
        let of = [(&limits.episodes_together, indices.len()), (&limits.micro_batch_segments, segments)];
        within(of, self.tell, |[together, segments]| {
            let parts = episodes.chunks(together).zip(indices.chunks(together));
            parts.map(|(episodes, indices)| self.together(params, episodes, indices, segments)).collect()
        })
    }

    /// The meta-gradients of some episodes, so many segments of each at once, and the tokens of their contexts.
    fn together(
        &self,
        params: &MetaParams,
        episodes: &[EncodedEpisode],
        indices: &[u64],
        segments: usize,
    ) -> Result<(MetaGradients, usize)> {
        let queries: Vec<_> = episodes.iter().map(|episode| &episode.queries[..]).collect();
        let learner = self.setup.learner.with_micro_batch(segments);
        let gradients = match self.setup.config.outer.objective {
            Objective::Perk => {
                let contexts: Vec<_> = episodes.iter().map(|episode| &episode.segments[..]).collect();
                learner.meta_gradients(params, &contexts, &queries)?
            }
            Objective::InContext => learner.answer_gradients(params, &queries)?,
        };
        self.require_finite(&gradients, indices)?;
        Ok((gradients, episodes.iter().map(|episode| episode.context_tokens).sum()))
    }

    /// Stops the run before a NaN or an infinity reaches the optimiser.
    fn require_finite(&self, gradients: &MetaGradients, indices: &[u64]) -> Result<()> {
        for (own, &index) in gradients.episodes.iter().zip(indices) {
            let inner = own.inner_losses.iter().map(|&loss| ("the inner loss", loss));
            let rest = [("the outer loss", own.outer_loss), ("the norm of the meta-gradient", own.norm)];
            all_finite(inner.chain(rest), self.step, index)?;
        }
        let norm = [("the norm of the meta-gradient", gradients.tree.norm()?)];
        all_finite(norm, self.step, indices.first().copied().unwrap_or_default())
    }
}

/// Fails with the first number that is NaN or infinite.
pub(super) fn all_finite<'n>(
    numbers: impl IntoIterator<Item = (&'n str, f64)>,
    step: usize,
    episode: u64,
) -> Result<()> {
    match numbers.into_iter().find(|(_, value)| !value.is_finite()) {
        None => Ok(()),
        Some((what, value)) => Err(Error::NonFinite { what: what.to_owned(), value, step, episode }),
    }
}
