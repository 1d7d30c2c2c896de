//! `perk pretrain`.

use std::process::ExitCode;

use perk::{Error, Result};

use super::args::Pretrain;

/// Runs the command.
pub fn run(args: &Pretrain) -> Result<ExitCode> {
    let _ = (&args.config, &args.overrides, &args.out);
    Err(Error::Invalid("pretrain: not there yet".to_owned()))
}
