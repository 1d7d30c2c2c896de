//! One TOML file: blocks, defaults, overrides and every fault at once.

pub mod data;

pub use data::DataConfig;
