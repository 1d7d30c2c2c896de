//! `perk publish`.

use std::process::ExitCode;

use perk::{Result, commands::publish::publish};

use super::{args::Publish, terminal};

/// Runs the command.
pub fn run(args: &Publish) -> Result<ExitCode> {
    publish(&args.checkpoint, &args.out)?;
    terminal::print(&args.out.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
