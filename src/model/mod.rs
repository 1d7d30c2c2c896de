//! The frozen decoder of the Qwen2 and Llama families: weights, forward, backward, generation.

mod adapted;
mod attention;
mod backbone;
mod batch;
mod block;
mod config_file;
mod decoder;
mod projection;
mod random;
mod weights;

pub use adapted::{LowRank, LowRankGrad};
pub use backbone::{Activations, Backbone, Trace};
pub use batch::TokenBatch;
pub use block::{LayerAdapters, LayerGrads};
pub use config_file::CONFIG_FILE;
pub use decoder::{Decoder, DecoderConfig, Family, Layer, Linear, RopeScaling};
pub use projection::Projection;
pub use weights::{INDEX_FILE, WEIGHTS_FILE};
