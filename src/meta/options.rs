//! Settings of the inner loop.

use crate::optim::{AdamW, Momentum, Sgd};

/// Optimiser of the inner loop: one of the rules of [`optim`](crate::optim).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum InnerOptimizer {
    /// AdamW with its constants.
    AdamW(AdamW),
    /// Plain gradient descent.
    Sgd(Sgd),
    /// Gradient descent with momentum.
    Momentum(Momentum),
}

/// Evaluates an expression with the rule of an [`InnerOptimizer`], whose type differs from arm to arm.
macro_rules! with_rule {
    ($optimizer:expr, $rule:ident => $work:expr) => {
        match $optimizer {
            InnerOptimizer::AdamW($rule) => $work,
            InnerOptimizer::Sgd($rule) => $work,
            InnerOptimizer::Momentum($rule) => $work,
        }
    };
}
pub(super) use with_rule;

/// What the sum of the inner loss over tokens is divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reduction {
    /// All `B × (S − 1)` positions of the context, padding and masked ones included (the authors' code).
    Positions,
    /// The labelled tokens.
    LabelledTokens,
    /// A constant: the step then grows with the context.
    Constant(f64),
}

/// Settings of the inner loop.
#[derive(Debug, Clone, PartialEq)]
pub struct InnerOptions {
    /// Number of inner steps, N.
    pub steps: usize,
    /// How many of the last steps the meta-gradient goes through, T ≤ N.
    pub differentiated: usize,
    /// Optimiser.
    pub optimizer: InnerOptimizer,
    /// Decoupled weight decay λ.
    pub weight_decay: f64,
    /// Limit of the gradient's global norm; the meta-gradient goes through the clipping.
    pub clip_norm: Option<f64>,
    /// Whether a head weights the tokens.
    pub head: bool,
    /// Whether the weights of each segment are scaled to a mean of one over its tokens.
    pub normalize_weights: bool,
    /// Divisor of the loss.
    pub reduction: Reduction,
    /// Segments in one forward and backward pass; bounds the memory, does not change the result.
    pub micro_batch_segments: usize,
    /// Whether intermediate values are kept or computed again.
    pub activations: crate::model::Activations,
}
