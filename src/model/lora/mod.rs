//! The adapter: which matrices, its initialisation, merging, and the files of PEFT and llama.cpp.

mod adapter;
mod by_layer;
mod gguf;
mod gguf_read;
mod init;
mod layout;
mod peft;

pub use adapter::{Adapter, AdapterRef, merge};
pub(in crate::model) use adapter::{check, merged_projection};
pub use by_layer::{LayerAdapters, LayerGrads, LowRank, LowRankGrad};
pub(in crate::model) use by_layer::{adapters_of, no_adapters};
pub use init::LoraInit;
pub use layout::{Layers, LoraLayout, LoraSpec, Site};
pub use peft::{ADAPTER_CONFIG_FILE, ADAPTER_FILE};
