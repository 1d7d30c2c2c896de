//! What rank 0 tells the other ranks to work on.

use serde::{Deserialize, Serialize};

use crate::{store::CheckpointIdentity, text::Sequence};

/// A piece of work that all ranks share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Work {
    /// Outer steps; the state comes behind it.
    MetaTrain {
        /// The resolved configuration, as TOML.
        config: String,
        /// Outer steps done.
        step: usize,
    },
    /// The inner loop on one context.
    Encode {
        /// The resolved configuration, as TOML.
        config: String,
        /// The start of the inner loop, in a folder that all ranks can read.
        start: CheckpointIdentity,
        /// The context.
        segments: Vec<Sequence>,
        /// Segments of a micro-batch.
        at_once: usize,
    },
    /// None any more.
    End,
}
