//! The arguments of `perk data`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `perk data`.
#[derive(Debug, Args)]
pub struct Data {
    /// What to do with the episodes
    #[command(subcommand)]
    pub action: DataAction,
}

/// What `perk data` does.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Show what the model reads, and what of it is predicted
    Preview {
        /// Which episodes
        #[command(flatten)]
        episodes: Episodes,
        /// Index of the first episode that is shown, from 0
        #[arg(long, value_name = "INDEX", default_value_t = 0)]
        episode: u64,
        /// How many are shown
        #[arg(long, value_name = "N", default_value_t = 1)]
        count: u64,
        /// Show every token with its number and the weight of its prediction
        #[arg(long)]
        tokens: bool,
        /// Print JSON, one episode a line
        #[arg(long)]
        json: bool,
    },
    /// Write episodes as JSON lines, which data.task = "files" reads, and show the first
    Make {
        /// Which episodes
        #[command(flatten)]
        episodes: Episodes,
        /// How many are written, from the first
        #[arg(long, value_name = "N")]
        count: u64,
        /// The file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// The episodes of a configuration.
#[derive(Debug, Args)]
pub struct Episodes {
    /// Configuration file of meta-train
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Override a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "BLOCK.KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The episodes that are held out, instead of those of training
    #[arg(long)]
    pub held_out: bool,
    /// Length of the contexts in multiples of the trained one
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub multiple: usize,
}
