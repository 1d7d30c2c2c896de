//! `[run]`: where results go, seeds and devices.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Checker;
use crate::error::Fault;

/// The run's folder, seed and device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Run folder. Where it is taken, a number is added to the name.
    pub dir: PathBuf,
    /// Seed of everything random.
    pub seed: u64,
    /// Outer steps between checkpoints; 0 saves only at the end.
    pub checkpoint_every: usize,
    /// `cpu`, `cuda`, `cuda:1`, `metal`.
    pub device: String,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from("runs/run"), seed: 0, checkpoint_every: 50, device: "cpu".to_owned() }
    }
}

impl RunConfig {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("run", faults);
        check.require(!self.dir.as_os_str().is_empty(), "dir", "must name a folder");
        let (kind, index) = self.device.split_once(':').unwrap_or((&self.device, "0"));
        let known = ["cpu", "cuda", "metal"].contains(&kind) && index.parse::<usize>().is_ok();
        check.require(known, "device", format!("`{}` is none of cpu, cuda, cuda:N, metal", self.device));
        // TOML's whole numbers end there, and the resolved configuration must be readable again.
        check.require(self.seed <= i64::MAX as u64, "seed", format!("must be {} or less", i64::MAX));
    }
}
