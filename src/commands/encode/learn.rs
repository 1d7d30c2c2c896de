//! The inner loop of an encoding, with smaller micro-batches where memory is too small.

use std::{cell::RefCell, sync::Arc, time::Instant};

use crate::{
    error::{Error, Result},
    meta::{Adapting, Learner, LossValue, MetaParams, SequenceLoss, within},
    model::lora::Adapter,
    ranks::{Ranks, agreed, is_alone, told},
    store::{CheckpointIdentity, Losses},
    text::Sequence,
};

use super::{EncodeEvent, Setup, Watch, count};
use crate::commands::work::Work;

/// What the inner loop leaves beside the adapter.
pub(super) struct Learned {
    pub(super) losses: Losses,
    pub(super) inner_secs: f64,
    /// How many segments were computed at once in the end.
    pub(super) micro_batch_segments: usize,
}

/// The inner loop, and the loss after its last step. Where memory is too small it begins again with smaller
/// micro-batches.
pub(super) fn learn(
    setup: &Setup,
    params: &MetaParams,
    segments: &[Sequence],
    checkpoint: &CheckpointIdentity,
    ranks: &Arc<dyn Ranks>,
    watch: Watch<'_>,
) -> Result<(Adapter, Learned)> {
    let (tokens, steps) = (count(segments), setup.learner.options.steps);
    watch(&EncodeEvent::Begun { checkpoint, tokens, segments: segments.len(), steps })?;
    let limits = [(&setup.limits.micro_batch_segments, segments.len())];
    let watch = RefCell::new(watch);
    let tell = |note: &str| drop(watch.borrow_mut()(&EncodeEvent::Note(note.to_owned())));
    within(limits, &tell, |[at_once]| {
        let learner = setup.learner.with_micro_batch(at_once);
        if !is_alone(&**ranks) {
            let (config, start, segments) = (setup.config.to_toml()?, checkpoint.clone(), segments.to_vec());
            told(&**ranks, Some(&Work::Encode { config, start, segments, at_once }))?;
        }
        attempt(&learner, params, segments, ranks, &mut **watch.borrow_mut())
    })
}

/// The same with micro-batches of one size, which the ranks share.
pub(super) fn attempt(
    learner: &Learner,
    params: &MetaParams,
    segments: &[Sequence],
    ranks: &Arc<dyn Ranks>,
    watch: Watch<'_>,
) -> Result<(Adapter, Learned)> {
    let tokens = count(segments);
    let began = Instant::now();
    let context = agreed(&**ranks, learner.inner_loss_among(segments, ranks))?;
    let (mut losses, mut step_began) = (Losses::default(), Instant::now());
    let parts = context.micro_batches() as f64;
    let adapted = learner.adapt_to(params, &context, &mut |event| match event {
        Adapting::MicroBatch { step, micro_batches } => {
            watch(&EncodeEvent::Progress { step, share: micro_batches as f64 / parts })
        }
        Adapting::Step { step, before } => {
            losses.add(before);
            let tokens_per_sec = tokens as f64 / step_began.elapsed().as_secs_f64();
            step_began = Instant::now();
            watch(&EncodeEvent::Step { step, before, tokens_per_sec })
        }
    })?;
    let inner_secs = began.elapsed().as_secs_f64();
    losses.add(loss_after(learner, params, &context, &adapted.phi, watch)?);
    losses.require_finite()?;
    let adapter = Adapter { layout: learner.layout.clone(), tensors: adapted.phi };
    let micro_batch_segments = learner.options.micro_batch_segments;
    // Many tools ignore rsLoRA's flag, so the scale is written as plain alpha / rank.
    Ok((adapter.plain(), Learned { losses, inner_secs, micro_batch_segments }))
}

fn loss_after(
    learner: &Learner,
    params: &MetaParams,
    context: &SequenceLoss,
    phi: &[candle_core::Tensor],
    watch: Watch<'_>,
) -> Result<LossValue> {
    let (step, parts) = (learner.options.steps, context.micro_batches() as f64);
    learner.inner_loss_at(params, context, phi, &mut |done| {
        watch(&EncodeEvent::Progress { step, share: done as f64 / parts })
    })
}

impl Losses {
    fn add(&mut self, loss: LossValue) {
        self.inner.push(loss.loss);
        self.cross_entropy.push(loss.cross_entropy);
    }

    /// A loss that is no number means an adapter of no use.
    fn require_finite(&self) -> Result<()> {
        match self.inner.iter().position(|loss| !loss.is_finite()) {
            None => Ok(()),
            Some(0) => Err(Error::Invalid(format!(
                "the inner loss is {} before the first inner step: the base or the checkpoint has numbers too large to \
                 compute with; if model.storage is f16, take bf16 or f32",
                self.inner[0]
            ))),
            Some(step) => Err(Error::Invalid(format!(
                "the inner loss is {} after {step} inner steps: the adapter has diverged. Take fewer steps \
                 (--steps), or meta-train longer or with lower inner rates",
                self.inner[step]
            ))),
        }
    }
}
