//! Inner loop, meta-gradient and outer loop (PERK, section 3).

#![deny(clippy::disallowed_methods)]

mod accumulate;
mod batch;
mod estimate;
mod head;
mod inner;
mod learner;
mod objective;
mod options;
mod outer;
mod params;
mod support;
mod workers;

pub use accumulate::{GradientMean, gradient_norm};
pub use batch::LabelledBatch;
pub use estimate::{Estimate, Workload, base_parameters, trainable_parameters};
pub use head::{Affine, Head};
pub use learner::{Adapted, Adapting, Learner, MetaGradient, MetaParams};
pub use options::{InnerOptimizer, InnerOptions, Reduction};
pub use outer::{LrParameterization, OuterOptions, OuterState};
pub use support::{Support, SupportLoss};
pub use workers::Workers;

#[cfg(test)]
mod tests;
