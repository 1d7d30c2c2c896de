//! The kernels of the decoder, its losses and its optimisers, each with the product of its transposed
//! Jacobian with a cotangent.

mod activation;
mod attention;
mod cross_entropy;
mod norm;
mod reduce;
mod rope;
mod rows;

#[cfg(test)]
pub(in crate::autodiff) use activation::sources;
pub use activation::{gelu, gelu_vjp, product, quotient, softplus, softplus_vjp, swiglu, swiglu_vjp};
pub use attention::{AttentionMask, causal_softmax, softmax_vjp};
pub use cross_entropy::{Targets, cross_entropy};
pub use norm::{Gain, rms_norm, rms_norm_vjp};
pub use rope::{HeadsOf, RopeTable, merge_heads, split_heads};
pub use rows::{RowIndex, gather_rows, scatter_rows};

#[cfg(test)]
mod tests;
