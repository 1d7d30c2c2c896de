//! `metrics.jsonl`: one line for each outer step and each held-out score; and the same for TensorBoard.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{place, write_file},
    error::{Error, Result},
    eval::SupportSummary,
};

use super::{Journal, tensorboard::EventFile};

/// One outer step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Outer steps done, this one included.
    pub step: usize,
    /// What the schedule multiplied the outer rates with.
    pub lr_factor: f64,
    /// Inner loss before the first inner step, mean over the episodes.
    pub inner_loss_first: f64,
    /// Inner loss before the last inner step, mean over the episodes.
    pub inner_loss_last: f64,
    /// Loss of the answers after the inner loop, mean over the episodes.
    pub outer_loss: f64,
    /// Norm of the meta-gradient before clipping.
    pub grad_norm: f64,
    /// Tokens of all contexts of this step.
    pub context_tokens: usize,
    /// Time of this step.
    pub secs: f64,
}

/// One held-out score during training, at the trained length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Outer steps done.
    pub step: usize,
    /// Share of right answers, 0 to 1.
    pub exact_match: f64,
    /// Questions asked.
    pub n: usize,
    /// How well the facts behind the answers were recalled; `None` where the answers have none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub support: Option<SupportSummary>,
    /// Time of this score.
    pub secs: f64,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line<'a> {
    Step(&'a StepRecord),
    Eval(&'a EvalRecord),
}

/// A line as it is read.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum ReadLine {
    Step(StepRecord),
    Eval(EvalRecord),
}

/// The open file.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
    events: Option<EventFile>,
}

impl Metrics {
    /// Opens `path` for a run that has `step` outer steps behind it: lines of later steps, written after
    /// the checkpoint that the run continues from, are taken out.
    ///
    /// # Errors
    /// A symbolic link in the place; a file that cannot be read or written.
    pub fn open(path: &Path, step: usize) -> Result<Self> {
        let path = &place(path)?;
        if path.exists() {
            keep_until(path, step)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| Error::io(path, source))?;
        Ok(Self { path: path.to_owned(), file, events: None })
    }

    /// The same, and from now on event files for TensorBoard in `folder`; arguments as for [`open`](Self::open).
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn with_events(self, folder: &Path, step: usize) -> Result<Self> {
        Ok(Self { events: Some(EventFile::begin(folder, step)?), ..self })
    }

    /// What `path` holds: the outer steps and the held-out scores. A last line that was cut off is left out.
    ///
    /// # Errors
    /// No such file; a line that is neither, with its number.
    pub fn read(path: &Path) -> Result<(Vec<StepRecord>, Vec<EvalRecord>)> {
        let (mut steps, mut evals) = (Vec::new(), Vec::new());
        for line in Journal::read::<ReadLine>(path)? {
            match line {
                ReadLine::Step(record) => steps.push(record),
                ReadLine::Eval(record) => evals.push(record),
            }
        }
        Ok((steps, evals))
    }

    /// Adds an outer step.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn step(&mut self, record: &StepRecord) -> Result<()> {
        self.add(&Line::Step(record))?;
        self.events.as_mut().map_or(Ok(()), |events| events.step(record))
    }

    /// Adds a held-out score.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn eval(&mut self, record: &EvalRecord) -> Result<()> {
        self.add(&Line::Eval(record))?;
        self.events.as_mut().map_or(Ok(()), |events| events.eval(record))
    }

    fn add(&mut self, line: &Line<'_>) -> Result<()> {
        let attempt = serde_json::to_string(line).map_err(std::io::Error::from);
        // One write a line, so that a crash leaves whole lines but for the last.
        let written = attempt.and_then(|text| self.file.write_all(format!("{text}\n").as_bytes()));
        written.map_err(|source| Error::io(&self.path, source))
    }
}

fn keep_until(path: &Path, step: usize) -> Result<()> {
    let text = fs::read(path).map_err(|source| Error::io(path, source))?;
    let text = String::from_utf8_lossy(&text);
    let step_of = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?.get("step")?.as_u64();
    let kept: Vec<&str> =
        text.lines().filter(|line| step_of(line).is_some_and(|found| found <= step as u64)).collect();
    write_file(path, |out| {
        kept.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(|source| Error::io(path, source))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: usize) -> StepRecord {
        StepRecord {
            step,
            lr_factor: 1.0,
            inner_loss_first: 2.0,
            inner_loss_last: 1.0,
            outer_loss: 0.5,
            grad_norm: 0.1,
            context_tokens: 80,
            secs: 0.2,
        }
    }

    #[test]
    fn lines_after_the_checkpoint_are_taken_out_when_a_run_continues() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("metrics.jsonl");
        let mut metrics = Metrics::open(&path, 0).unwrap();
        for step in 1..=4 {
            metrics.step(&record(step)).unwrap();
            metrics.eval(&EvalRecord { step, exact_match: 0.5, n: 2, support: None, secs: 0.1 }).unwrap();
        }
        // A crash may leave half a line.
        metrics.file.write_all(b"{\"kind\":\"st").unwrap();
        let mut metrics = Metrics::open(&path, 2).unwrap();
        metrics.step(&record(3)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let steps: Vec<u64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap())
            .collect();
        assert_eq!(steps, [1, 1, 2, 2, 3]);
        metrics.file.write_all(b"{\"kind\":\"st").unwrap();
        let (steps, evals) = Metrics::read(&path).unwrap();
        assert_eq!(steps, [1, 2, 3].map(record));
        assert_eq!(evals.iter().map(|eval| eval.step).collect::<Vec<_>>(), [1, 2]);
    }
}
