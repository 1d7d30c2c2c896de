//! BABILong (Kuratov et al. 2024, arXiv 2406.10149): bAbI's questions about facts in long texts.

mod labels;
mod rows;
mod simulated;
mod stories;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Benchmark, Cell, Entry, Given, Metric, as_written, known, tokens};
use crate::config::BackgroundSource;
use crate::model::HubSettings;
use crate::tasks::background::Background;
use crate::tasks::hide::Haystack;
use crate::tasks::source::with_events;
use crate::tasks::stream::{Purpose, hash, stream};
use crate::tasks::{Episode, EpisodeSource, Position, Qa, Split, indexed};
use crate::text::Tokenizer;
use crate::{Error, Result};
pub use labels::babilong_labels;
use rows::Rows;
pub use simulated::Simulated;
use stories::BabiFolder;
pub use stories::{Stories, StoryQuestion};

const NAME: &str = "babilong";

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    open: |given| {
        let event_prefix = given.config.event_prefix;
        let (source, background) = (source(given)?, given.background);
        Ok(Box::new(Babilong::open(source, given.tokenizer, background, given.seed, event_prefix)?))
    },
};

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
    fn open(&self, cell: &Cell) -> Result<Box<dyn EpisodeSource + '_>> {
        known(cell, NAME, &self.stories.subtasks())?;
        let context_tokens = tokens(cell, NAME)?;
        if context_tokens > 0 && matches!(*self.background, Background::None) {
            let reason =
                format!("{NAME}: there is no background to fill {context_tokens} tokens with: name a book");
            return Err(Error::Invalid(reason));
        }
        let haystack = Haystack {
            background: self.background.clone(),
            tokenizer: self.tokenizer.clone(),
            context_tokens,
            min_sentence_tokens: self.min_sentence_tokens,
        };
        let (subtask, position) = (cell.subtask.clone(), cell.position);
        let make = move |index| self.episode(&subtask, &haystack, position, index);
        Ok(indexed(self.stories.count(&cell.subtask)?, make))
    }

    fn episode(&self, subtask: &str, haystack: &Haystack, position: Position, index: u64) -> Result<Episode> {
        let story = self.stories.story(subtask, index as usize)?;
        let facts = if self.event_prefix { with_events(story.facts) } else { story.facts };
        let mut rng = stream(self.seed ^ hash(subtask), Split::HeldOut, Purpose::Background, index);
        let context = haystack.hide(&facts, position, &mut rng)?;
        let support = story.support.iter().map(|&i| facts[i].clone()).collect();
        Ok(episode(subtask, index, context, Qa::new(story.question, story.answer, support)))
    }
}

/// The stories, files or rows that are given.
fn source(given: &Given<'_>) -> Result<BabilongSource> {
    let place = match given.data {
        [] => return Ok(BabilongSource::Stories(Box::new(Simulated { seed: given.seed }))),
        [place] => place,
        [_, second, ..] => {
            let reason = format!("{NAME} has one place of data; {} is a second", second.display());
            return Err(Error::Invalid(reason));
        }
    };
    if holds_babi(place) {
        return Ok(BabilongSource::Babi(place.clone()));
    }
    Ok(BabilongSource::Rows { place: place.to_string_lossy().into_owned(), hub: given.hub.clone() })
}

/// Whether a folder holds files of bAbI's own format, `qa1_single-supporting-fact_test.txt` and so on.
fn holds_babi(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.starts_with("qa") && name.contains('_') && name.ends_with(".txt"))
}

fn episode(subtask: &str, index: u64, context: String, qa: Qa) -> Episode {
    Episode { name: format!("{subtask} #{index}"), documents: vec![context], facts: vec![], qa: vec![qa] }
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

    fn open(&self, cell: &Cell) -> Result<Box<dyn EpisodeSource + '_>> {
        let rows = match &self.samples {
            Samples::Made(made) => return made.open(cell),
            Samples::Rows(rows) => rows,
        };
        as_written(cell, NAME)?;
        let (rows, subtask) = (rows.cell(&cell.subtask, tokens(cell, NAME)?)?, cell.subtask.clone());
        Ok(indexed(Some(rows.len()), move |index| {
            let row = rows[index as usize].clone();
            let qa = Qa::new(row.question, row.target, Vec::new());
            Ok(episode(&subtask, index, row.input, qa))
        }))
    }
}

#[cfg(test)]
mod tests;
