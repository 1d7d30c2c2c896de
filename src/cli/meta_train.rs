//! `perk meta-train` and `perk finetune`.

use std::{path::Path, process::ExitCode};

use perk::{
    Error, Result,
    commands::{
        Plan,
        meta_train::{self, Outcome},
        plan,
    },
    config::{Config, Objective},
    report::{RunFolder, RunResult, RunWriter},
};
use serde_json::{Value, json};

use super::{
    args::MetaTrain, hub_env::hub_settings, progress::Progress, ranks::ranks, signals, terminal,
    units::gigabytes,
};

/// Runs the command.
pub fn run(args: &MetaTrain, objective: Objective) -> Result<ExitCode> {
    if args.dry_run {
        let config = load(args, args.config.as_deref(), objective)?;
        let plan = plan(&config, &hub_settings())?;
        if args.json {
            terminal::print_value(&as_json(&config, &plan)?)?
        } else {
            print_plan(&plan)?
        }
        return Ok(ExitCode::SUCCESS);
    }
    let stop = signals::listen(|| terminal::note("stopping after this step (Ctrl-C again to stop at once)"));
    let progress = Progress::new(stop);
    let (config, writer) = match &args.resume {
        None => new_run(args, objective)?,
        Some(dir) => open_run(args, dir.as_deref(), objective)?,
    };
    let run = if args.resume.is_some() { meta_train::resume } else { meta_train::start };
    let outcome = run(&config, &writer, &hub_settings(), &**ranks(), &progress)?;
    progress.close();
    conclude(writer.folder(), &outcome, objective, args.json)
}

/// The configuration and folder of a new run.
fn new_run(args: &MetaTrain, objective: Objective) -> Result<(Config, RunWriter)> {
    let config = load(args, args.config.as_deref(), objective)?;
    let writer = match &args.out {
        Some(dir) => RunWriter::start(dir)?,
        None => RunWriter::start_numbered(&config.run.dir)?,
    };
    if writer.took_over() {
        let dir = writer.folder().dir().display();
        terminal::note(&format!("{dir}: takes over a run that did not finish its first step"));
    }
    Ok((config, writer))
}

/// The configuration and folder of the run to continue.
fn open_run(args: &MetaTrain, dir: Option<&Path>, objective: Objective) -> Result<(Config, RunWriter)> {
    if let Some(dir) = dir {
        let writer = RunWriter::resume(dir)?;
        let own = writer.folder().config();
        let config = load(args, Some(args.config.as_deref().unwrap_or(&own)), objective)?;
        return Ok((config, writer));
    }
    let config = load(args, args.config.as_deref(), objective)?;
    let writer = RunWriter::resume_newest(&config.run.dir)?;
    Ok((config, writer))
}

/// The configuration in `path`. A saved run of the other command is refused; a configuration that says nothing
/// serves both, and their runs have different folders.
fn load(args: &MetaTrain, path: Option<&Path>, objective: Objective) -> Result<Config> {
    let path = path.ok_or_else(|| Error::Invalid("--config FILE is needed, or --resume DIR".to_owned()))?;
    let mut config = Config::load(path, &args.overrides)?;
    config.run.device = args.device.unwrap_or(config.run.device);
    config.model.matmul_precision = args.matmul_precision.unwrap_or(config.model.matmul_precision);
    config.model.base = args.base.clone().unwrap_or(config.model.base);
    match (config.outer.objective, objective) {
        (Objective::InContext, Objective::Perk) => {
            let reason = "outer.objective is \"in-context\": continue it with perk finetune";
            return Err(Error::file(path, reason));
        }
        (Objective::Perk, Objective::InContext) => {
            config.outer.objective = objective;
            config.run.dir.as_mut_os_string().push("-ft-icr");
        }
        (Objective::Perk, Objective::Perk) | (Objective::InContext, Objective::InContext) => {}
    }
    Ok(config)
}

fn command(objective: Objective) -> &'static str {
    match objective {
        Objective::Perk => "meta-train",
        Objective::InContext => "finetune",
    }
}

fn conclude(folder: &RunFolder, outcome: &Outcome, objective: Objective, as_json: bool) -> Result<ExitCode> {
    match outcome {
        Outcome::Finished(result) if as_json => {
            terminal::print_value(&json!({ "dir": folder.dir(), "result": result }))?;
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Finished(result) => {
            print_result(result, &folder.result())?;
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted { step } => {
            let dir = folder.dir().display();
            let command = command(objective);
            terminal::note(&format!(
                "stopped and saved after {step} steps; continue with: perk {command} --resume {dir}"
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
    let table = result.evaluation.table();
    terminal::print(&format!("{facts}\n\n{table}\n{}", path.display()))
}

fn as_json(config: &Config, plan: &Plan) -> Result<Value> {
    let [adapter, rates, head] = plan.trainable;
    let (estimate, batching) = (&plan.estimate, &plan.batching);
    let config = serde_json::to_value(config)
        .map_err(|fault| Error::Invalid(format!("the configuration is no JSON: {fault}")))?;
    Ok(json!({
        "config": config,
        "frozen_parameters": plan.base_parameters,
        "trained_parameters": { "adapter": adapter, "inner_rates": rates, "head": head },
        "episodes_together": batching.episodes_together,
        "micro_batch_segments": batching.micro_batch_segments,
        "memory_bytes": {
            "base": estimate.base_bytes,
            "adapter": estimate.adapter_bytes,
            "activations": estimate.activation_bytes,
            "vocabulary": estimate.vocab_bytes,
            "total": estimate.total_bytes(),
        },
    }))
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
        ("episodes at once", plan.batching.episodes_together.to_string()),
        ("segments at once", plan.batching.micro_batch_segments.to_string()),
        ("memory, about", gigabytes(estimate.total_bytes())),
        ("  base", gigabytes(estimate.base_bytes)),
        ("  adapter copies", gigabytes(estimate.adapter_bytes)),
        ("  activations", gigabytes(estimate.activation_bytes)),
        ("  vocabulary rows", gigabytes(estimate.vocab_bytes)),
    ];
    let lines = numbers.map(|(name, number)| format!("{name:<22}{number}"));
    terminal::print(&format!("{}\n{}", plan.config, lines.join("\n")))
}
