//! Update rules: pure functions of gradients, parameters and a state that each rule owns, with their derivatives.
//!
//! They fail only as their tensor operations do: shapes that do not fit, or a device out of memory. A new rule is
//! a file with a type that implements [`Rule`].

#![deny(clippy::disallowed_methods)]

mod adamw;
mod clip;
mod momentum;
mod rule;
mod schedule;
mod sgd;

pub use adamw::{AdamW, Moments};
pub use clip::{clip, clip_factor, clip_vjp, global_norm, norms};
pub use momentum::Momentum;
pub use rule::{Iterate, Rule, StepSize, StepVjp, StepsVjp};
pub use schedule::Schedule;
pub use sgd::Sgd;

#[cfg(test)]
pub(crate) use adamw::sources;

#[cfg(test)]
mod tests;
