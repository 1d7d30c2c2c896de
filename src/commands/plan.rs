//! What a run would be: nothing is trained, the weights are not read.

use crate::{
    checkpoint::Batching,
    config::Config,
    error::Result,
    meta::{Estimate, base_parameters, trainable_parameters},
    model::HubSettings,
};

use super::at_once::{AtOnce, Ground, free_bytes, workload};
use super::setup::{keeping, locate_base, lora_layout};

/// A run before it starts.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The resolved configuration, as TOML.
    pub config: String,
    /// Frozen numbers.
    pub base_parameters: usize,
    /// InnerStart numbers: of the adapter, of the inner learning rates, of the head.
    pub trainable: [usize; 3],
    /// What is computed at once.
    pub batching: Batching,
    /// Memory.
    pub estimate: Estimate,
}

/// Counts what `config` would train and need.
///
/// # Errors
/// A base whose shape cannot be found or read.
pub fn plan(config: &Config, hub: &HubSettings) -> Result<Plan> {
    let files = locate_base(config, hub)?.files;
    let shape = files.shape()?;
    let layout = lora_layout(&config.lora, &shape)?;
    let device = config.run.device.open()?.device;
    let (storage, compute) = keeping(config.model.storage);
    let base_bytes = files.held_bytes(storage, compute, device.is_cpu())?;
    // The base is still to come.
    let free_bytes = free_bytes(&device).map(|free| free.saturating_sub(base_bytes));
    let at_once = AtOnce::new(config, Ground { shape: &shape, layout: &layout, base_bytes, free_bytes });
    let work = workload(config, at_once, base_bytes);
    Ok(Plan {
        config: config.to_toml()?,
        base_parameters: base_parameters(&shape),
        trainable: trainable_parameters(&shape, &layout, &work),
        batching: Batching { episodes_together: at_once.together, micro_batch_segments: at_once.segments },
        estimate: Estimate::new(&shape, &layout, &work),
    })
}
