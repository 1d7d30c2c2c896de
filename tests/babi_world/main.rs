//! The built-in bAbI tasks against a solver that only reads sentences, and against the published files.

#![allow(clippy::unwrap_used, reason = "a failed helper fails the test")]

mod answers;
mod forms;
mod samples;
#[path = "../support/shared_folder.rs"]
mod shared_folder;
mod solver;

use perk::tasks::babi::{self, BabiStory};
use perk::tasks::babi_world::{BabiSample, BabiTask, tell};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use shared_folder::shared;

/// So many samples of the task.
fn told(task: BabiTask, count: u64) -> impl Iterator<Item = BabiSample> {
    let rng = move |stream| {
        let mut rng = ChaCha8Rng::seed_from_u64(task.number() as u64);
        rng.set_stream(stream);
        rng
    };
    (0..count).map(move |stream| tell(task, &mut rng(stream)))
}

/// The published training file of the task.
fn published(task: BabiTask) -> Vec<BabiStory> {
    let files = std::fs::read_dir(shared("babi/official_v1.2")).unwrap();
    let prefix = format!("{task}_");
    let named = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(&prefix) && name.ends_with("_train.txt")
    };
    let path = files.map(|file| file.unwrap().path()).find(named).expect("a file of this task");
    babi::read(&path).unwrap()
}

/// The published questions, each with the facts before it.
fn published_samples(task: BabiTask) -> Vec<BabiSample> {
    let mut samples = Vec::new();
    for story in published(task) {
        for asked in story.questions {
            let facts = story.facts[..asked.facts_before].iter().map(|(_, fact)| fact.clone()).collect();
            let (question, answer, support) = (asked.question, asked.answer, asked.support);
            samples.push(BabiSample { facts, question, answer, support });
        }
    }
    samples
}
