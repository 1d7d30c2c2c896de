//! Episodes from end to end: what is generated is decided by its facts, hidden without loss, cut without
//! harm, and the same for the same seed.

#![allow(clippy::unwrap_used, reason = "a failed helper fails the test")]

mod api_retrieval;
#[path = "../support/cells.rs"]
mod cells;
mod encoded;
mod files;
mod generated;
mod records_reader;
#[path = "../support/shared_folder.rs"]
mod shared_folder;
mod solver;
mod student_records;

use perk::config::{CorpusConfig, DataConfig, Task, WorldConfig};
use perk::pretrain::Corpus;
use perk::tasks::{Episode, Split, open};
use perk::text::{Tokenizer, sentences, word_level};

/// The tokenizer of a tiny base.
fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    word_level::save(folder.path(), Corpus::new(CorpusConfig::default(), 0).unwrap().lexicon_texts())
        .unwrap();
    Tokenizer::from_folder(folder.path(), None).unwrap()
}

fn generated(task: Task) -> DataConfig {
    let min_facts = if task == Task::Qa3 { 3 } else { 2 };
    let world = WorldConfig { min_facts, max_facts: 14, ..WorldConfig::default() };
    DataConfig { task, world, context_tokens: 160, questions: 3, ..DataConfig::default() }
}

fn episodes(config: &DataConfig, split: Split, multiple: usize, seed: u64, count: u64) -> Vec<Episode> {
    let source = open(config, &tokenizer(), split, multiple, seed).unwrap();
    (0..count).map(|i| source.episode(i).unwrap()).collect()
}

fn lines(episode: &Episode) -> Vec<&str> {
    sentences::split(&episode.documents[0]).into_iter().map(str::trim).collect()
}

/// `Mary moved to the kitchen.` of `Mary Event 2: Mary moved to the kitchen.`
fn plain(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(_, fact)| fact)
}

/// Is it a fact (of a person), and not background?
fn is_fact(line: &str) -> bool {
    ["Mary", "John", "Sandra", "Daniel"].iter().any(|name| line.starts_with(name))
}
