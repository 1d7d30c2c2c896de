//! The frozen decoder of the Qwen2, Llama and Qwen3 families: weights, forward, backward, generation.

mod adapted;
mod attention;
mod backbone;
mod batch;
mod block;
mod config_file;
mod decoder;
mod family;
mod generate;
pub(crate) mod hub;
pub(crate) mod hub_cache;
pub mod lora;
mod numbers;
mod projection;
mod random;
mod rotary;
mod sampling;
mod save;
pub(crate) mod source;
pub mod tape;
mod weight_list;
mod weights;

pub use crate::config::Activations;
pub use backbone::{Backbone, Trace};
pub use batch::TokenBatch;
pub use config_file::CONFIG_FILE;
pub use decoder::{Decoder, DecoderConfig, Layer, Linear, Norms, RopeScaling};
pub use family::Family;
pub use generate::{Ended, Generation, Session, generate_many, greedy, keep_going};
pub use projection::{Joint, Projection};
pub use sampling::{Decoding, Sampling};
pub use save::GENERATION_CONFIG_FILE;
pub use source::{HubSettings, Located, base_written_in, resolve};
pub use weight_list::{Role, WeightSpec};
pub use weights::{INDEX_FILE, WEIGHTS_FILE, weight_files, weight_types};
