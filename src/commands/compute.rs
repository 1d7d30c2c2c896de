//! Where and how exactly to compute, whatever a record says.

use crate::config::{MatmulPrecision, ModelConfig, RunConfig};
use crate::device::DeviceName;

/// A device, and how exactly products with frozen weights are taken on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compute {
    /// Where to compute.
    pub device: DeviceName,
    /// How products are taken, if not as in training.
    pub matmul_precision: Option<MatmulPrecision>,
}

impl Compute {
    /// Sets both in a configuration.
    pub(super) fn apply(self, model: &mut ModelConfig, run: &mut RunConfig) {
        run.device = self.device;
        model.matmul_precision = self.matmul_precision.unwrap_or(model.matmul_precision);
    }
}
