//! How many episodes are computed at once: a thread each, or together in one pass.

use std::thread::available_parallelism;

use crate::{
    config::{Activations, Config, Objective, Task},
    meta::{Workload, base_parameters},
    model::{DecoderConfig, lora::LoraLayout},
};

use super::setup::{inner_config, keeping};

/// Below this many frozen weights an episode's tensors are too small to keep all cores busy, and each thread computes
/// an episode of its own instead.
const SMALL_BASE: usize = 20_000_000;

/// Tokens that `doc_12:` adds to a segment, at most.
const PREFIX_TOKENS: usize = 8;

/// Episodes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AtOnce {
    /// Threads, each with episodes of its own.
    pub threads: usize,
    /// Episodes of a thread that one pass takes together.
    pub together: usize,
}

impl AtOnce {
    /// As `config` says, or as is best for a base of this shape, which is held in so many bytes, and its device.
    pub fn new(
        config: &Config,
        shape: &DecoderConfig,
        layout: &LoraLayout,
        base_bytes: u64,
        on_cpu: bool,
    ) -> Self {
        let most = config.outer.episodes_per_step.max(config.eval.episodes);
        let cores = || available_parallelism().map_or(1, usize::from);
        let threads = match config.outer.parallel_episodes {
            0 if base_parameters(shape) <= SMALL_BASE && on_cpu => cores(),
            0 => 1,
            given => given,
        };
        let threads = threads.min(most);
        let each = config.outer.episodes_per_step.div_ceil(threads).max(1);
        let together = match (config.outer.objective, config.outer.episodes_together) {
            // Without an inner loop there is one adapter, and contexts are long.
            (Objective::InContext, _) => 1,
            (Objective::Perk, 0) if on_cpu => 1,
            (Objective::Perk, 0) => {
                let one = Self { threads, together: 1 };
                let budget = (config.outer.memory_gb * 1e9) as u64;
                workload(config, one, base_bytes).most_together(shape, layout, budget, each)
            }
            (Objective::Perk, given) => given.min(each),
        };
        Self { threads, together }
    }
}

/// What a run of `config` computes at once, on a base that is held in so many bytes.
pub(super) fn workload(config: &Config, at_once: AtOnce, base_bytes: u64) -> Workload {
    let (_, compute) = keeping(config.model.storage);
    let inner = inner_config(config);
    let (micro_batch_segments, segment_tokens) = batch(config);
    Workload {
        base_bytes,
        compute_bytes: compute.size_in_bytes(),
        inner_steps: inner.steps,
        learned_lr: inner.learned_lr,
        head_hidden: inner.head.then_some(inner.head_hidden),
        micro_batch_segments,
        segment_tokens,
        keep_activations: config.inner.activations == Activations::Keep,
        episodes: at_once.threads * at_once.together,
    }
}

/// Sequences of an episode computed at once, and their tokens.
fn batch(config: &Config) -> (usize, usize) {
    match config.outer.objective {
        Objective::Perk => (segments_at_once(config), config.data.segment_tokens + PREFIX_TOKENS),
        // One prompt with the whole context, and room for question and answer.
        Objective::InContext => (1, config.data.context_tokens + config.data.segment_tokens),
    }
}

/// Segments of one micro-batch: no more than a context has, as far as that is known.
fn segments_at_once(config: &Config) -> usize {
    let wanted = config.inner.micro_batch_segments;
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

    fn at_once(set: impl Fn(&mut Config), on_cpu: bool) -> AtOnce {
        let mut config = Config::default();
        set(&mut config);
        let shape = DecoderConfig::qwen2_5_0_5b();
        let layout = lora_layout(&config.lora, &shape).unwrap();
        AtOnce::new(&config, &shape, &layout, 4 * base_parameters(&shape) as u64, on_cpu)
    }

    #[test]
    fn a_gpu_takes_as_many_episodes_together_as_the_memory_allows() {
        let together = |memory_gb| at_once(|config| config.outer.memory_gb = memory_gb, false).together;
        assert_eq!(together(0.1), 1);
        let [some, more] = [together(8.0), together(16.0)];
        assert!(1 <= some && some < more, "{some}, {more}");
        assert_eq!(together(1e4), Config::default().outer.episodes_per_step);
    }

    #[test]
    fn a_cpu_takes_one_unless_told_and_no_more_than_a_thread_has() {
        assert_eq!(at_once(|_| (), true), AtOnce { threads: 1, together: 1 });
        let told = |threads, together| {
            at_once(
                |config| {
                    config.outer.episodes_per_step = 8;
                    config.outer.parallel_episodes = threads;
                    config.outer.episodes_together = together;
                },
                true,
            )
        };
        assert_eq!(told(1, 3), AtOnce { threads: 1, together: 3 });
        assert_eq!(told(2, 100), AtOnce { threads: 2, together: 4 });
        assert_eq!(at_once(|config| config.outer.objective = Objective::InContext, false).together, 1);
    }
}
