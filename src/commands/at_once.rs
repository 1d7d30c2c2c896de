//! How much is computed at once: episodes on a thread each or together in one pass, and segments of a micro-batch.

use std::thread::available_parallelism;

use candle_core::Device;

use crate::{
    config::{Activations, Config, MicroBatch, Objective, Task},
    device::card,
    meta::{Estimate, Workload, base_parameters},
    model::{DecoderConfig, lora::LoraLayout},
};

use super::setup::{inner_config, keeping};

/// Below this many frozen weights an episode's tensors are too small to keep all cores busy, and each thread computes
/// an episode of its own instead.
const SMALL_BASE: usize = 20_000_000;

/// Most segments of a micro-batch that are chosen for a GPU: the rows of so many keep it busy.
const MOST_SEGMENTS: usize = 64;

/// Share of a GPU's free memory that is planned with: an estimate leaves out what the libraries and the pieces between
/// tensors take.
const PLANNED_SHARE: f64 = 0.8;

/// Tokens that `doc_12:` adds to a segment, at most.
const PREFIX_TOKENS: usize = 8;

/// What is computed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AtOnce {
    /// Threads, each with episodes of its own.
    pub threads: usize,
    /// Episodes of a thread that one pass takes together.
    pub together: usize,
    /// Segments of each of them in a micro-batch.
    pub segments: usize,
}

/// The base of a run and where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    /// Its shape.
    pub shape: &'a DecoderConfig,
    /// The adapter's form on it.
    pub layout: &'a LoraLayout,
    /// Bytes that its weights are held in.
    pub base_bytes: u64,
    /// What is free on its GPU beside it, in bytes; `None` on the CPU.
    pub free_bytes: Option<u64>,
}

/// What is free on a GPU, in bytes; `None` for the CPU. One that does not say has nothing to give away.
pub(super) fn free_bytes(device: &Device) -> Option<u64> {
    (!device.is_cpu()).then(|| card(device).map_or(0, |(_, free, _)| free))
}

impl AtOnce {
    /// As `config` says, or as is best for the base and its device.
    pub fn new(config: &Config, on: Ground<'_>) -> Self {
        let threads = threads(config, on);
        let each = config.outer.episodes_per_step.div_ceil(threads).max(1);
        let one = Self { threads, together: 1, segments: 1 };
        let segments = match (config.outer.objective, config.inner.micro_batch_segments, on.free_bytes) {
            (_, MicroBatch::Segments(given), _) => given,
            // Without an inner loop there are no segments.
            (Objective::InContext, MicroBatch::Auto, _) | (_, MicroBatch::Auto, None) => 1,
            (Objective::Perk, MicroBatch::Auto, Some(free)) => {
                on.most(config, free, MOST_SEGMENTS, |segments| Self { segments, ..one })
            }
        };
        let one = Self { segments, ..one };
        let together = match (config.outer.objective, config.outer.episodes_together, on.free_bytes) {
            // Without an inner loop there is one adapter, and contexts are long.
            (Objective::InContext, _, _) | (Objective::Perk, 0, None) => 1,
            (Objective::Perk, 0, Some(free)) => {
                on.most(config, free, each, |together| Self { together, ..one })
            }
            (Objective::Perk, given, _) => given.min(each),
        };
        Self { together, ..one }
    }
}

/// Threads that share the episodes.
fn threads(config: &Config, on: Ground<'_>) -> usize {
    let most = config.outer.episodes_per_step.max(config.eval.episodes);
    let cores = || available_parallelism().map_or(1, usize::from);
    let threads = match config.outer.parallel_episodes {
        0 if base_parameters(on.shape) <= SMALL_BASE && on.free_bytes.is_none() => cores(),
        0 => 1,
        given => given,
    };
    threads.min(most)
}

impl Ground<'_> {
    /// The largest number from one to `most` with which a run's estimate stays within the memory that it may take.
    fn most(&self, config: &Config, free: u64, most: usize, with: impl Fn(usize) -> AtOnce) -> usize {
        let budget = match config.outer.memory_gb {
            Some(gigabytes) => (gigabytes * 1e9) as u64,
            None => self.base_bytes + (PLANNED_SHARE * free as f64) as u64,
        };
        let fits = |&number: &usize| {
            let work = workload(config, with(number), self.base_bytes);
            Estimate::new(self.shape, self.layout, &work).total_bytes() <= budget
        };
        (1..=most).take_while(fits).last().unwrap_or(1)
    }
}

