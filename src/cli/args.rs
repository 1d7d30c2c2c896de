//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
