//! `[model]`: the frozen base.

use serde::{Deserialize, Serialize};

use super::Checker;
use crate::error::Fault;

/// Number type that the frozen weights are kept in; adapters and gradients are f32 (f64 with `f64`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// Single precision.
    F32,
    /// Brain float: half the memory of f32.
    Bf16,
    /// Half precision.
    F16,
    /// Double precision, for checks.
    F64,
}

/// The frozen base and its tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A folder, or a hub id `owner/name`.
    pub base: String,
    /// Branch, tag or commit of a hub id; `main` if not given.
    pub revision: Option<String>,
    /// Use only what the hub's cache holds.
    pub offline: bool,
    /// Number type of the frozen weights.
    pub storage: Storage,
    /// Text of the end token; by default the one that the base was trained to stop on.
    pub end_token: Option<String>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self { base: String::new(), revision: None, offline: false, storage: Storage::F32, end_token: None }
    }
}

impl ModelConfig {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("model", faults);
        check.require(!self.base.is_empty(), "base", "is needed: a model folder, or a hub id owner/name");
    }
}
