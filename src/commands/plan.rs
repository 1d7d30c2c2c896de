//! What a run would be: nothing is trained, the weights are not read.

use crate::{
    config::{Activations, Config, Objective, Task},
    error::Result,
    meta::{Estimate, Workload, base_parameters, trainable_parameters},
    model::{DecoderConfig, HubSettings},
};

use super::setup::{base_folder, dtypes, inner_config, lora_layout, parallel_episodes};

/// Tokens that `doc_12:` adds to a segment, at most.
const PREFIX_TOKENS: usize = 8;

/// A run before it starts.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The resolved configuration, as TOML.
    pub config: String,
    /// Frozen numbers.
    pub base_parameters: usize,
    /// InnerStart numbers: of the adapter, of the inner learning rates, of the head.
    pub trainable: [usize; 3],
    /// Memory.
    pub estimate: Estimate,
}

/// Sequences computed at once, and their tokens.
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

/// Counts what `config` would train and need.
///
/// # Errors
/// A base whose shape cannot be found or read.
pub fn plan(config: &Config, hub: &HubSettings) -> Result<Plan> {
    let shape = DecoderConfig::from_folder(&base_folder(config, hub)?)?;
    let layout = lora_layout(&config.lora, &shape)?;
    let (storage, compute) = dtypes(config.model.storage);
    let inner = inner_config(config);
    let (micro_batch_segments, segment_tokens) = batch(config);
    let work = Workload {
        storage_bytes: storage.size_in_bytes(),
        compute_bytes: compute.size_in_bytes(),
        inner_steps: inner.steps,
        learned_lr: inner.learned_lr,
        head_hidden: inner.head.then_some(inner.head_hidden),
        micro_batch_segments,
        segment_tokens,
        keep_activations: config.inner.activations == Activations::Keep,
        parallel_episodes: parallel_episodes(config, &shape, config.run.device.open()?.device.is_cpu()),
    };
    Ok(Plan {
        config: config.to_toml()?,
        base_parameters: base_parameters(&shape),
        trainable: trainable_parameters(&shape, &layout, &work),
        estimate: Estimate::new(&shape, &layout, &work),
    })
}