/// What a run of `config` computes at once, on a base that is held in so many bytes.
pub(super) fn workload(config: &Config, at_once: AtOnce, base_bytes: u64) -> Workload {
    let (_, compute) = keeping(config.model.storage);
    let inner = inner_config(config);
    let (micro_batch_segments, segment_tokens) = batch(config, at_once.segments);
    Workload {
        base_bytes,
        compute_bytes: compute.size_in_bytes(),
        inner_steps: inner.steps,
        learned_lr: inner.learned_lr,
        head_hidden: inner.head.then_some(inner.head_hidden),
        micro_batch_segments,
        segment_tokens,
        context_tokens: config.data.context_tokens,
        keep_activations: config.inner.activations == Activations::Keep,
        episodes: at_once.threads * at_once.together,
    }
}

/// Sequences of an episode computed at once, and their tokens.
fn batch(config: &Config, segments: usize) -> (usize, usize) {
    match config.outer.objective {
        Objective::Perk => (segments_at_once(config, segments), config.data.segment_tokens + PREFIX_TOKENS),
        // One prompt with the whole context, and room for question and answer.
        Objective::InContext => (1, config.data.context_tokens + config.data.segment_tokens),
    }
}

/// Segments of one micro-batch: no more than a context has, as far as that is known.
fn segments_at_once(config: &Config, wanted: usize) -> usize {
    match config.data.task {
        Task::Files => wanted,
        // Sentences leave segments partly empty.
        _ => wanted.min(2 * config.data.context_tokens.div_ceil(config.data.segment_tokens)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::setup::lora_layout;

    /// On a CPU, or on a GPU with so many bytes free.
    fn at_once(set: impl Fn(&mut Config), free_bytes: Option<u64>) -> AtOnce {
        let mut config = Config::default();
        set(&mut config);
        let shape = DecoderConfig::qwen2_5_0_5b();
        let layout = lora_layout(&config.lora, &shape).unwrap();
        let base_bytes = 4 * base_parameters(&shape) as u64;
        AtOnce::new(&config, Ground { shape: &shape, layout: &layout, base_bytes, free_bytes })
    }

    /// A context of so many segments of 256 tokens.
    fn context_of(config: &mut Config, segments: usize) {
        (config.data.segment_tokens, config.data.context_tokens) = (256, segments * 256 / 2);
    }

    #[test]
    fn a_gpu_takes_as_many_segments_as_its_free_memory_holds_and_then_episodes() {
        let at_once = |free_gb: u64| at_once(|config| context_of(config, 32), Some(free_gb * 1_000_000_000));
        assert_eq!(at_once(0), AtOnce { threads: 1, together: 1, segments: 1 });
        let [some, more] = [at_once(8), at_once(16)];
        assert!(1 < some.segments && some.segments < more.segments, "{some:?}, {more:?}");
        assert!(more.segments < MOST_SEGMENTS && more.together == 1, "{more:?}");
        let episodes_per_step = Config::default().outer.episodes_per_step;
        assert_eq!(
            at_once(10_000),
            AtOnce { threads: 1, together: episodes_per_step, segments: MOST_SEGMENTS }
        );
    }

    #[test]
    fn a_limit_of_memory_counts_instead_of_what_is_free() {
        let limited = |memory_gb, free| {
            let set = |config: &mut Config| {
                context_of(config, 8);
                config.outer.memory_gb = Some(memory_gb);
            };
            at_once(set, Some(free))
        };
        assert_eq!(limited(0.1, u64::MAX), AtOnce { threads: 1, together: 1, segments: 1 });
        let [some, more] = [limited(20.0, 0), limited(40.0, 0)];
        assert_eq!([some.segments, more.segments], [MOST_SEGMENTS; 2]);
        assert!(1 <= some.together && some.together < more.together, "{some:?}, {more:?}");
    }

    #[test]
    fn what_is_given_is_taken_on_every_device() {
        for free in [None, Some(0), Some(1 << 40)] {
            let set = |config: &mut Config| {
                config.inner.micro_batch_segments = MicroBatch::Segments(5);
                config.outer.episodes_together = 3;
            };
            assert_eq!(at_once(set, free), AtOnce { threads: 1, together: 3, segments: 5 });
        }
    }

    #[test]
    fn a_cpu_takes_one_unless_told_and_no_more_than_a_thread_has() {
        let one = AtOnce { threads: 1, together: 1, segments: 1 };
        assert_eq!(at_once(|_| (), None), one);
        let told = |threads, together| {
            at_once(
                |config| {
                    config.outer.episodes_per_step = 8;
                    config.outer.parallel_episodes = threads;
                    config.outer.episodes_together = together;
                },
                None,
            )
        };
        assert_eq!(told(1, 3), AtOnce { together: 3, ..one });
        assert_eq!(told(2, 100), AtOnce { threads: 2, together: 4, ..one });
        let in_context = |config: &mut Config| config.outer.objective = Objective::InContext;
        assert_eq!(at_once(in_context, Some(1 << 40)), one);
    }
}
