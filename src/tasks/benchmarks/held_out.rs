//! What a configuration holds out: the questions of its own training, at other lengths and positions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::benchmark::{Benchmark, Cell, Length, Metric, Sample};
use super::super::{Contexts, EpisodeSource, Split, open_contexts};
use super::{as_written, known};
use crate::config::{DataConfig, Task};
use crate::text::Tokenizer;
use crate::{Error, Result};

const NAME: &str = "held-out";

/// The held-out episodes of a configuration; a sample is an episode's first question.
pub struct HeldOut {
    config: DataConfig,
    tokenizer: Tokenizer,
    seed: u64,
    /// Sources that are open, by cell.
    sources: Mutex<HashMap<Cell, Arc<dyn EpisodeSource>>>,
}

impl HeldOut {
    /// The benchmark; with the seed of the training run, the episodes are those of its own table.
    pub fn new(config: DataConfig, tokenizer: Tokenizer, seed: u64) -> Self {
        Self { config, tokenizer, seed, sources: Mutex::default() }
    }

    fn source(&self, cell: &Cell) -> Result<Arc<dyn EpisodeSource>> {
        known(cell, NAME, &self.subtasks())?;
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(cell) {
            return Ok(Arc::clone(source));
        }
        let multiple = match cell.length {
            Some(Length::Multiple(multiple)) => multiple,
            None => {
                as_written(cell, NAME)?;
                1
            }
            Some(length @ Length::Tokens(_)) => {
                return Err(Error::Invalid(format!(
                    "{NAME}: length {length} is not possible: ask for multiples of the trained length, as in 1x,4x"
                )));
            }
        };
        let contexts = Contexts { split: Split::HeldOut, multiple, position: cell.position, seed: self.seed };
        let source = open_contexts(&self.config, &self.tokenizer, contexts)?;
        let source: Arc<dyn EpisodeSource> = source.into();
        sources.insert(cell.clone(), Arc::clone(&source));
        Ok(source)
    }
}

impl Benchmark for HeldOut {
    fn name(&self) -> &'static str {
        NAME
    }

    fn subtasks(&self) -> Vec<String> {
        vec![self.config.task.name().to_owned()]
    }

    fn has_lengths(&self) -> bool {
        self.config.task != Task::Files
    }

    fn metric(&self) -> Metric {
        Metric::ExactMatch
    }

    fn count(&self, cell: &Cell) -> Result<Option<usize>> {
        Ok(self.source(cell)?.len().map(|len| usize::try_from(len).unwrap_or(usize::MAX)))
    }

    fn sample(&self, cell: &Cell, index: usize) -> Result<Sample> {
        let episode = self.source(cell)?.episode(index as u64)?;
        let no_question = || Error::Invalid(format!("episode {} has no question", episode.name));
        let qa = episode.qa.first().ok_or_else(no_question)?;
        Ok(Sample {
            question: qa.question.clone(),
            answers: vec![qa.answer.clone()],
            support: qa.support.clone(),
            name: episode.name,
            documents: episode.documents,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::benchmark::Position;
    use super::*;
    use crate::config::CorpusConfig;
    use crate::tasks::corpus::Corpus;
    use crate::text::word_level;

    fn benchmark() -> HeldOut {
        let folder = tempfile::tempdir().unwrap();
        let corpus = Corpus::new(CorpusConfig::default(), 0).unwrap();
        word_level::save(folder.path(), corpus.lexicon_texts()).unwrap();
        HeldOut::new(DataConfig::default(), Tokenizer::from_folder(folder.path(), None).unwrap(), 3)
    }

    fn cell(length: Length, position: Position) -> Cell {
        Cell { subtask: "qa1".into(), length: Some(length), position }
    }

    #[test]
    fn an_index_asks_the_same_at_every_length_and_position() {
        let benchmark = benchmark();
        for index in 0..20 {
            let short = benchmark.sample(&cell(Length::Multiple(1), Position::Random), index).unwrap();
            for position in Position::ALL {
                let long = benchmark.sample(&cell(Length::Multiple(4), position), index).unwrap();
                assert_eq!((&long.question, &long.answers), (&short.question, &short.answers));
                assert!(long.documents[0].len() > 2 * short.documents[0].len());
            }
        }
    }

    #[test]
    fn a_length_in_tokens_and_an_unknown_subtask_are_refused() {
        let benchmark = benchmark();
        let error = benchmark.count(&cell(Length::Tokens(4_000), Position::Random)).unwrap_err();
        assert!(error.to_string().contains("4k") && error.to_string().contains("1x"), "{error}");
        let stranger = Cell { subtask: "qa2".into(), ..cell(Length::Multiple(1), Position::Random) };
        assert!(benchmark.sample(&stranger, 0).unwrap_err().to_string().contains("qa2"));
    }
}
