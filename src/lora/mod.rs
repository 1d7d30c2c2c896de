//! The adapter: which matrices, its initialisation, merging, and the files of PEFT and llama.cpp.

mod adapter;
mod gguf;
mod init;
mod layout;
mod peft;

pub use adapter::{Adapter, merge};
pub use init::LoraInit;
pub use layout::{Layers, LoraLayout, LoraSpec, Site};
pub use peft::{ADAPTER_CONFIG_FILE, ADAPTER_FILE};
