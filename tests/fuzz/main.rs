//! Every reader of files, on files that were changed: it reads them or says what is wrong, and never panics or
//! allocates more than the file's size accounts for.
//!
//! `PERK_FUZZ_CASES` is the number of files for each reader, `PERK_FUZZ_SEED` chooses which; `PERK_FUZZ_FILE` is one file to
//! be tried alone, and prints what its reader holds.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod memory;
mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use proptest::collection::vec;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use targets::{Form, Target};

/// The variable that names one file.
const FILE: &str = "PERK_FUZZ_FILE";

/// Files for each reader, where nothing else is asked for.
const CASES: u32 = 250;
const MOST_CHANGES: usize = 5;

/// What a reader may hold: so much for every byte of the file, and so much for all else.
const PER_BYTE: usize = 64;
const FREE: usize = 16 << 20;
/// The largest page that Parquet has, which is unpacked as a whole.
const PAGE: usize = 2 << 30;

/// One reader at a time, for what is allocated is counted for the whole process.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leaves panics that become errors without a word, as the command line does: a trace takes more memory than any reader.
fn keep_caught_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !perk::panics::are_caught() {
                usual(panic);
            }
        }));
    });
}

fn from_environment(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().expect("the variable is a number"))
}

/// What is wrong with how a target takes these bytes.
fn attempt(target: &Target, data: &[u8]) -> Result<(), String> {
    let (outcome, bytes) = memory::peak(|| catch_unwind(AssertUnwindSafe(|| target.try_bytes(data))));
    if std::env::var_os(FILE).is_some() {
        println!("{}: {outcome:?}, held {bytes} bytes for a file of {}", target.name, data.len());
    }
    outcome.map_err(|_| format!("{} panicked", target.name))??;
    let page = if target.form == Form::Parquet { PAGE } else { 0 };
    let most = PER_BYTE * data.len() + FREE + page;
    if bytes > most {
        return Err(format!("{} held {bytes} bytes for a file of {}", target.name, data.len()));
    }
    Ok(())
}

fn survives(name: &str) {
    let _turn = turn();
    keep_caught_panics_quiet();
    let target = targets::named(name);
    let seeds = (target.seeds)();
    for seed in &seeds {
        (target.read)(seed).unwrap_or_else(|error| panic!("{name}: a valid file is refused: {error}"));
        attempt(&target, seed).unwrap();
    }
    if let Some(file) = std::env::var_os(FILE) {
        return attempt(&target, &std::fs::read(file).unwrap()).unwrap();
    }
    let cases = from_environment("PERK_FUZZ_CASES", CASES);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let seed: Vec<u8> = from_environment("PERK_FUZZ_SEED", 0).to_le_bytes().repeat(8);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let files = (select(seeds), vec(mutate::change(), 1..=MOST_CHANGES));
    let outcome = TestRunner::new_with_rng(config, rng).run(&files, |(seed, changes)| {
        let data = changes.iter().fold(seed, |data, change| change.apply(target.form, &data));
        attempt(&target, &data)
            .map_err(|reason| TestCaseError::fail(format!("{reason}\nthe file: {}", data.escape_ascii())))
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// A test for each target, and one that none is forgotten.
macro_rules! readers {
    ($($(#[$attribute:meta])* $test:ident: $name:literal,)*) => {
        $(
            #[test]
            $(#[$attribute])*
            fn $test() {
                survives($name);
            }
        )*

        #[test]
        fn every_target_has_its_test() {
            let mut tested = [$($name),*];
            let mut there: Vec<&str> = targets::all().iter().map(|target| target.name).collect();
            tested.sort_unstable();
            there.sort_unstable();
            assert_eq!(tested.as_slice(), there);
        }
    };
}

readers! {
    adapter_tensors_are_read_or_refused: "adapter-tensors",
    adapter_configurations_are_read_or_refused: "adapter-config",
    records_are_read_or_refused: "record",
    base_tensors_are_read_or_refused: "base-tensors",
    lists_of_shards_are_read_or_refused: "base-index",
    base_configurations_are_read_or_refused: "base-config",
    tokenizers_are_read_or_refused: "tokenizer",
    tokenizer_settings_are_read_or_refused: "tokenizer-config",
    chat_templates_are_read_or_refused: "chat-template",
    generation_settings_are_read_or_refused: "generation-config",
    bases_in_one_file_are_read_or_refused: "base-gguf",
    a_cached_revision_is_in_the_cache_or_refused: "hub-cache",
    configurations_are_read_or_refused: "config",
    recipes_of_bases_are_read_or_refused: "base-recipe",
    episodes_are_read_or_refused: "episodes",
    contexts_are_read_or_refused: "context",
    questions_are_read_or_refused: "questions",
    babi_files_are_read_or_refused: "babi",
    chats_are_read_or_refused: "chat-request",
    completions_are_read_or_refused: "completion-request",
    documents_are_read_or_refused: "document-request",
    books_are_read_or_refused: "background",
    rows_of_babilong_are_read_or_refused: "babilong-rows",
    parquet_files_are_read_or_refused: "parquet-snappy",
    parquet_files_in_zstd_are_read_or_refused: "parquet-zstd",
    rows_of_hotpotqa_are_read_or_refused: "hotpotqa",
    rows_of_triviaqa_are_read_or_refused: "triviaqa",
    rows_of_apibench_are_read_or_refused: "api-retrieval",
    files_of_questions_are_read_or_refused: "files",
    checkpoint_tensors_are_read_or_refused: "checkpoint-tensors",
    run_states_are_read_or_refused: "run-state",
    metrics_are_read_or_refused: "metrics",
    journals_of_evaluations_are_read_or_refused: "eval-journal",
    settings_of_evaluations_are_read_or_refused: "eval-settings",
    answers_are_read_or_refused: "answers",
}
