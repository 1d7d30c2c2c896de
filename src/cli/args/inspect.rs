//! The arguments of `perk inspect`.

use std::path::PathBuf;

use clap::Args;

use super::{ComputeArgs, ContextForm, STORE};

/// `perk inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Adapter of perk encode, by its folder or its name in the store; or a run of meta-train, or one of its checkpoints
    #[arg(value_name = "ADAPTER|CHECKPOINT")]
    pub subject: PathBuf,
    /// Write a page that needs no network, instead of text
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub html: Option<PathBuf>,
    /// The context; may be repeated; - is standard input. An adapter's own is looked for where it was; a checkpoint shows
    /// how it would write this one
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub context: Vec<PathBuf>,
    /// Form of the context, if not what the names of the files say
    #[arg(long, value_enum)]
    pub format: Option<ContextForm>,
    /// Show what the folder holds, and do not encode the context again
    #[arg(long, conflicts_with = "context")]
    pub no_encode: bool,
    /// The checkpoint that an adapter was encoded from, if it is not where it was
    #[arg(long, value_name = "DIR", conflicts_with = "untrained")]
    pub checkpoint: Option<PathBuf>,
    /// The configuration that an adapter was encoded from which was never meta-trained
    #[arg(long, value_name = "FILE")]
    pub untrained: Option<PathBuf>,
    /// Override a key of that configuration; may be repeated
    #[arg(long = "set", value_name = "BLOCK.KEY=VALUE", requires = "untrained")]
    pub overrides: Vec<String>,
    /// Show a long context whole, not only the segments that count most
    #[arg(long)]
    pub all: bool,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
    /// Folder of encoded contexts
    #[arg(long, value_name = "DIR", default_value = STORE)]
    pub store: PathBuf,
    /// The base, a folder, a GGUF file or hf:owner/name, if it is not where it was
    #[arg(long, value_name = "BASE")]
    pub base: Option<String>,
    #[command(flatten)]
    pub compute: ComputeArgs,
}
