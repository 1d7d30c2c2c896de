//! A context encoded again, with a look at every token between the inner steps.

use std::cell::RefCell;

use candle_core::{DType, Tensor};

use crate::{
    commands::{
        Compute, InnerStart, Setup,
        encode::{Changes, EncodeEvent, Plan, Watch},
    },
    error::{Error, Result},
    meta::{Adapting, Learner, MetaParams, TokenLoss, within},
    model::{HubSettings, base_written_in},
    report::inspection::{BeforeAfter, Reading, SegmentLoss, SegmentReading, TokenReading},
    store::{Losses, StoredAdapter},
    tasks::Context,
    text::{Sequence, Tokenizer},
};

use super::Given;

/// Larger differences than this between what was stored and what comes out again are told, as a share of the largest
/// number: other processors and versions round otherwise.
const SAME: f64 = 1e-3;

/// An adapter whose context is encoded again.
pub(super) struct Again<'a> {
    pub(super) stored: &'a StoredAdapter,
    pub(super) start: &'a InnerStart,
    pub(super) given: &'a Given,
    pub(super) hub: &'a HubSettings,
}

impl Again<'_> {
    /// The context as the adapter has read it, and what a person should know of that.
    ///
    /// # Errors
    /// A base that is missing or another one; another recipe than the adapter's.
    pub(super) fn read(&self, context: &Context, watch: Watch<'_>) -> Result<(Reading, Vec<String>)> {
        let record = &self.stored.record;
        let (recipe, model) = (&record.recipe, &record.base.model);
        let base = || base_written_in(&self.stored.dir, &model.base);
        let precision = self.given.compute.matmul_precision.unwrap_or(model.matmul_precision);
        let changes = Changes {
            steps: Some(recipe.inner.steps),
            micro_batch: Some(recipe.inner.micro_batch_segments),
            segment_tokens: Some(recipe.segment_tokens),
            base: Some(self.given.base.clone().unwrap_or_else(base)),
            compute: Compute { device: self.given.compute.device, matmul_precision: Some(precision) },
        };
        let plan = Plan::new(self.start, &changes, self.hub)?;
        let read = read(&plan, context, self.hub, watch)?;
        let mut notes = vec![];
        if plan.key(context)? != record.key {
            notes.push(
                "the context was encoded again with another recipe than the adapter's: what is shown of it is like the \
                 adapter, but not the same"
                    .to_owned(),
            );
        }
        let decoder = read.setup.decoder();
        let own = self.stored.load(&decoder.config, decoder.dtype, &decoder.device)?;
        let apart = apart(&own.tensors, &read.phi)?;
        if apart > SAME {
            notes.push(format!(
                "encoded again, the adapter differs from the stored one by {:.1}% of its largest number: another processor, \
                 version or precision",
                100.0 * apart
            ));
        }
        Ok((read.reading, notes))
    }
}

/// How the start of an inner loop would write `context`, and the losses.
///
/// # Errors
/// A base or a context that cannot be used.
pub(super) fn of_start(
    start: &InnerStart,
    given: &Given,
    context: &Context,
    hub: &HubSettings,
    watch: Watch<'_>,
) -> Result<(Reading, Losses)> {
    let changes = Changes { base: given.base.clone(), compute: given.compute, ..Changes::default() };
    let read = read(&Plan::new(start, &changes, hub)?, context, hub, watch)?;
    Ok((read.reading, read.losses))
}

/// A context that was read.
struct Read {
    reading: Reading,
    losses: Losses,
    phi: Vec<Tensor>,
    setup: Setup,
}

