//! Gradients of the outer loss with respect to everything that is meta-learned.

use candle_core::Tensor;

use super::MetaTree;

/// Gradients of the outer losses of some episodes with respect to [`MetaParams`](super::MetaParams), computed together.
#[derive(Debug, Clone)]
pub struct MetaGradients {
    /// What each episode is of them.
    pub episodes: Vec<EpisodeGradient>,
    /// The sum of their gradients, as in [`MetaGradient`].
    pub tree: MetaTree<Tensor>,
}

/// One episode of a meta-gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct EpisodeGradient {
    /// The inner loss before each step.
    pub inner_losses: Vec<f64>,
    /// The answer's loss under φ_N.
    pub outer_loss: f64,
    /// Norm of the gradient with respect to φ₀.
    pub norm: f64,
}

/// Gradient of the outer loss with respect to [`MetaParams`](super::MetaParams).
#[derive(Debug, Clone)]
pub struct MetaGradient {
    /// The inner loss before each step.
    pub inner_losses: Vec<f64>,
    /// The answer's loss under φ_N.
    pub outer_loss: f64,
    /// ∂L_out/∂φ₀; ∂L_out/∂α, in f64 on the CPU; ∂L_out/∂w of the head, zero if no step is differentiated.
    pub tree: MetaTree<Tensor>,
}
