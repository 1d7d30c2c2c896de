//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Long-context reasoning as parameter-efficient test-time learning.
#[derive(Debug, Parser)]
#[command(name = "perk", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Meta-train an adapter that memorises contexts by gradient steps
    MetaTrain(MetaTrain),
    /// Write a context into an adapter, by gradient steps on its text
    Encode(Encode),
    /// Train a small base from nothing, by next-token prediction
    Pretrain(Pretrain),
}

/// `perk meta-train`.
#[derive(Debug, Args)]
pub struct MetaTrain {
    /// Configuration file; with --resume DIR, that run's own if not given
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    pub config: Option<PathBuf>,
    /// Override a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "BLOCK.KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Print the resolved configuration, the size of what is trained and the memory needed, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Continue a run from its last checkpoint: the one in DIR, or the newest of this configuration
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "clap's form of an option whose value may be left out")]
    pub resume: Option<Option<PathBuf>>,
    /// Run folder, instead of run.dir; must be new or empty
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
}

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
}

/// What `perk encode` and `perk ask --context` have in common.
#[derive(Debug, Args)]
pub struct HowToEncode {
    /// Run of meta-train, or one of its checkpoints; the newest run in runs/ if not given
    #[arg(long, value_name = "DIR", conflicts_with = "untrained")]
    pub checkpoint: Option<PathBuf>,
    /// Configuration of meta-train whose adapter starts as it is, never meta-trained
    #[arg(long, value_name = "FILE")]
    pub untrained: Option<PathBuf>,
    /// Inner steps, if not as many as in meta-training
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Segments computed at once: memory grows with it, the adapter stays the same
    #[arg(long, value_name = "SEGMENTS")]
    pub micro_batch: Option<usize>,
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
    /// Folder or hub id of the base, if it is not where it was
    #[arg(long, value_name = "BASE")]
    pub base: Option<String>,
}

/// Where encoded contexts are kept.
pub const STORE: &str = "adapters";

/// Form of a context.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ContextForm {
    /// One document, Markdown too
    Text,
    /// One document a line
    Jsonl,
}

/// `perk pretrain`.
#[derive(Debug, Args)]
pub struct Pretrain {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Override a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "BLOCK.KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Folder of the new base, instead of the one in the configuration
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
