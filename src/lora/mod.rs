//! The adapter: which matrices, its initialisation, and PEFT's files.

mod adapter;
mod init;
mod layout;
mod peft;

pub use adapter::{Adapter, merge};
pub use init::LoraInit;
pub use layout::{Layers, LoraLayout, LoraSpec, Site};
pub use peft::{ADAPTER_CONFIG_FILE, ADAPTER_FILE};
