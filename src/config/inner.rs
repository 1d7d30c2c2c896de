//! `[inner]`: how a context is written into the adapter.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Checker, MicroBatch};
use crate::error::Fault;

/// The inner optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// AdamW with decoupled weight decay.
    Adamw,
    /// Gradient descent, with `inner.momentum` if that is not 0.
    Sgd,
}

/// What the inner loss's sum is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// All positions, padding and masked ones included, as the authors do.
    Positions,
    /// The labelled positions.
    LabelledTokens,
    /// `inner.divisor`.
    Constant,
}

/// What a learned inner learning rate is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LrParameterization {
    /// Its logarithm: it stays positive, and an outer step changes it by a factor.
    Log,
    /// Itself, as in the authors' code.
    Linear,
}

/// Whether the forward pass keeps each layer's intermediate values for the backward pass, or only its
/// input, and computes the rest again: a third more arithmetic for far less memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activations {
    /// Keep them.
    Keep,
    /// Keep the input of each layer and recompute (Chen et al. 2016).
    Recompute,
}

/// The inner loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InnerConfig {
    /// Gradient steps N.
    pub steps: usize,
    /// Last steps T that the meta-gradient goes through in full; 0 is first order.
    pub differentiated: usize,
    /// Optimiser.
    pub optimizer: Optimizer,
    /// Decay of the velocity of gradient descent; 0 is plain descent.
    #[serde(default)]
    pub momentum: f64,
    /// Decay of AdamW's first moment.
    pub beta1: f64,
    /// Decay of AdamW's second moment.
    pub beta2: f64,
    /// Added to AdamW's root.
    pub eps: f64,
    /// Added under AdamW's root, which keeps its derivative finite.
    pub eps_root: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of the inner gradient; 0 does not clip.
    pub clip_norm: f64,
    /// Learning rate at the start of meta-training, for every tensor and step.
    pub lr: f64,
    /// Whether every tensor and step learns its own rate.
    pub learned_lr: bool,
    /// How learned rates are stored.
    pub lr_parameterization: LrParameterization,
    /// Whether a learned head weighs the tokens of the inner loss.
    pub head: bool,
    /// Width of the head's hidden layer.
    pub head_hidden: usize,
    /// Whether a segment's weights are scaled to a mean of 1.
    pub normalize_weights: bool,
    /// What the inner loss's sum is divided by.
    pub reduction: Reduction,
    /// Divisor for `reduction = "constant"`.
    pub divisor: f64,
    /// Segments computed at once: memory grows with it; results depend on it in their last bits alone, since sums are
    /// taken in another order. A device that runs out of memory takes half as many, and goes on.
    pub micro_batch_segments: MicroBatch,
    /// Kept or recomputed activations.
    pub activations: Activations,
}

impl Default for InnerConfig {
    fn default() -> Self {
        Self {
            steps: 4,
            differentiated: 2,
            optimizer: Optimizer::Adamw,
            momentum: 0.0,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            eps_root: 0.0,
            weight_decay: 0.01,
            clip_norm: 0.0,
            lr: 5e-5,
            learned_lr: true,
            lr_parameterization: LrParameterization::Linear,
            head: true,
            head_hidden: 128,
            normalize_weights: false,
            reduction: Reduction::Positions,
            divisor: 64.0,
            micro_batch_segments: MicroBatch::Auto,
            activations: Activations::Keep,
        }
    }
}

impl InnerConfig {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("inner", faults);
        check.range("steps", self.steps, 1, 1000);
        let most = format!("is {}, more than inner.steps = {}", self.differentiated, self.steps);
        check.require(self.differentiated <= self.steps, "differentiated", most);
        check.decay("momentum", self.momentum);
        let unused = self.momentum != 0.0 && self.optimizer != Optimizer::Sgd;
        check.require(!unused, "momentum", "needs inner.optimizer = \"sgd\"; AdamW has inner.beta1");
        check.decay("beta1", self.beta1);
        check.decay("beta2", self.beta2);
        check.not_negative("eps", self.eps);
        check.not_negative("eps_root", self.eps_root);
        check.require(self.eps > 0.0 || self.eps_root > 0.0, "eps", "eps and eps_root cannot both be 0");
        check.not_negative("weight_decay", self.weight_decay);
        check.not_negative("clip_norm", self.clip_norm);
        check.positive("lr", self.lr);
        check.range("head_hidden", self.head_hidden, 1, 1 << 16);
        check.positive("divisor", self.divisor);
        if let MicroBatch::Segments(segments) = self.micro_batch_segments {
            check.count("micro_batch_segments", segments);
        }
        let pointless = self.normalize_weights && !self.head;
        check.require(!pointless, "normalize_weights", "needs inner.head = true");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn momentum_belongs_to_gradient_descent_alone() {
        let keys = |optimizer, momentum| {
            let mut faults = Vec::new();
            InnerConfig { optimizer, momentum, ..InnerConfig::default() }.validate(&mut faults);
            faults.into_iter().map(|fault| fault.key).collect::<Vec<_>>()
        };
        assert!(keys(Optimizer::Sgd, 0.9).is_empty() && keys(Optimizer::Adamw, 0.0).is_empty());
        assert_eq!(keys(Optimizer::Adamw, 0.9), ["inner.momentum"]);
        assert_eq!(keys(Optimizer::Sgd, 1.5), ["inner.momentum"]);
    }
}
