//! `perk eval`.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use perk::{
    Error, Result,
    benchmarks::{Benchmark, Given},
    checkpoint::Digest,
    commands::{
        InnerStart, Setup,
        evaluate::{
            EvalFolder, EvalGrid, EvalReservation, ModelSources, Models, compare, evaluate, notes, write,
        },
    },
    config::Config,
    eval::Method,
    report::{Evaluation, Means},
};
use serde_json::{Value, json};

use super::{
    args::{Eval, EvalAction, RUNS},
    eval_progress::EvalProgress,
    hub_env::hub_settings,
    signals, terminal,
};

/// Where evaluations go if nothing else is said.
const EVALUATIONS: &str = "evaluations";

/// Runs the command.
pub fn run(args: &Eval) -> Result<ExitCode> {
    if let Some(EvalAction::Compare { first, second, json }) = &args.action {
        let found = compare(first, second)?;
        let text = if *json { as_json(&found)? } else { found.table() };
        return terminal::print(text.trim_end()).map(|()| ExitCode::SUCCESS);
    }
    let (runs, stop) = (runs(args)?, Stop::default());
    if let [run] = runs.as_slice() {
        return match ask(args, run, &stop)? {
            Some(done) => done.show(args).map(|()| ExitCode::SUCCESS),
            None => Ok(ExitCode::from(signals::INTERRUPTED)),
        };
    }
    let mut evaluations = Vec::new();
    for run in &runs {
        let Some(done) = ask(args, run, &stop)? else { return Ok(ExitCode::from(signals::INTERRUPTED)) };
        terminal::note(&format!("{}: {}", run.name, done.dir.join("results.md").display()));
        evaluations.push((run.name.clone(), done.evaluation));
    }
    let means = Means::of(&evaluations)?;
    let dir = args.out.clone().unwrap_or_else(|| means_dir(args, &runs));
    std::fs::create_dir_all(&dir).map_err(|fault| Error::io(&dir, fault))?;
    means.write(&dir)?;
    let text = if args.json { as_json(&means)? } else { means.table() };
    terminal::print(text.trim_end())?;
    terminal::print(&dir.join("means.md").display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// One evaluation of those that a command asks for.
struct Run {
    /// What tells it from the others: `quickstart-seed-1`.
    name: String,
    checkpoint: Option<PathBuf>,
    seed: u64,
    /// `None` for a folder of its settings' own.
    out: Option<PathBuf>,
}

/// Every checkpoint with every seed.
fn runs(args: &Eval) -> Result<Vec<Run>> {
    let checkpoints: Vec<Option<&PathBuf>> = match args.checkpoint.as_slice() {
        [] => vec![None],
        some => some.iter().map(Some).collect(),
    };
    let alone = checkpoints.len() == 1 && args.seed.len() == 1;
    let mut runs: Vec<Run> = Vec::new();
    for checkpoint in &checkpoints {
        for &seed in &args.seed {
            let of_checkpoint = checkpoint.filter(|_| checkpoints.len() > 1).map(|path| label(path));
            let of_seed = Some(format!("seed-{seed}")).filter(|_| args.seed.len() > 1);
            let name = of_checkpoint.into_iter().chain(of_seed).collect::<Vec<_>>().join("-");
            if runs.iter().any(|run| run.name == name) {
                let reason = format!("{name} is named twice among the checkpoints and seeds");
                return Err(Error::Invalid(reason));
            }
            let out = args.out.as_ref().map(|out| if alone { out.clone() } else { out.join(&name) });
            runs.push(Run { name, checkpoint: checkpoint.cloned(), seed, out });
        }
    }
    Ok(runs)
}

/// `runs/a/checkpoints/best` as `runs-a-checkpoints-best`.
fn label(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("-")
}

fn means_dir(args: &Eval, runs: &[Run]) -> PathBuf {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    let task = args.task.map_or("", |entry| entry.name);
    Path::new(EVALUATIONS).join(format!("{task}-means-{}", Digest::of_texts(&names).short()))
}

/// Whether to stop, from the first question on; one handler serves all runs.
type Stop = OnceCell<Arc<AtomicBool>>;

/// A finished evaluation.
struct Done {
    evaluation: Evaluation,
    dir: PathBuf,
    pictures: Vec<PathBuf>,
}

/// Asks what one run has not asked yet, and writes it down; `None` where it was stopped.
fn ask(args: &Eval, run: &Run, stop: &Stop) -> Result<Option<Done>> {
    let hub = hub_settings();
    // A folder that was named is reserved before the base is read.
    let named = run.out.as_deref().map(EvalReservation::take).transpose()?;
    let models = models(args, run)?.open(&args.method, &hub)?;
    models.setup().notes.iter().for_each(|note| terminal::note(note));
    let benchmark = open(args, run, models.setup())?;
    benchmark.notes().iter().for_each(|note| terminal::note(note));
    let plan = grid(args).plan(benchmark.as_ref())?;
    let settings = settings(args, run, &models)?;
    let dir = run.out.clone().unwrap_or_else(|| default_dir(benchmark.as_ref(), &settings));
    let mut folder = EvalFolder::open(named.map_or_else(|| EvalReservation::take(&dir), Ok)?, &settings)?;
    let listen =
        || signals::listen(|| terminal::note("stopping after this answer (Ctrl-C again to stop at once)"));
    let progress = EvalProgress::new(Arc::clone(stop.get_or_init(listen)));
    let found = evaluate(&models, benchmark.as_ref(), &plan, &mut folder, &progress)?;
    progress.close();
    let Some(found) = found else {
        terminal::note("stopped; the same command goes on from here");
        return Ok(None);
    };
    let evaluation = Evaluation {
        benchmark: benchmark.name().to_owned(),
        metric: benchmark.metric(),
        seed: run.seed,
        chance: found.chance,
        rows: found.rows,
        break_even: args.cost,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let pictures = write(&evaluation, &found.records, &dir)?;
    notes(&evaluation).iter().for_each(|note| terminal::note(note));
    Ok(Some(Done { evaluation, dir, pictures }))
}

impl Done {
    fn show(&self, args: &Eval) -> Result<()> {
        if args.json {
            return terminal::print_json(&as_json(&self.evaluation.rows)?);
        }
        terminal::print(&self.evaluation.table())?;
        for path in &self.pictures {
            terminal::print(&path.display().to_string())?;
        }
        terminal::print(&self.dir.join("results.md").display().to_string())
    }
}

fn as_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map_err(|fault| Error::Invalid(format!("the results cannot be written as JSON: {fault}")))
}

fn models(args: &Eval, run: &Run) -> Result<ModelSources> {
    // The base alone needs no checkpoint, but somebody must say which base.
    let nothing_else = args.config.is_none() && args.finetuned.is_none();
    let wanted = nothing_else || args.method.iter().any(|method| method.is_meta_trained());
    let meta_trained = match &run.checkpoint {
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
        retrieved_segments: args.retrieve,
        compute: args.compute.into(),
    })
}

fn open(args: &Eval, run: &Run, setup: &Setup) -> Result<Box<dyn Benchmark>> {
    let entry = args.task.ok_or_else(|| Error::Invalid("no benchmark: name one with --task".to_owned()))?;
    let mut hub = hub_settings();
    hub.offline |= setup.config.model.offline;
    (entry.open)(&Given {
        name: entry.name,
        data: &args.data,
        background: &args.background.clone().into(),
        seed: run.seed,
        tokenizer: &setup.tokenizer,
        config: &setup.config.data,
        hub: &hub,
    })
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
fn settings(args: &Eval, run: &Run, models: &Models) -> Result<Value> {
    let config = &models.setup().config;
    let mut settings = json!({
        "task": args.task.map_or("", |entry| entry.name),
        "data": args.data,
        "background": args.background,
        "seed": run.seed,
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
    if args.method.contains(&Method::Rag) {
        settings["retrieve"] = args.retrieve.into();
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