fn read(plan: &Plan, context: &Context, hub: &HubSettings, watch: Watch<'_>) -> Result<Read> {
    let setup = Setup::open(&plan.config, hub)?;
    setup.notes.iter().try_for_each(|note| watch(&EncodeEvent::Note(note.clone())))?;
    let params = plan.start.params(&setup)?;
    let segments = plan.segments(&setup, context)?;
    let (tokens, steps) = (segments.iter().map(|s| s.tokens.len()).sum(), setup.learner.options.steps);
    let checkpoint = &plan.start.identity;
    watch(&EncodeEvent::Begun { checkpoint, tokens, segments: segments.len(), steps })?;
    let limits = [(&setup.limits.micro_batch_segments, segments.len())];
    let watch = RefCell::new(watch);
    let tell = |note: &str| drop(watch.borrow_mut()(&EncodeEvent::Note(note.to_owned())));
    let (seen, losses, phi) = within(limits, &tell, |[at_once]| {
        let learner = setup.learner.with_micro_batch(at_once);
        attempt(&learner, &params, &segments, &mut **watch.borrow_mut())
    })?;
    let reading = seen.reading(&segments, &setup.tokenizer)?;
    Ok(Read { reading, losses, phi, setup })
}

/// The inner loop with micro-batches of one size.
fn attempt(
    learner: &Learner,
    params: &MetaParams,
    segments: &[Sequence],
    watch: Watch<'_>,
) -> Result<(Seen, Losses, Vec<Tensor>)> {
    let context = learner.inner_loss(segments)?;
    let parts = context.micro_batches() as f64;
    let (mut seen, mut losses) = (Seen::new(segments), Losses::default());
    let mut look = |_: usize, phi: &[Tensor]| -> Result<()> {
        seen.add(learner.token_losses(params, &context, phi)?);
        Ok(())
    };
    let phi = learner.adapt_seen(params, &context, &mut look, &mut |event| match event {
        Adapting::MicroBatch { step, micro_batches } => {
            watch(&EncodeEvent::Progress { step, share: micro_batches as f64 / parts })
        }
        Adapting::Step { before, .. } => {
            losses.inner.push(before.loss);
            losses.cross_entropy.push(before.cross_entropy);
            Ok(())
        }
    })?;
    let after = learner.inner_loss_at(params, &context, &phi, &mut |_| Ok(()))?;
    losses.inner.push(after.loss);
    losses.cross_entropy.push(after.cross_entropy);
    Ok((seen, losses, phi))
}

/// What was seen of the tokens under each adapter.
struct Seen {
    /// Predicted tokens of each segment.
    lengths: Vec<usize>,
    /// Losses of each segment under each adapter.
    segments: Vec<Vec<SegmentLoss>>,
    first: Vec<TokenLoss>,
    last: Vec<TokenLoss>,
}

impl Seen {
    fn new(segments: &[Sequence]) -> Self {
        let lengths: Vec<usize> = segments.iter().map(Sequence::predicted).collect();
        Self { segments: vec![vec![]; lengths.len()], lengths, first: vec![], last: vec![] }
    }

    /// Takes in what all tokens lose under the next adapter.
    fn add(&mut self, tokens: Vec<TokenLoss>) {
        let mut rest = tokens.as_slice();
        for (length, losses) in self.lengths.iter().zip(&mut self.segments) {
            let (own, later) = rest.split_at(rest.len().min(*length));
            rest = later;
            losses.push(SegmentLoss {
                weighted: own.iter().map(|token| token.weight * token.cross_entropy).sum(),
                cross_entropy: own.iter().map(|token| token.cross_entropy).sum::<f64>()
                    / own.len().max(1) as f64,
            });
        }
        if self.first.is_empty() {
            self.first.clone_from(&tokens);
        }
        self.last = tokens;
    }

    /// The tokens with their texts.
    fn reading(self, segments: &[Sequence], tokenizer: &Tokenizer) -> Result<Reading> {
        let mut tokens = self.first.into_iter().zip(self.last);
        let of = |(segment, losses): (&Sequence, Vec<SegmentLoss>)| {
            let (prefix, texts) = texts(segment, tokenizer)?;
            let pair = |before, after| BeforeAfter { before, after };
            let tokens = texts.into_iter().zip(tokens.by_ref()).map(|(text, (first, last))| TokenReading {
                text,
                weight: pair(first.weight, last.weight),
                loss: pair(first.cross_entropy, last.cross_entropy),
            });
            Ok(SegmentReading { prefix, tokens: tokens.collect(), losses })
        };
        Ok(Reading { segments: segments.iter().zip(self.segments).map(of).collect::<Result<_>>()? })
    }
}

