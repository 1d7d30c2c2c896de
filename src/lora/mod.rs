//! The adapter: which matrices, its initialisation, and PEFT's files.

mod layout;

pub use layout::{Layers, LoraLayout, LoraSpec, Site};
