//! Inner loop, meta-gradient and outer loop (PERK, section 3).

#![deny(clippy::disallowed_methods)]

mod accumulate;
mod batch;
mod batch_loss;
mod estimate;
mod head;
mod inner;
mod learner;
mod limit;
mod meta_gradient;
mod micro_batches;
mod options;
mod outer;
mod over_ranks;
mod params;
mod sequence_loss;
mod sweep;
mod trajectory;
mod tree;
mod workers;

pub use accumulate::GradientMean;
pub use batch::LabelledBatch;
pub use estimate::{Estimate, Workload, base_parameters, trainable_parameters};
pub use head::{Affine, Head};
pub use learner::{Adapted, Adapting, Learner};
pub use limit::{Limit, Limits, Tell, within};
pub use meta_gradient::{EpisodeGradient, MetaGradient, MetaGradients};
pub use options::{InnerOptimizer, InnerOptions, Reduction};
pub use outer::{LrParameterization, OuterOptions, OuterState};
pub use sequence_loss::{LossValue, SequenceLoss, TokenLoss};
pub use tree::{Branch, MetaParams, MetaTree};
pub use workers::Workers;

#[cfg(test)]
mod tests;
