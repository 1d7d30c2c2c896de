//! `perk config`.

use std::{path::Path, process::ExitCode};

use perk::{
    Error, Result,
    config::{BaseRecipe, Config, schema},
    error::{Fault, shown, shown_path},
};
use serde_json::{Value, json};

use super::{
    USAGE,
    args::{Config as Args, ConfigAction, ConfigOf},
    terminal,
};

/// Runs the command; the exit code is 2 if a configuration cannot be used.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.action {
        ConfigAction::Schema { of } => {
            let schema = match of {
                ConfigOf::MetaTrain => schema::<Config>("perk meta-train")?,
                ConfigOf::Pretrain => schema::<BaseRecipe>("perk pretrain")?,
            };
            terminal::print_json(&format!("{schema:#}"))?;
            Ok(ExitCode::SUCCESS)
        }
        ConfigAction::Check { files, of, json } => {
            let of = |file| Ok((file, faults(file, *of)?));
            let found = files.iter().map(|file| of(file.as_path())).collect::<Result<Vec<_>>>()?;
            let are_good = found.iter().all(|(_, faults)| faults.is_empty());
            if *json {
                let faults: Vec<Value> =
                    found.iter().flat_map(|(file, faults)| as_json(file, faults)).collect();
                terminal::print_json(&format!("{:#}", json!({ "ok": are_good, "faults": faults })))?;
            } else {
                found.iter().try_for_each(|(file, faults)| show(file, faults))?;
            }
            Ok(if are_good { ExitCode::SUCCESS } else { ExitCode::from(USAGE) })
        }
    }
}

/// Everything that is wrong with a file.
fn faults(file: &Path, of: ConfigOf) -> Result<Vec<Fault>> {
    let loaded = match of {
        ConfigOf::MetaTrain => Config::load(file, &[]).map(drop),
        ConfigOf::Pretrain => BaseRecipe::load(file, &[]).map(drop),
    };
    match loaded {
        Ok(()) => Ok(Vec::new()),
        Err(Error::Config { faults, .. }) => Ok(faults),
        Err(fault) => Err(fault),
    }
}

/// `c.toml:12: inner.steps: must be from 1 to 1000, found 0`, as compilers say it, which editors understand.
fn show(file: &Path, faults: &[Fault]) -> Result<()> {
    let name = shown_path(file);
    if faults.is_empty() {
        return terminal::print(&format!("{name}: ok"));
    }
    faults.iter().try_for_each(|fault| {
        let line = fault.line.map_or_else(String::new, |line| format!(":{line}"));
        let key = if fault.key.is_empty() { String::new() } else { format!(" {}:", shown(&fault.key)) };
        terminal::print(&format!("{name}{line}:{key} {}", shown(&fault.reason)))
    })
}

fn as_json(file: &Path, faults: &[Fault]) -> Vec<Value> {
    let one =
        |fault: &Fault| json!({ "file": file, "line": fault.line, "key": fault.key, "reason": fault.reason });
    faults.iter().map(one).collect()
}
