//! What a run would be: nothing is trained, the weights are not read.

use crate::{
    config::Config,
    error::Result,
    meta::{Estimate, base_parameters, trainable_parameters},
    model::HubSettings,
};

use super::at_once::{AtOnce, workload};
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
    let on_cpu = config.run.device.open()?.device.is_cpu();
    let (storage, compute) = keeping(config.model.storage);
    let base_bytes = files.held_bytes(storage, compute, on_cpu)?;
    let work = workload(config, AtOnce::new(config, &shape, &layout, base_bytes, on_cpu), base_bytes);
    Ok(Plan {
        config: config.to_toml()?,
        base_parameters: base_parameters(&shape),
        trainable: trainable_parameters(&shape, &layout, &work),
        estimate: Estimate::new(&shape, &layout, &work),
    })
}
