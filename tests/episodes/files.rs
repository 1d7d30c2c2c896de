//! Episodes and background from files.

use std::collections::HashSet;

use perk::config::{BackgroundSource, DataConfig, Objective, Task};
use perk::tasks::{Encoder, EpisodeSource, Split, babi, open};
use perk::text::Tokenizer;

use crate::shared_folder::shared;
use crate::solver::Solver;
use crate::{is_fact, lines, plain, tokenizer};

#[test]
fn a_jsonl_file_is_parted_by_context_and_each_round_of_training_has_a_new_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.jsonl");
    let line = |i: usize| {
        format!("{{\"context\":\"The note {}.\",\"question\":\"Q{i}?\",\"answer\":\"a\"}}\n", i / 2)
    };
    std::fs::write(&path, (0..40).map(line).collect::<String>()).unwrap();
    let config = DataConfig { task: Task::Files, files: vec![path.clone()], ..DataConfig::default() };
    let open_split = |split| open(&config, &tokenizer(), split, 1, 0).unwrap();
    let (train, held_out) = (open_split(Split::Train), open_split(Split::HeldOut));
    assert_eq!((train.len(), held_out.len()), (Some(36), Some(4)), "two questions for each of 20 contexts");
    let contexts = |source: &dyn EpisodeSource, from: u64, to: u64| -> Vec<String> {
        (from..to).map(|i| source.episode(i).unwrap().documents[0].clone()).collect()
    };
    let set = |texts: &[String]| texts.iter().cloned().collect::<HashSet<_>>();
    let (first, second) = (contexts(&*train, 0, 36), contexts(&*train, 36, 72));
    assert_eq!((set(&first), first == second), (set(&second), false));
    assert!(set(&first).is_disjoint(&set(&contexts(&*held_out, 0, 4))));
    assert!(held_out.episode(4).unwrap_err().to_string().contains("no episode 4"));
    assert!(
        open(&config, &tokenizer(), Split::HeldOut, 2, 0).err().unwrap().to_string().contains("lengthened")
    );
    std::fs::write(&path, line(0)).unwrap();
    let error = open(&config, &tokenizer(), Split::Train, 1, 0).err().unwrap().to_string();
    assert!(error.contains("notes.jsonl") && error.contains("held_out_files"), "{error}");
}

#[test]
fn a_background_that_is_too_short_is_an_error_and_not_a_repetition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.txt");
    std::fs::write(&path, "One thing happened. Another thing happened. It was over. We left.").unwrap();
    let background = BackgroundSource::Path(path);
    let config = DataConfig { background, context_tokens: 4_000, ..DataConfig::default() };
    let source = open(&config, &tokenizer(), Split::Train, 1, 0).unwrap();
    let error = source.episode(0).unwrap_err().to_string();
    assert!(error.contains("short.txt") && error.contains("4000"), "{error}");
    let config = DataConfig { background: BackgroundSource::None, ..config };
    let source = open(&config, &tokenizer(), Split::Train, 1, 0).unwrap();
    assert!(lines(&source.episode(0).unwrap()).into_iter().all(is_fact));
}

/// What holds of the real data that is not part of this repository.
mod shared_data {
    use super::*;

    #[test]
    #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
    fn all_real_babi_files_are_read() {
        let folder = shared("babi/official_v1.2");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let stories = babi::read(&entry.unwrap().path()).unwrap();
            assert_eq!(stories.iter().map(|s| s.questions.len()).sum::<usize>(), 1_000);
            files += 1;
        }
        assert_eq!(files, 20);
    }

    #[test]
    #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
    fn real_babi_questions_are_answered_by_their_facts_hidden_in_real_books() {
        let (babi, books) = (shared("babi/official_v1.2"), shared("books"));
        let qwen = shared("tokenizers/qwen2_5");
        let tokenizer = Tokenizer::from_folder(&qwen, None).unwrap();
        for file in ["qa1_single-supporting-fact_train.txt", "qa2_two-supporting-facts_train.txt"] {
            let config = DataConfig {
                task: Task::Babi,
                files: vec![babi.join(file)],
                background: BackgroundSource::Path(books.clone()),
                background_min_tokens: 6,
                context_tokens: 1_024,
                segment_tokens: 256,
                ..DataConfig::default()
            };
            let source = open(&config, &tokenizer, Split::HeldOut, 1, 0).unwrap();
            let encoder = Encoder::new(&config, tokenizer.clone(), 0).unwrap();
            for index in 0..source.len().unwrap().min(40) {
                let episode = source.episode(index).unwrap();
                let support = &episode.qa[0].support;
                assert!(
                    !support.is_empty() && support.iter().all(|s| episode.documents[0].contains(s.as_str()))
                );
                let facts: Vec<&str> =
                    lines(&episode).into_iter().filter(|l| l.contains(" Event ")).map(plain).collect();
                assert_eq!(Solver::read(facts).answer(&episode.qa[0].question), episode.qa[0].answer());
                let encoded = encoder.encode(&episode, index, Split::HeldOut, Objective::Perk).unwrap();
                assert!(encoded.segments.iter().all(|s| s.tokens.len() - s.loss_from <= 256));
                let joined: Vec<u32> =
                    encoded.segments.iter().flat_map(|s| s.tokens[s.loss_from..].to_vec()).collect();
                let whole = tokenizer.encode(&format!(" {}", episode.documents[0])).unwrap();
                assert_eq!(joined, whole, "cutting changes the tokens");
                let text: usize = encoded.segments.iter().map(|s| s.tokens.len() - s.loss_from).sum();
                assert!((900..=1_100).contains(&text) || text > 1_100 && support.len() == 2, "{text}");
            }
        }
    }
}
