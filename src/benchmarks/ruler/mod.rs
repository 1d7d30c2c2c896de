//! RULER (Hsieh et al. 2024, arXiv 2404.06654): its eleven synthetic tasks, made at any length in tokens.
//!
//! Tasks, their settings and their prompts are those of github.com/NVIDIA/RULER (`scripts/synthetic.yaml`,
//! `scripts/data/synthetic/`; Apache-2.0, NVIDIA), whose templates stand here word for word. `docs/ruler.md` says what
//! differs.

mod common_words;
mod fill;
mod frequent_words;
mod haystack;
mod job;
mod niah;
mod prompt;
mod variable_tracking;
mod words;

use super::{Benchmark, Cell, Entry, Metric, known, tokens};
use crate::config::BackgroundSource;
use crate::tasks::background::Background;
use crate::tasks::{Episode, EpisodeSource, Position, Qa, Split, indexed};
use crate::text::Tokenizer;
use crate::{Error, Result};
use job::{Job, Made};
use niah::{Filler, Niah, Token};

const NAME: &str = "ruler";

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    open: |given| {
        given.refuse_data("makes its own contexts")?;
        Ok(Box::new(Ruler::open(given.tokenizer.clone(), given.background, given.seed)?))
    },
};

/// The benchmark. An episode is a function of seed, task, length and index alone; the same index asks the same question
/// about the same facts at every length.
#[derive(Debug)]
pub struct Ruler {
    tokenizer: Tokenizer,
    /// Stands for the essays of RULER.
    background: Background,
    seed: u64,
}

/// A task and its settings.
#[derive(Debug)]
struct Task {
    name: &'static str,
    kind: Kind,
    /// Tokens of the length that are kept for the answer: RULER's `tokens_to_generate`.
    answer_tokens: usize,
}

#[derive(Debug)]
enum Kind {
    Niah(Niah),
    VariableTracking,
    CommonWords,
    FrequentWords,
}

const SINGLE: Niah =
    Niah { filler: Filler::Essay, key: Token::Words, value: Token::Numbers, keys: 1, values: 1, queries: 1 };

static TASKS: [Task; 11] = [
    needles("niah_single_1", Niah { filler: Filler::Noise, ..SINGLE }),
    needles("niah_single_2", SINGLE),
    needles("niah_single_3", Niah { value: Token::Uuids, ..SINGLE }),
    needles("niah_multikey_1", Niah { keys: 4, ..SINGLE }),
    needles("niah_multikey_2", Niah { filler: Filler::Needles, ..SINGLE }),
    needles(
        "niah_multikey_3",
        Niah { filler: Filler::Needles, key: Token::Uuids, value: Token::Uuids, ..SINGLE },
    ),
    needles("niah_multivalue", Niah { values: 4, ..SINGLE }),
    needles("niah_multiquery", Niah { keys: 4, queries: 4, ..SINGLE }),
    Task { name: "vt", kind: Kind::VariableTracking, answer_tokens: 30 },
    Task { name: "cwe", kind: Kind::CommonWords, answer_tokens: 120 },
    Task { name: "fwe", kind: Kind::FrequentWords, answer_tokens: 50 },
];

const fn needles(name: &'static str, niah: Niah) -> Task {
    Task { name, kind: Kind::Niah(niah), answer_tokens: 128 }
}

impl Ruler {
    /// A benchmark of prompts whose length `tokenizer` counts. The held-out part of `background` stands in for the
    /// essays that RULER hides its needles in.
    ///
    /// # Errors
    /// A background that cannot be read.
    pub fn open(tokenizer: Tokenizer, background: &BackgroundSource, seed: u64) -> Result<Self> {
        Ok(Self { tokenizer, background: Background::open(background, Split::HeldOut)?, seed })
    }

    /// The episode of this index with the most haystack that leaves prompt and answer at most `length_tokens` tokens.
    ///
    /// The prompt of RULER is the documents on lines of their own, a line break, and the question. So the documents
    /// hold the example of `vt` and `cwe`, the introduction and the haystack; the question ends in the beginning of
    /// its answer. All answers are wanted.
    ///
    /// # Errors
    /// A task that RULER does not have; a length in which the task has no room; a background without sentences, where
    /// the task needs some.
    pub fn episode(&self, task: &str, length_tokens: usize, index: u64) -> Result<Episode> {
        let task = find(task)?;
        let name = format!("{} #{index}", task.name);
        let job = Job::new(
            format!("{NAME} {name}"),
            task,
            length_tokens,
            &self.tokenizer,
            &self.background,
            self.seed,
            index,
        );
        let Made { prompt, answers, support } = match &task.kind {
            Kind::Niah(niah) => niah.make(&job),
            Kind::VariableTracking => variable_tracking::make(&job),
            Kind::CommonWords => common_words::make(&job),
            Kind::FrequentWords => frequent_words::make(&job),
        }?;
        let documents = prompt.documents();
        let qa = Qa { question: prompt.question, answers, support };
        Ok(Episode { name, documents, facts: vec![], qa: vec![qa] })
    }

    /// Tokens of an answer to a task, for which its lengths leave room.
    ///
    /// # Errors
    /// A task that RULER does not have.
    pub fn answer_tokens(task: &str) -> Result<usize> {
        find(task).map(|task| task.answer_tokens)
    }
}

fn find(task: &str) -> Result<&'static Task> {
    TASKS.iter().find(|known| known.name == task).ok_or_else(|| {
        let there = TASKS.each_ref().map(|task| task.name).join(", ");
        Error::Invalid(format!("{NAME} has no subtask `{task}`: it has {there}"))
    })
}

impl Benchmark for Ruler {
    fn name(&self) -> &'static str {
        NAME
    }

    fn subtasks(&self) -> Vec<String> {
        TASKS.iter().map(|task| task.name.to_owned()).collect()
    }

    fn has_lengths(&self) -> bool {
        true
    }

    fn metric(&self) -> Metric {
        Metric::StringMatchAll
    }

    fn open(&self, cell: &Cell) -> Result<Box<dyn EpisodeSource + '_>> {
        known(cell, NAME, &self.subtasks())?;
        if cell.position != Position::Random {
            let position = cell.position.name();
            return Err(Error::Invalid(format!(
                "{NAME}: position {position} is not possible, since its needles lie at depths of their own: ask for \
                 random"
            )));
        }
        let (task, length_tokens) = (cell.subtask.clone(), tokens(cell, NAME)?);
        Ok(indexed(None, move |index| self.episode(&task, length_tokens, index)))
    }
}

#[cfg(test)]
mod solver;
#[cfg(test)]
mod tests;
