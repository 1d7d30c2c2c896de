//! The frozen decoder of the Qwen2 and Llama families: weights, forward, backward, generation.

mod adapted;
mod attention;
mod backbone;
mod batch;
mod block;
mod decoder;
mod projection;

pub use adapted::{LowRank, LowRankGrad};
pub use backbone::{Activations, Backbone, Trace};
pub use batch::TokenBatch;
pub use block::{LayerAdapters, LayerGrads};
pub use decoder::{Decoder, DecoderConfig, Family, Layer, Linear, RopeScaling};
pub use projection::Projection;
