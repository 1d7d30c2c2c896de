//! The command line: parses, prints, shows progress, and turns errors into exit codes.

mod adapters;
mod args;
mod ask;
mod context;
mod encode;
mod eval;
mod eval_progress;
mod export;
mod hub_env;
mod meta_train;
mod pretrain;
mod progress;
mod signals;
mod terminal;
mod units;

use std::process::ExitCode;

use clap::Parser;
use perk::{Error, config::Objective};

use args::{Cli, Command};

/// Exit code of a configuration that cannot be used, as clap's for arguments.
const USAGE: u8 = 2;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::MetaTrain(args) => meta_train::run(&args, Objective::Perk),
        Command::Finetune(args) => meta_train::run(&args, Objective::InContext),
        Command::Encode(args) => encode::run(&args),
        Command::Ask(args) => ask::run(&args),
        Command::Adapters(args) => adapters::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Pretrain(args) => pretrain::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            terminal::note(&format!("error: {error}"));
            ExitCode::from(if matches!(error, Error::Config { .. }) { USAGE } else { 1 })
        }
    }
}
