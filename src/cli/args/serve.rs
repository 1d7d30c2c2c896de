//! Arguments of `perk serve`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use perk::config::MicroBatch;

use super::{ComputeArgs, STORE, Start};

/// `perk serve`.
#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    pub start: Start,
    /// Address to listen at; others than this machine's own let other machines in
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen at; 0 takes one that is free
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub port: u16,
    /// Folder of encoded contexts
    #[arg(long, value_name = "DIR", default_value = STORE)]
    pub store: PathBuf,
    /// The base, a folder, a GGUF file or hf:owner/name, if it is not where it was
    #[arg(long, value_name = "BASE")]
    pub base: Option<String>,
    /// Inner steps, if not as many as in meta-training
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Segments computed at once, or auto
    #[arg(long, value_name = "SEGMENTS")]
    pub micro_batch: Option<MicroBatch>,
    #[command(flatten)]
    pub compute: ComputeArgs,
    #[command(flatten)]
    pub bounds: Bounds,
}

/// What clients may take.
#[derive(Debug, Args)]
pub struct Bounds {
    /// Longest body of a request, in megabytes
    #[arg(long, value_name = "MB", default_value_t = 32)]
    pub max_body: usize,
    /// Most tokens of a document
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub max_context_tokens: usize,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub max_tokens: usize,
    /// Requests that may wait for an answer, and documents that may wait; those beyond are refused with 429
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub queue: usize,
    /// Requests of one model that are answered side by side
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub batch: usize,
    /// Adapters that stay in memory
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub cache: usize,
    /// Seconds that a request may wait and be answered
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    pub timeout: u64,
}
