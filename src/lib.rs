//! PERK, "Long-Context Reasoning as Parameter-Efficient Test-Time Learning" (Chen et al., ICLR 2026,
//! arXiv 2507.06415), on Candle.
//!
//! A frozen decoder gets LoRA adapters. The *inner loop* writes a long context into the adapter by a few
//! gradient steps on its segments; the *outer loop* meta-trains the adapter's start, the inner learning
//! rates and a token-weighting head through those steps. A module uses only those that come after it here:
//! `serve`; `commands`; `report`, `eval`; `benchmarks`; `store`, `pretrain`; `tasks`; `meta`; `model`, `optim`; `autodiff`; `text`,
//! `checkpoint`, `config`, `device`; `gguf`; `ranks`; `json_lines`, `files`, `panics`, `threads`,
//! `vectors`, `error`.

pub mod autodiff;
pub mod benchmarks;
pub mod checkpoint;
pub mod commands;
pub mod config;
pub mod device;
pub mod error;
pub mod eval;
pub mod files;
pub mod gguf;
pub mod json_lines;
pub mod memory;
pub mod meta;
pub mod model;
pub mod optim;
pub mod panics;
mod parquet_rows;
pub mod pretrain;
pub mod ranks;
pub mod report;
pub mod serve;
pub mod store;
pub mod tasks;
pub mod text;
mod threads;
mod vectors;

pub use error::{Error, Result};

#[cfg(test)]
extern crate self as perk;

#[cfg(test)]
#[path = "../tests/support/cells.rs"]
mod cells;

#[cfg(test)]
#[path = "../tests/support/shared_folder.rs"]
mod shared_folder;
