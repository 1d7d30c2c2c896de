//! `perk eval`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use perk::{
    Error, Result,
    checkpoint::Digest,
    commands::{
        InnerStart,
        evaluate::{
            EvalFolder, EvalGrid, EvalReservation, Evaluated, ModelSources, Models, Source, evaluate, notes,
            write,
        },
    },
    config::Config,
    report::Evaluation,
    tasks::benchmark::Benchmark,
};
use serde_json::{Value, json};

use super::{
    args::{Eval, RUNS},
    eval_progress::EvalProgress,
    hub_env::hub_settings,
    signals, terminal,
};

/// Where evaluations go if nothing else is said.
const EVALUATIONS: &str = "evaluations";

/// Runs the command.
pub fn run(args: &Eval) -> Result<ExitCode> {
    let hub = hub_settings();
    // A folder that was named is reserved before the base is read.
    let named = args.out.as_deref().map(EvalReservation::take).transpose()?;
    let models = contestants(args)?.open(&args.method, &hub)?;
    models.setup().notes.iter().for_each(|note| terminal::note(note));
    let benchmark = source(args).open(models.setup(), &hub)?;
    benchmark.notes().iter().for_each(|note| terminal::note(note));
    let plan = grid(args).plan(benchmark.as_ref())?;
    let settings = settings(args, &models)?;
    let dir = args.out.clone().unwrap_or_else(|| default_dir(benchmark.as_ref(), &settings));
    let mut folder = EvalFolder::open(named.map_or_else(|| EvalReservation::take(&dir), Ok)?, &settings)?;
    let stop =
        signals::listen(|| terminal::note("stopping after this answer (Ctrl-C again to stop at once)"));
    let progress = EvalProgress::new(stop);
    let found = evaluate(&models, benchmark.as_ref(), &plan, &mut folder, &progress)?;
    progress.close();
    match found {
        Some(found) => conclude(args, benchmark.as_ref(), &dir, found),
        None => {
            terminal::note("stopped; the same command goes on from here");
            Ok(ExitCode::from(signals::INTERRUPTED))
        }
    }
}

fn contestants(args: &Eval) -> Result<ModelSources> {
    // The base alone needs no checkpoint, but somebody must say which base.
    let nothing_else = args.config.is_none() && args.finetuned.is_none();
    let wanted = nothing_else || args.method.iter().any(|method| method.is_meta_trained());
    let meta_trained = match &args.checkpoint {
        Some(path) => Some(InnerStart::open(path)?),
        None if wanted => Some(InnerStart::open_newest(Path::new(RUNS))?),
        None => None,
    };
    Ok(ModelSources {
        meta_trained,
        fine_tuned: args.finetuned.as_deref().map(InnerStart::open).transpose()?,
        plain: args.config.as_deref().map(|path| Config::load(path, &args.overrides)).transpose()?,
        base: args.base.clone(),
        max_new_tokens: args.max_tokens,
        compute: args.compute.into(),
    })
}

fn source(args: &Eval) -> Source {
    Source {
        name: args.task,
        data: args.data.clone(),
        background: args.background.clone().into(),
        seed: args.seed,
    }
}

fn grid(args: &Eval) -> EvalGrid {
    EvalGrid {
        methods: args.method.clone(),
        subtasks: args.tasks.clone(),
        lengths: args.lengths.clone(),
        positions: args.position.clone(),
        samples: args.samples,
    }
}

/// Everything that an answer depends on, but for its method, cell and number.
fn settings(args: &Eval, models: &Models) -> Result<Value> {
    let config = &models.setup().config;
    let mut settings = json!({
        "task": args.task.name(),
        "data": args.data,
        "background": args.background,
        "seed": args.seed,
        "base": models.base.to_string(),
        "max_new_tokens": config.eval.max_new_tokens,
        "inner": config.inner,
        "data_config": config.data,
        "version": env!("CARGO_PKG_VERSION"),
    });
    // Without them, evaluations that were begun before there were any go on.
    let data = settings["data_config"].as_object_mut();
    if let Some(data) = data.filter(|_| config.data.chat_template.is_none()) {
        data.remove("chat_template");
    }
    if let Some(token) = config.model.begin_token.as_ref().filter(|token| !token.is_empty()) {
        settings["begin_token"] = token.clone().into();
    }
    for (name, digest) in models.checkpoints() {
        settings[name] = digest.into();
    }
    Ok(settings)
}

/// A name that the same settings find again.
fn default_dir(benchmark: &dyn Benchmark, settings: &Value) -> PathBuf {
    let key = Digest::of_texts(&[settings.to_string()]);
    Path::new(EVALUATIONS).join(format!("{}-{}", benchmark.name(), key.short()))
}

fn conclude(args: &Eval, benchmark: &dyn Benchmark, dir: &Path, found: Evaluated) -> Result<ExitCode> {
    let evaluation = Evaluation {
        benchmark: benchmark.name().to_owned(),
        metric: benchmark.metric(),
        seed: args.seed,
        chance: found.chance,
        rows: found.rows,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let pictures = write(&evaluation, &found.records, dir)?;
    if args.json {
        let rows = serde_json::to_string_pretty(&evaluation.rows);
        terminal::print(&rows.map_err(|fault| Error::Invalid(format!("rows cannot be written: {fault}")))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    notes(&evaluation).iter().for_each(|note| terminal::note(note));
    terminal::print(&evaluation.table())?;
    for path in pictures {
        terminal::print(&path.display().to_string())?;
    }
    terminal::print(&dir.join("results.md").display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
