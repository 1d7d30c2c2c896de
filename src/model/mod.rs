//! The frozen decoder of the Qwen2 and Llama families: weights, forward, backward, generation.

mod config_file;
mod decoder;
mod projection;
mod random;
mod weights;

pub use config_file::CONFIG_FILE;
pub use decoder::{Decoder, DecoderConfig, Family, Layer, Linear, RopeScaling};
pub use projection::Projection;
pub use weights::{INDEX_FILE, WEIGHTS_FILE};
