//! What a configuration holds out: the questions of its own training, at other lengths and positions.

use super::{Benchmark, Cell, Entry, Length, Metric, as_written, known};
use crate::config::{DataConfig, Task};
use crate::tasks::{Contexts, EpisodeSource, Position, Split, open_contexts};
use crate::text::Tokenizer;
use crate::{Error, Result};

const NAME: &str = "held-out";

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    open: |given| {
        given.refuse_data("is what the checkpoint's own configuration holds out")?;
        Ok(Box::new(HeldOut::new(given.config.clone(), given.tokenizer.clone(), given.seed)))
    },
};

/// The held-out episodes of a configuration.
#[derive(Debug, Clone)]
pub struct HeldOut {
    config: DataConfig,
    tokenizer: Tokenizer,
    seed: u64,
}

impl HeldOut {
    /// The benchmark; with the seed of the training run, the episodes are those of its own table.
    pub fn new(config: DataConfig, tokenizer: Tokenizer, seed: u64) -> Self {
        Self { config, tokenizer, seed }
    }

    /// The cell of contexts of `multiple` times the trained length.
    pub fn cell(&self, multiple: usize) -> Cell {
        let length = self.has_lengths().then_some(Length::Multiple(multiple));
        Cell { subtask: self.config.task.name().to_owned(), length, position: Position::Random }
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

    fn open(&self, cell: &Cell) -> Result<Box<dyn EpisodeSource + '_>> {
        known(cell, NAME, &self.subtasks())?;
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
        open_contexts(&self.config, &self.tokenizer, contexts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CorpusConfig;
    use crate::pretrain::Corpus;
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
            let episode = |cell: Cell| benchmark.open(&cell).unwrap().episode(index).unwrap();
            let short = episode(benchmark.cell(1));
            for position in Position::ALL {
                let long = episode(cell(Length::Multiple(4), position));
                assert_eq!(long.qa, short.qa);
                assert!(long.documents[0].len() > 2 * short.documents[0].len());
            }
        }
    }

    #[test]
    fn a_length_in_tokens_and_an_unknown_subtask_are_refused() {
        let benchmark = benchmark();
        let message = |cell: Cell| benchmark.open(&cell).err().unwrap().to_string();
        let error = message(cell(Length::Tokens(4_000), Position::Random));
        assert!(error.contains("4k") && error.contains("1x"), "{error}");
        let stranger = Cell { subtask: "qa2".into(), ..cell(Length::Multiple(1), Position::Random) };
        assert!(message(stranger).contains("qa2"));
    }
}
