//! The start of an inner loop, as it is named on the command line.

use std::path::Path;

use perk::{Result, commands::InnerStart, config::Config};

use super::args::{RUNS, Start};

/// The checkpoint, or the configuration that was never meta-trained; `None` where neither is named.
pub fn named(
    checkpoint: Option<&Path>,
    untrained: Option<&Path>,
    overrides: &[String],
) -> Result<Option<InnerStart>> {
    match (checkpoint, untrained) {
        (Some(path), _) => InnerStart::open(path).map(Some),
        (None, Some(config)) => InnerStart::untrained(Config::load(config, overrides)?).map(Some),
        (None, None) => Ok(None),
    }
}

impl Start {
    /// What is named, or else the newest run.
    pub fn open(&self) -> Result<InnerStart> {
        let named = named(self.checkpoint.as_deref(), self.untrained.as_deref(), &self.overrides)?;
        named.map_or_else(|| InnerStart::open_newest(Path::new(RUNS)), Ok)
    }
}
