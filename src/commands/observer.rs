//! How a command tells what it is doing: the library never prints.

use std::path::Path;

use crate::report::{EvalRecord, StepRecord};

/// What a command tells while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// A run starts or continues in `dir`, after `step` of `steps` outer steps.
    Started {
        /// Run folder.
        dir: &'a Path,
        /// Outer steps done before.
        step: usize,
        /// Outer steps of the whole run.
        steps: usize,
        /// Numbers that are trained.
        parameters: usize,
    },
    /// An outer step is done.
    Stepped(&'a StepRecord),
    /// Held-out episodes are being scored.
    Scoring {
        /// Method and length.
        what: &'a str,
        /// Episodes done.
        done: usize,
        /// Episodes to do.
        total: usize,
    },
    /// The held-out score during training.
    Scored(&'a EvalRecord),
    /// A checkpoint was written.
    Saved(&'a Path),
    /// Anything else a person may want to know.
    Note(&'a str),
}

/// The command line's side of a running command.
pub trait Observer: Sync {
    /// Takes notice of an event; called from several threads during scoring.
    fn notice(&self, event: &Event<'_>);

    /// Whether the command should stop at the next safe place.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Watches nothing and never stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn notice(&self, _event: &Event<'_>) {}
}
