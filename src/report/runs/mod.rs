//! Runs and evaluations side by side, as their folders hold them: what `perk report` shows.

mod page;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    error::{Error, Result},
    files::read_text,
};

use super::{EvalRecord, Evaluation, Metrics, RunFolder, RunResult, StepRecord};

/// The results of an evaluation in its folder.
const RESULTS: &str = "results.json";

/// Some runs or evaluations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunsReport {
    /// In the order in which they were named.
    pub runs: Vec<ReportedRun>,
}

/// A run of `perk meta-train` or `perk finetune`, or an evaluation of `perk eval`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportedRun {
    /// What it is called beside the others.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Its resolved configuration, as TOML; an evaluation has none.
    pub config: Option<String>,
    /// Every `block.key` of it with its value.
    pub keys: BTreeMap<String, String>,
    /// Its outer steps.
    pub steps: Vec<StepRecord>,
    /// Its held-out scores during training.
    pub evals: Vec<EvalRecord>,
    /// What it achieved and what it cost, once it has ended.
    pub result: Option<RunResult>,
    /// Its last table.
    pub evaluation: Option<Evaluation>,
}

impl RunsReport {
    /// What lies in `folders`.
    ///
    /// # Errors
    /// A folder that is none of a run or an evaluation, is damaged, or is named twice.
    pub fn read(folders: &[PathBuf]) -> Result<Self> {
        let mut runs: Vec<ReportedRun> = Vec::new();
        for dir in folders {
            let run = ReportedRun::read(dir)?;
            if runs.iter().any(|other| same(&other.dir, dir)) {
                return Err(Error::file(dir, "is named twice"));
            }
            runs.push(run);
        }
        let last = |dir: &Path| dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let is_shared = |dir: &Path| folders.iter().filter(|other| last(other) == last(dir)).count() > 1;
        for run in &mut runs {
            let whole = run.dir.display().to_string();
            run.name = last(&run.dir).filter(|_| !is_shared(&run.dir)).unwrap_or(whole);
        }
        Ok(Self { runs })
    }
}

impl ReportedRun {
    /// What lies in `dir`; its name is left to be given.
    fn read(dir: &Path) -> Result<Self> {
        let folder = RunFolder::at(dir);
        let (steps, evals) = match folder.metrics().is_file() {
            true => Metrics::read(&folder.metrics())?,
            false if dir.join(RESULTS).is_file() => (Vec::new(), Vec::new()),
            false => {
                let reason = "holds no metrics.jsonl of a run (perk meta-train, perk finetune) and no results.json of an \
                              evaluation (perk eval)";
                return Err(Error::file(dir, reason));
            }
        };
        let there = |path: PathBuf| path.is_file().then_some(path);
        let config = there(folder.config()).map(|path| read_text(&path)).transpose()?;
        let keys =
            config.as_deref().map_or_else(|| Ok(BTreeMap::new()), |text| keys(&folder.config(), text))?;
        let result = there(folder.result()).map(|path| RunResult::read(&path)).transpose()?;
        let evaluation = match &result {
            Some(result) => Some(result.evaluation.clone()),
            None => there(dir.join(RESULTS)).map(|path| Evaluation::read_json(&path)).transpose()?,
        };
        let (name, dir) = (String::new(), dir.to_owned());
        Ok(Self { name, dir, config, keys, steps, evals, result, evaluation })
    }

    /// A number of its configuration.
    fn number(&self, key: &str) -> Option<f64> {
        self.keys.get(key)?.parse().ok()
    }
}

/// Whether two paths lead to one folder.
fn same(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// Every `block.key` with its value. The configuration of an older or a newer version is read too.
fn keys(path: &Path, text: &str) -> Result<BTreeMap<String, String>> {
    let blocks: toml::Table =
        text.parse().map_err(|fault| Error::file(path, format!("not valid TOML: {fault}")))?;
    let mut keys = BTreeMap::new();
    for (block, value) in blocks {
        match value {
            toml::Value::Table(fields) => {
                keys.extend(
                    fields.into_iter().map(|(key, value)| (format!("{block}.{key}"), value.to_string())),
                );
            }
            other => drop(keys.insert(block, other.to_string())),
        }
    }
    Ok(keys)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;
    use crate::report::fixture::{evaluation, kilo, row};

    fn step(step: usize, loss: f64) -> StepRecord {
        StepRecord {
            step,
            lr_factor: 0.5,
            inner_loss_first: 100.0 * loss,
            inner_loss_last: loss,
            outer_loss: loss,
            grad_norm: 0.1,
            context_tokens: 80,
            secs: 0.2,
        }
    }

    /// A folder of a run whose last held-out score is this, finished where it has a table.
    pub(super) fn run(room: &Path, name: &str, score: f64, is_finished: bool) -> PathBuf {
        let dir = room.join(name);
        fs::create_dir_all(&dir).unwrap();
        let folder = RunFolder::at(&dir);
        let config = format!("[outer]\nsteps = 3\nlr = 0.002\n[run]\nseed = 7\ndir = \"{name}\"\n");
        fs::write(folder.config(), config).unwrap();
        let mut metrics = Metrics::open(&folder.metrics(), 0).unwrap();
        for nth in 1..=3 {
            metrics.step(&step(nth, 1.0 / nth as f64)).unwrap();
        }
        metrics.eval(&EvalRecord { step: 3, exact_match: score, n: 4, support: None, secs: 0.1 }).unwrap();
        if is_finished {
            let rows = vec![row("perk", "qa1", kilo(1), 90), row("perk", "qa1", kilo(4), 70)];
            let result = RunResult {
                evaluation: evaluation(rows),
                steps: 3,
                trainable_parameters: 41_329,
                train_secs: 117.0,
                eval_secs: 16.0,
                peak_bytes: Some(220_000_000),
                config: folder.config(),
                checkpoint: folder.best(),
            };
            result.write(&folder.result()).unwrap();
        }
        dir
    }

    #[test]
    fn runs_are_called_by_their_last_names_where_these_tell_them_apart() {
        let room = tempfile::tempdir().unwrap();
        let dirs = ["a/x", "b/x", "b/y"].map(|name| run(room.path(), name, 0.5, false));
        let report = RunsReport::read(&dirs).unwrap();
        let names: Vec<&str> = report.runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names[2], "y");
        assert!(names[0].ends_with("a/x") && names[1].ends_with("b/x"), "{names:?}");
        assert_eq!(report.runs[0].keys["outer.lr"], "0.002");
        assert_eq!((report.runs[0].steps.len(), report.runs[0].evals.len()), (3, 1));
    }

    #[test]
    fn a_folder_of_something_else_and_one_that_is_named_twice_are_refused() {
        let room = tempfile::tempdir().unwrap();
        let dir = run(room.path(), "a", 0.5, true);
        let refused = |dirs: &[PathBuf]| RunsReport::read(dirs).unwrap_err().to_string();
        assert!(refused(&[room.path().to_owned()]).contains("no metrics.jsonl"));
        assert!(refused(&[dir.clone(), dir.join("../a")]).contains("named twice"));
        fs::write(dir.join("metrics.jsonl"), "{\"kind\":\"step\"}\n").unwrap();
        assert!(refused(&[dir]).contains("metrics.jsonl:1"));
    }

    #[test]
    fn an_evaluation_has_its_table_alone() {
        let room = tempfile::tempdir().unwrap();
        evaluation(vec![row("perk", "qa1", kilo(1), 90)]).write(room.path()).unwrap();
        let report = RunsReport::read(&[room.path().to_owned()]).unwrap();
        assert!(report.runs[0].evaluation.is_some() && report.runs[0].config.is_none());
    }
}
