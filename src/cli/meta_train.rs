//! `perk meta-train`.

use std::{path::Path, process::ExitCode};

use perk::{
    Error, Result,
    commands::{
        Plan,
        meta_train::{self, Outcome},
        plan,
    },
    config::Config,
    report::{RunFolder, RunResult, table},
};

use super::{
    args::MetaTrain, hub_env::hub_settings, progress::Progress, signals, terminal, units::gigabytes,
};

/// Runs the command.
pub fn run(args: &MetaTrain) -> Result<ExitCode> {
    if args.dry_run {
        print_plan(&plan(&load(args, args.config.as_deref())?, &hub_settings())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let stop = signals::listen(|| terminal::note("stopping after this step (Ctrl-C again to stop at once)"));
    let progress = Progress::new(stop);
    let (folder, outcome) = match &args.resume {
        None => {
            let config = load(args, args.config.as_deref())?;
            let folder = match &args.out {
                Some(dir) => RunFolder::new(dir)?,
                None => RunFolder::new_numbered(&config.run.dir)?,
            };
            let outcome = meta_train::start(&config, &folder, &hub_settings(), &progress)?;
            (folder, outcome)
        }
        Some(dir) => {
            let (config, folder) = open_run(args, dir.as_deref())?;
            let outcome = meta_train::resume(&config, &folder, &hub_settings(), &progress)?;
            (folder, outcome)
        }
    };
    progress.close();
    conclude(&folder, &outcome)
}

/// The configuration and folder of the run to continue.
fn open_run(args: &MetaTrain, dir: Option<&Path>) -> Result<(Config, RunFolder)> {
    if let Some(dir) = dir {
        let folder = RunFolder::open(dir)?;
        let own = folder.config();
        let config = load(args, Some(args.config.as_deref().unwrap_or(&own)))?;
        return Ok((config, folder));
    }
    let config = load(args, args.config.as_deref())?;
    let folder = RunFolder::open_newest(&config.run.dir)?;
    Ok((config, folder))
}

fn load(args: &MetaTrain, path: Option<&Path>) -> Result<Config> {
    let path = path.ok_or_else(|| Error::Invalid("--config FILE is needed, or --resume DIR".to_owned()))?;
    Config::load(path, &args.overrides)
}

fn conclude(folder: &RunFolder, outcome: &Outcome) -> Result<ExitCode> {
    match outcome {
        Outcome::Finished(result) => {
            print_result(result, &folder.result())?;
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted { step } => {
            let dir = folder.dir().display();
            terminal::note(&format!(
                "stopped and saved after {step} steps; continue with: perk meta-train --resume {dir}"
            ));
            Ok(ExitCode::from(signals::INTERRUPTED))
        }
    }
}

fn print_result(result: &RunResult, path: &Path) -> Result<()> {
    let peak = result.peak_bytes.map_or_else(String::new, |bytes| format!(", at most {}", gigabytes(bytes)));
    let facts = format!(
        "{} steps on {} trained parameters in {:.0} s, scored in {:.0} s{peak}",
        result.steps, result.trainable_parameters, result.train_secs, result.eval_secs
    );
    let table = table(&result.rows, result.chance);
    terminal::print(&format!("{facts}\n\n{table}\n{}", path.display()))
}

fn print_plan(plan: &Plan) -> Result<()> {
    let [adapter, rates, head] = plan.trainable;
    let estimate = &plan.estimate;
    let numbers = [
        ("frozen parameters", plan.base_parameters.to_string()),
        ("trained parameters", (adapter + rates + head).to_string()),
        ("  adapter", adapter.to_string()),
        ("  inner rates", rates.to_string()),
        ("  head", head.to_string()),
        ("memory, about", gigabytes(estimate.total_bytes())),
        ("  base", gigabytes(estimate.base_bytes)),
        ("  adapter copies", gigabytes(estimate.adapter_bytes)),
        ("  activations", gigabytes(estimate.activation_bytes)),
        ("  vocabulary rows", gigabytes(estimate.vocab_bytes)),
    ];
    let lines = numbers.map(|(name, number)| format!("{name:<22}{number}"));
    terminal::print(&format!("{}\n{}", plan.config, lines.join("\n")))
}
