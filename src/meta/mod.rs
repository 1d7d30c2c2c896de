//! Inner loop, meta-gradient and outer loop (PERK, section 3).

mod batch;
mod head;
mod inner;
mod learner;
mod objective;
mod options;
mod support;

pub use batch::LabelledBatch;
pub use head::{Affine, Head};
pub use learner::{Adapted, Learner, MetaGradient, MetaParams};
pub use options::{InnerOptimizer, InnerOptions, Reduction};
pub use support::Support;
