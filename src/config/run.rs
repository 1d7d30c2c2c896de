//! `[run]`: where results go, seeds and devices.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Checker;
use crate::device::DeviceName;
use crate::error::Fault;

/// The run's folder, seed and device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Run folder. Where it is taken, a number is added to the name.
    pub dir: PathBuf,
    /// Seed of everything random.
    pub seed: u64,
    /// Outer steps between checkpoints; 0 saves only at the end.
    pub checkpoint_every: usize,
    /// `auto` (the first GPU if it works, else the CPU), `cpu`, `cuda`, `cuda:1`.
    #[schemars(with = "String")]
    pub device: DeviceName,
    /// Whether event files for TensorBoard are written beside `metrics.jsonl`.
    #[serde(default)]
    pub tensorboard: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("runs/run"),
            seed: 0,
            checkpoint_every: 50,
            device: DeviceName::Auto,
            tensorboard: false,
        }
    }
}

impl RunConfig {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("run", faults);
        check.require(!self.dir.as_os_str().is_empty(), "dir", "must name a folder");
        check.range("checkpoint_every", self.checkpoint_every, 0, Checker::MOST);
        // TOML's whole numbers end there, and the resolved configuration must be readable again.
        check.require(self.seed <= i64::MAX as u64, "seed", format!("must be {} or less", i64::MAX));
    }
}
