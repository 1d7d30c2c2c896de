//! One TOML file: blocks, defaults, overrides and every fault at once.

mod pretrain;

pub use pretrain::{BaseShape, PretrainConfig, PretrainTraining};
