//! Pure optimiser functions: (gradients, state, parameters) to (updates, state).
//!
//! They fail only as their tensor operations do: shapes that do not fit, or a device out of memory.

#![deny(clippy::disallowed_methods)]

mod adamw;
mod clip;
mod schedule;
mod sgd;

pub use adamw::{AdamW, State, StepSize, StepVjp};
pub use clip::{clip, clip_vjp, global_norm};
pub use schedule::Schedule;
pub use sgd::{sgd_step, sgd_step_vjp};

#[cfg(test)]
mod tests;
