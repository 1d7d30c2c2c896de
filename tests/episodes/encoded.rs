//! Episodes in tokens.

use std::collections::HashSet;

use perk::config::{CorpusConfig, DataConfig, Task, WorldConfig};
use perk::tasks::corpus::Corpus;
use perk::tasks::{Encoder, Split};

use crate::{episodes, generated, tokenizer};

#[test]
fn segments_are_whole_sentences_within_the_limit_and_together_the_text() {
    let tokenizer = tokenizer();
    for segment_tokens in [14, 25, 40] {
        let config = DataConfig { segment_tokens, ..generated(Task::Qa2) };
        let encoder = Encoder::new(&config, tokenizer.clone(), 0);
        for (index, episode) in (0..).zip(episodes(&config, Split::HeldOut, 2, 3, 40)) {
            let encoded = encoder.encode(&episode, index, Split::HeldOut).unwrap();
            let texts: Vec<&[u32]> = encoded.segments.iter().map(|s| &s.tokens[s.loss_from..]).collect();
            assert!(texts.iter().all(|t| t.len() <= segment_tokens));
            assert_eq!(texts.concat(), tokenizer.encode(&episode.documents[0]).unwrap());
            let full_stop = tokenizer.encode(".").unwrap();
            assert!(texts.iter().all(|t| t.ends_with(&full_stop)), "a sentence is cut");
            for (i, pair) in texts.windows(2).enumerate() {
                let next = pair[1].iter().position(|t| *t == full_stop[0]).unwrap() + 1;
                assert!(pair[0].len() + next > segment_tokens, "segment {i} has room for another sentence");
            }
            assert_eq!(
                encoded.context_tokens,
                encoded.segments.iter().map(|s| s.tokens.len()).sum::<usize>()
            );
            for (i, segment) in encoded.segments.iter().enumerate() {
                assert_eq!(
                    segment.tokens[..segment.loss_from],
                    tokenizer.encode(&format!("doc_{i}:")).unwrap()
                );
            }
        }
    }
}

#[test]
fn training_shuffles_and_renumbers_segments_while_held_out_ones_stay_in_order() {
    let tokenizer = tokenizer();
    let config = DataConfig {
        shuffle_segments: true,
        number_offset_max: 90,
        segment_tokens: 20,
        ..generated(Task::Qa1)
    };
    let plain = DataConfig { shuffle_segments: false, number_offset_max: 0, ..config.clone() };
    let encoder = |config: &DataConfig, seed| Encoder::new(config, tokenizer.clone(), seed);
    let (mut shuffled, mut firsts) = (0, HashSet::new());
    for (index, episode) in (0..).zip(episodes(&config, Split::Train, 1, 3, 40)) {
        let texts = |encoder: &Encoder, split| -> Vec<Vec<u32>> {
            let encoded = encoder.encode(&episode, index, split).unwrap();
            encoded.segments.iter().map(|s| s.tokens[s.loss_from..].to_vec()).collect()
        };
        let in_order = texts(&encoder(&plain, 0), Split::Train);
        assert_eq!(texts(&encoder(&config, 0), Split::HeldOut), in_order);
        let mut trained = texts(&encoder(&config, 0), Split::Train);
        shuffled += usize::from(trained != in_order);
        trained.sort();
        let mut sorted = in_order.clone();
        sorted.sort();
        assert_eq!(trained, sorted);
        let encoded = encoder(&config, 0).encode(&episode, index, Split::Train).unwrap();
        assert_eq!(encoded, encoder(&config, 0).encode(&episode, index, Split::Train).unwrap());
        firsts.insert(encoded.segments[0].tokens[..encoded.segments[0].loss_from].to_vec());
    }
    assert!(shuffled > 30 && firsts.len() > 15, "{shuffled} {}", firsts.len());
}

#[test]
fn a_query_predicts_answer_and_end_and_reads_the_rest() {
    let tokenizer = tokenizer();
    let config =
        DataConfig { prompt: "Question: {question} Answer: {answer}".into(), ..generated(Task::Qa1) };
    let encoder = Encoder::new(&config, tokenizer.clone(), 0);
    let episode = episodes(&config, Split::Train, 1, 0, 1).remove(0);
    let encoded = encoder.encode(&episode, 0, Split::Train).unwrap();
    assert_eq!(encoded.queries.len(), episode.qa.len());
    for (query, qa) in encoded.queries.iter().zip(&episode.qa) {
        let prompt = format!("Question: {} Answer:", qa.question);
        assert_eq!(query.prompt, tokenizer.encode(&prompt).unwrap());
        let answer = [tokenizer.encode(&qa.answer).unwrap(), vec![tokenizer.end_id()]].concat();
        assert_eq!(query.answer_tokens, answer);
        assert_eq!(query.training.tokens, [query.prompt.clone(), answer].concat());
        assert_eq!(query.training.loss_from, query.prompt.len());
        let in_context = format!("{}\n{prompt}", episode.documents[0]);
        assert_eq!(query.in_context_prompt(), tokenizer.encode(&in_context).unwrap());
    }
    let default =
        Encoder::new(&generated(Task::Qa1), tokenizer.clone(), 0).encode(&episode, 0, Split::Train).unwrap();
    let said = format!(
        "You have memorized {} documents.\n{}\nAnswer:",
        default.segments.len(),
        episode.qa[0].question
    );
    assert_eq!(default.queries[0].prompt, tokenizer.encode(&said).unwrap());
}

#[test]
fn the_tiny_vocabulary_is_small_and_covers_every_text_that_is_generated() {
    let tokenizer = tokenizer();
    assert!(tokenizer.vocab_size() < 300, "{}", tokenizer.vocab_size());
    let unknown = tokenizer.token_id("<unk>").unwrap();
    let covered = |text: &str| assert!(!tokenizer.encode(text).unwrap().contains(&unknown), "{text}");
    let corpus = Corpus::new(CorpusConfig::default(), 3).unwrap();
    (0..1_500).for_each(|i| covered(&corpus.document(i).unwrap()));
    for task in [Task::Qa1, Task::Qa2, Task::Qa3] {
        let config = generated(task);
        let world = WorldConfig { actors: 8, places: 9, objects: 6, ..config.world };
        let config = DataConfig { world, ..config };
        for split in [Split::Train, Split::HeldOut] {
            for episode in episodes(&config, split, 2, 1, 60) {
                covered(&episode.documents[0]);
                episode.qa.iter().for_each(|qa| covered(&format!("{} {}", qa.question, qa.answer)));
            }
        }
    }
}
