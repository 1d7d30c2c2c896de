//! Arguments of `perk encode`, and those that other commands share with it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use perk::{
    commands::Compute,
    config::{MatmulPrecision, MicroBatch},
    device::DeviceName,
};

use super::STORE;

/// `perk encode`.
#[derive(Debug, Args)]
pub struct Encode {
    /// Text, Markdown or JSONL file of the context; may be repeated; - is standard input
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub context: Vec<PathBuf>,
    /// How to encode it
    #[command(flatten)]
    pub how: HowToEncode,
    /// Folder of the adapter, instead of a name in the store
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print JSON: the folder, whether it was there before, and its record
    #[arg(long)]
    pub json: bool,
}

/// What `perk encode` and `perk ask --context` have in common.
#[derive(Debug, Args)]
pub struct HowToEncode {
    #[command(flatten)]
    pub start: Start,
    /// Inner steps, if not as many as in meta-training
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Segments computed at once, or auto: memory grows with it; the adapter stays the same but for its last bits, since
    /// sums are taken in another order
    #[arg(long, value_name = "SEGMENTS")]
    pub micro_batch: Option<MicroBatch>,
    /// Most tokens of a segment
    #[arg(long, value_name = "TOKENS")]
    pub segment_tokens: Option<usize>,
    /// Form of the context, if not what the names of the files say
    #[arg(long, value_enum)]
    pub format: Option<ContextForm>,
    /// Encode again, and replace an adapter that is in the way
    #[arg(long)]
    pub force: bool,
    /// Folder of encoded contexts
    #[arg(long, value_name = "DIR", default_value = STORE)]
    pub store: PathBuf,
    /// The base, a folder, a GGUF file or hf:owner/name, if it is not where it was
    #[arg(long, value_name = "BASE")]
    pub base: Option<String>,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// What an inner loop starts from.
#[derive(Debug, Args)]
pub struct Start {
    /// Run of meta-train, or one of its checkpoints; the newest run in runs/ if not given
    #[arg(long, value_name = "DIR", conflicts_with = "untrained")]
    pub checkpoint: Option<PathBuf>,
    /// Configuration of meta-train whose adapter starts as it is, never meta-trained
    #[arg(long, value_name = "FILE")]
    pub untrained: Option<PathBuf>,
    /// Override a key of that configuration; may be repeated
    #[arg(long = "set", value_name = "BLOCK.KEY=VALUE", requires = "untrained")]
    pub overrides: Vec<String>,
}

/// Where and how exactly to compute.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ComputeArgs {
    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "NAME", default_value_t)]
    pub device: DeviceName,
    /// How products with frozen weights are taken, if not as in training: highest, high or medium
    #[arg(long, value_name = "NAME")]
    pub matmul_precision: Option<MatmulPrecision>,
}

impl From<ComputeArgs> for Compute {
    fn from(ComputeArgs { device, matmul_precision }: ComputeArgs) -> Self {
        Self { device, matmul_precision }
    }
}

/// Form of a context.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ContextForm {
    /// One document, Markdown too
    Text,
    /// One document a line
    Jsonl,
}
