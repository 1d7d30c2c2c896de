//! The arguments of `perk config`, `perk completions` and `perk man`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `perk config`.
#[derive(Debug, Args)]
pub struct Config {
    /// What to do
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// What `perk config` does.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Print the JSON Schema of configurations, for editors
    Schema {
        /// Configurations of which command
        #[arg(long = "for", value_enum, default_value_t = ConfigOf::MetaTrain, value_name = "COMMAND")]
        of: ConfigOf,
    },
    /// Say everything that is wrong with configurations, with file, line and key
    Check {
        /// Configuration files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Configurations of which command
        #[arg(long = "for", value_enum, default_value_t = ConfigOf::MetaTrain, value_name = "COMMAND")]
        of: ConfigOf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// The command that a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConfigOf {
    /// perk meta-train and perk finetune
    MetaTrain,
    /// perk pretrain
    Pretrain,
}

/// `perk completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `perk man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Folder of the pages
    #[arg(long, value_name = "DIR", default_value = "man")]
    pub out: PathBuf,
}
