//! Learning rate over the course of training.

pub use crate::config::Schedule;

impl Schedule {
    /// Factor of the peak learning rate at `step` (from 0) of `steps`: rises in a line over `warmup` steps,
    /// then falls to `floor` at the last step.
    pub fn factor(self, step: usize, steps: usize, warmup: usize, floor: f64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let rest = steps.saturating_sub(warmup + 1).max(1) as f64;
        let progress = ((step - warmup) as f64 / rest).min(1.0);
        let fall = match self {
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Self::Linear => 1.0 - progress,
            Self::Constant => return 1.0,
        };
        floor + (1.0 - floor) * fall
    }
}
