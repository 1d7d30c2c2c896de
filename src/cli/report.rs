//! `perk report`.

use std::process::ExitCode;

use perk::{Error, Result, checkpoint::Lock, report::RunsReport};

use super::{args::Report, terminal};

/// Runs the command.
pub fn run(args: &Report) -> Result<ExitCode> {
    if args.json {
        let report = serde_json::to_value(RunsReport::read(&args.runs)?);
        let report = report.map_err(|fault| Error::Invalid(format!("the runs are no JSON: {fault}")))?;
        terminal::print_value(&report)?;
        return Ok(ExitCode::SUCCESS);
    }
    let _lock = Lock::take(&args.html)?;
    RunsReport::read(&args.runs)?.page().write(&args.html)?;
    terminal::print(&args.html.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
