//! `[data]`: the episodes.

use serde::{Deserialize, Serialize};

use crate::error::Fault;

/// The episodes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {}

impl DataConfig {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, _faults: &mut Vec<Fault>) {}
}
