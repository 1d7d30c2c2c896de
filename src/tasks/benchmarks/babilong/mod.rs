//! BABILong (Kuratov et al. 2024, arXiv 2406.10149): bAbI's questions about facts in long texts.

mod labels;
mod rows;
mod simulated;
mod stories;

use std::path::PathBuf;
use std::sync::Arc;

use super::super::Split;
use super::super::background::Background;
use super::super::benchmark::{Benchmark, Cell, Length, Metric, Sample};
use super::super::hide::Haystack;
use super::super::source::with_events;
use super::super::stream::{Purpose, hash, stream};
use super::{as_written, beyond, known};
use crate::config::BackgroundSource;
use crate::model::HubSettings;
use crate::text::Tokenizer;
use crate::{Error, Result};
pub use labels::babilong_labels;
use rows::Rows;
pub use simulated::Simulated;
use stories::BabiFolder;
pub use stories::{Stories, StoryQuestion};

const NAME: &str = "babilong";

/// Background sentences of fewer tokens are not used, as in BABILong. The sentences of the built-in background
/// are mostly shorter, and all used.
pub const MIN_SENTENCE_TOKENS: usize = 10;

/// Where the questions come from.
pub enum BabilongSource {
    /// Official rows, contexts and all.
    Rows {
        /// A folder, or a dataset of the hub, `hf:owner/name`.
        place: String,
        /// How to reach the hub.
        hub: HubSettings,
    },
    /// A folder of bAbI's own files, `qa1_single-supporting-fact_test.txt` and so on; contexts are made.
    Babi(PathBuf),
    /// Stories told by something else; contexts are made.
    Stories(Box<dyn Stories>),
}

/// The benchmark.
pub struct Babilong {
    samples: Samples,
}

enum Samples {
    Rows(Rows),
    Made(Made),
}

/// Contexts made of stories and background.
struct Made {
    stories: Box<dyn Stories>,
    background: Arc<Background>,
    tokenizer: Tokenizer,
    min_sentence_tokens: usize,
    seed: u64,
    event_prefix: bool,
}

impl Babilong {
    /// Opens the benchmark. The held-out part of the background is used, from a random place that `seed`,
    /// subtask and index decide. `event_prefix` puts `Mary Event 2:` before the facts; it and the background
    /// have no meaning for official rows, whose contexts are as they are.
    ///
    /// # Errors
    /// If files are missing or cannot be read, or the hub does not have the dataset.
    pub fn open(
        source: BabilongSource,
        tokenizer: &Tokenizer,
        background: &BackgroundSource,
        seed: u64,
        event_prefix: bool,
    ) -> Result<Self> {
        let stories: Box<dyn Stories> = match source {
            BabilongSource::Rows { place, hub } => {
                return Ok(Self { samples: Samples::Rows(Rows::open(&place, &hub)?) });
            }
            BabilongSource::Babi(folder) => Box::new(BabiFolder::open(&folder)?),
            BabilongSource::Stories(stories) => stories,
        };
        let min_sentence_tokens = match background {
            BackgroundSource::BuiltIn => 0,
            _ => MIN_SENTENCE_TOKENS,
        };
        let background = Arc::new(Background::open(background, Split::HeldOut)?);
        let tokenizer = tokenizer.clone();
        let made = Made { stories, background, tokenizer, min_sentence_tokens, seed, event_prefix };
        Ok(Self { samples: Samples::Made(made) })
    }
}

impl Made {
    /// Tokens of the cell's contexts, once it is known to be possible.
    fn context_tokens(&self, cell: &Cell) -> Result<usize> {
        known(cell, NAME, &self.stories.subtasks())?;
        let tokens = tokens(cell)?;
        if tokens > 0 && matches!(*self.background, Background::None) {
            let reason = format!("{NAME}: there is no background to fill {tokens} tokens with: name a book");
            return Err(Error::Invalid(reason));
        }
        Ok(tokens)
    }

    fn sample(&self, cell: &Cell, index: usize) -> Result<Sample> {
        let context_tokens = self.context_tokens(cell)?;
        if let Some(count) = self.stories.count(&cell.subtask)?.filter(|&count| index >= count) {
            return Err(beyond(cell, NAME, index, count));
        }
        let story = self.stories.story(&cell.subtask, index)?;
        let facts = if self.event_prefix { with_events(story.facts) } else { story.facts };
        let seed = self.seed ^ hash(&cell.subtask);
        let mut rng = stream(seed, Split::HeldOut, Purpose::Background, index as u64);
        let haystack = Haystack {
            background: self.background.clone(),
            tokenizer: self.tokenizer.clone(),
            context_tokens,
            min_sentence_tokens: self.min_sentence_tokens,
        };
        let context = haystack.hide(&facts, cell.position, &mut rng)?;
        let support = story.support.iter().map(|&i| facts[i].clone()).collect();
        Ok(Sample { support, ..sample(cell, index, context, story.question, story.answer) })
    }
}

fn sample(cell: &Cell, index: usize, context: String, question: String, answer: String) -> Sample {
    let name = format!("{} #{index}", cell.subtask);
    Sample { name, documents: vec![context], question, answers: vec![answer], support: Vec::new() }
}

/// The cell's length, which is one of tokens.
fn tokens(cell: &Cell) -> Result<usize> {
    let reason = match cell.length {
        Some(Length::Tokens(tokens)) => return Ok(tokens),
        Some(length) => format!("length {length} is not possible"),
        None => "a length is needed".to_owned(),
    };
    Err(Error::Invalid(format!("{NAME}: {reason}: its lengths are tokens, as in 0k, 4k or 1M")))
}

impl Benchmark for Babilong {
    fn name(&self) -> &'static str {
        NAME
    }

    fn subtasks(&self) -> Vec<String> {
        match &self.samples {
            Samples::Rows(rows) => rows.subtasks(),
            Samples::Made(made) => made.stories.subtasks(),
        }
    }

    /// Official rows have the lengths that their files have.
    fn has_lengths(&self) -> bool {
        true
    }

    fn metric(&self) -> Metric {
        Metric::Babilong
    }

    fn count(&self, cell: &Cell) -> Result<Option<usize>> {
        match &self.samples {
            Samples::Rows(rows) => {
                as_written(cell, NAME)?;
                Ok(Some(rows.cell(&cell.subtask, tokens(cell)?)?.len()))
            }
            Samples::Made(made) => {
                made.context_tokens(cell)?;
                made.stories.count(&cell.subtask)
            }
        }
    }

    fn sample(&self, cell: &Cell, index: usize) -> Result<Sample> {
        match &self.samples {
            Samples::Rows(rows) => {
                as_written(cell, NAME)?;
                let rows = rows.cell(&cell.subtask, tokens(cell)?)?;
                let row = rows.get(index).ok_or_else(|| beyond(cell, NAME, index, rows.len()))?.clone();
                Ok(sample(cell, index, row.input, row.question, row.target))
            }
            Samples::Made(made) => made.sample(cell, index),
        }
    }
}

#[cfg(test)]
mod tests;
