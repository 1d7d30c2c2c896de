//! `result.json`: what a run achieved and what it cost.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::write_json,
    error::{Error, Result},
    files::{parse_json, read_text},
};

use super::Evaluation;

/// What a run achieved and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunResult {
    /// Held-out scores by method and length.
    pub evaluation: Evaluation,
    /// Outer steps.
    pub steps: usize,
    /// Numbers that were trained.
    pub trainable_parameters: usize,
    /// Seconds spent on outer steps, over all parts of a run that was continued.
    pub train_secs: f64,
    /// Seconds spent on held-out scores.
    pub eval_secs: f64,
    /// The most memory held, in bytes.
    pub peak_bytes: Option<u64>,
    /// The resolved configuration.
    pub config: PathBuf,
    /// The trained adapter, inner rates and head.
    pub checkpoint: PathBuf,
}

impl RunResult {
    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// A file that is missing or something else.
    pub fn read(path: &Path) -> Result<Self> {
        parse_json(path, &read_text(path)?)
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let value = serde_json::to_value(self)
            .map_err(|fault| Error::file(path, format!("the result cannot be written: {fault}")))?;
        write_json(path, &value)
    }
}
