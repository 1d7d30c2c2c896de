//! `perk doctor`.

use std::path::Path;
use std::process::ExitCode;

use perk::{
    Error, Result,
    commands::doctor::{Facts, Finding, Places, State, examine, is_usable},
};
use serde_json::json;

use super::{
    args::{Doctor, RUNS, STORE},
    hub_env::hub_settings,
    terminal,
    units::gigabytes,
};

/// Runs the command; the exit code is 1 if something makes perk unusable.
pub fn run(args: &Doctor) -> Result<ExitCode> {
    let places = Places { runs: Path::new(RUNS), adapters: Path::new(STORE) };
    let findings = examine(places, &hub_settings());
    let is_usable = is_usable(&findings);
    if args.json {
        let all = json!({ "usable": is_usable, "findings": findings });
        let text = serde_json::to_string_pretty(&all);
        terminal::print_json(
            &text.map_err(|fault| Error::Invalid(format!("findings are no JSON: {fault}")))?,
        )?;
    } else {
        findings.iter().try_for_each(|finding| terminal::print(&lines(finding)))?;
    }
    Ok(if is_usable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// State, name and facts, and what to do in a line of its own.
fn lines(finding: &Finding) -> String {
    let state = match finding.state {
        State::Ok => "ok",
        State::Note => "note",
        State::Problem => "problem",
    };
    let (what, found) = told(&finding.facts);
    let line = format!("{state:<8} {what:<10} {found}");
    match &finding.advice {
        Some(advice) => format!("{line}\n{:<19} → {advice}", ""),
        None => line,
    }
}

/// What was looked at, and what was found.
fn told(facts: &Facts) -> (&'static str, String) {
    match facts {
        Facts::Build { version, features, target } => {
            let features = if features.is_empty() { "no features".to_owned() } else { features.join(", ") };
            ("build", format!("perk {version} for {target}, {features}"))
        }
        Facts::Processor { name, threads, kernels, chosen } => {
            let name = name.as_deref().unwrap_or("name not known");
            let (all, chosen) = (kernels.join(", "), chosen.unwrap_or("none of them"));
            ("processor", format!("{name}; {threads} threads; kernels {all}; takes {chosen}"))
        }
        Facts::Gpu { built_in: false, .. } => (
            "gpu",
            "not in this build, which computes on the CPU (scripts/build-cuda.sh makes another)".to_owned(),
        ),
        Facts::Gpu { card: Some(card), .. } => {
            let (free, total) = (gigabytes(card.free_bytes), gigabytes(card.total_bytes));
            ("gpu", format!("{}, {free} of {total} free", card.name))
        }
        Facts::Gpu { reason, .. } => {
            ("gpu", reason.clone().unwrap_or_else(|| "works, but its driver says nothing of it".to_owned()))
        }
        Facts::Memory { total_bytes, available_bytes, limit_bytes } => {
            let limit = limit_bytes.map(|bytes| format!(", limited to {} here", gigabytes(bytes)));
            let (available, total) = (size(*available_bytes), size(*total_bytes));
            ("memory", format!("{available} of {total} free{}", limit.unwrap_or_default()))
        }
        Facts::Disk { purpose, folder, free_bytes, is_writable } => {
            let access = if *is_writable { "" } else { ", cannot be written" };
            ("disk", format!("{purpose} in {}: {} free{access}", folder.display(), size(*free_bytes)))
        }
        Facts::Cache { folder, models, datasets } => {
            ("cache", format!("{models} models and {datasets} datasets in {}", folder.display()))
        }
        Facts::Hub { endpoint, has_token, is_offline, unreachable } => {
            let token = if *has_token { "with a token" } else { "without a token" };
            let state = match (is_offline, unreachable) {
                (true, _) => "offline mode is on".to_owned(),
                (false, None) => format!("answers; {token}"),
                (false, Some(reason)) => format!("does not answer ({reason})"),
            };
            ("hub", format!("{endpoint}: {state}"))
        }
    }
}

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "an unknown amount".to_owned(), gigabytes)
}