/// What a segment's prefix and each of its predicted tokens add to its text.
fn texts(segment: &Sequence, tokenizer: &Tokenizer) -> Result<(String, Vec<String>)> {
    let read = segment.tokens.len() - segment.predicted();
    let mut stream = tokenizer.stream();
    let pieces = segment.tokens.iter().map(|&id| Ok(stream.push(id)?.unwrap_or_default()));
    let mut pieces = pieces.collect::<Result<Vec<String>>>()?;
    if let Some(last) = pieces.last_mut() {
        *last += &stream.finish()?;
    }
    let predicted = pieces.split_off(read);
    Ok((pieces.concat(), predicted))
}

/// The largest difference between two adapters, as a share of the largest number of the first.
fn apart(stored: &[Tensor], again: &[Tensor]) -> Result<f64> {
    let largest = |x: &Tensor| -> Result<f64> {
        Ok(x.to_dtype(DType::F64)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>()?)
    };
    let (mut most, mut difference) = (0f64, 0f64);
    for (stored, again) in stored.iter().zip(again) {
        if stored.dims() != again.dims() {
            return Err(Error::Invalid("the adapter has another form than its recipe says".to_owned()));
        }
        most = most.max(largest(stored)?);
        difference = difference.max(largest(&(stored.to_dtype(DType::F64)? - again.to_dtype(DType::F64)?)?)?);
    }
    Ok(if most > 0.0 { difference / most } else { difference })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_to_their_segments_and_losses_are_kept_under_every_adapter() {
        let segments = [Sequence::new(vec![1, 2, 3], 1), Sequence::new(vec![1, 2, 3, 4], 3)];
        let mut seen = Seen::new(&segments);
        let token = |weight, cross_entropy| TokenLoss { weight, cross_entropy };
        seen.add(vec![token(1.0, 2.0), token(3.0, 4.0), token(0.5, 8.0)]);
        seen.add(vec![token(1.0, 1.0), token(1.0, 0.0), token(1.0, 2.0)]);
        let sums: Vec<Vec<(f64, f64)>> = seen
            .segments
            .iter()
            .map(|losses| losses.iter().map(|loss| (loss.weighted, loss.cross_entropy)).collect())
            .collect();
        assert_eq!(sums, [vec![(14.0, 3.0), (1.0, 0.5)], vec![(4.0, 8.0), (2.0, 2.0)]]);
        assert_eq!((seen.first[2].cross_entropy, seen.last[2].cross_entropy), (8.0, 2.0));
    }

    #[test]
    fn the_texts_of_all_tokens_are_the_text() {
        let folder = tempfile::tempdir().unwrap();
        crate::text::word_level::save(folder.path(), ["doc_0123456789: Mary went home. <eos>"]).unwrap();
        let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
        let (prefix, text) =
            (tokenizer.encode("doc_3:").unwrap(), tokenizer.encode(" Mary went home.").unwrap());
        let segment = Sequence::new([prefix.clone(), text.clone()].concat(), prefix.len());
        let (prefix, texts) = super::texts(&segment, &tokenizer).unwrap();
        assert_eq!(texts.len(), text.len());
        assert_eq!(prefix + &texts.concat(), tokenizer.decode(&segment.tokens).unwrap());
        assert_eq!(texts.last().unwrap(), ".");
    }

    #[test]
    fn adapters_are_apart_by_their_largest_difference() {
        let tensor = |numbers: &[f32]| vec![Tensor::new(numbers, &candle_core::Device::Cpu).unwrap()];
        assert_eq!(apart(&tensor(&[1.0, -4.0]), &tensor(&[1.0, -3.0])).unwrap(), 0.25);
        assert_eq!(apart(&tensor(&[0.0]), &tensor(&[0.0])).unwrap(), 0.0);
        assert!(apart(&tensor(&[1.0]), &tensor(&[1.0, 2.0])).is_err());
    }
}
