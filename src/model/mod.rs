//! The frozen decoder of the Qwen2 and Llama families: weights, forward, backward, generation.

mod decoder;
mod projection;

pub use decoder::{Decoder, DecoderConfig, Family, Layer, Linear, RopeScaling};
pub use projection::Projection;
