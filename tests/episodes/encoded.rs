//! Episodes in tokens.

use std::collections::HashSet;

use perk::config::{CorpusConfig, DataConfig, Objective, Target, TargetConfig, Task, WorldConfig};
use perk::pretrain::Corpus;
use perk::tasks::{Encoder, Episode, Split};
use perk::text::Sequence;

use crate::{episodes, generated, tokenizer};

#[test]
fn segments_are_whole_sentences_within_the_limit_and_together_the_text() {
    let tokenizer = tokenizer();
    for segment_tokens in [14, 25, 40] {
        let config = DataConfig { segment_tokens, ..generated(Task::Qa2) };
        let encoder = Encoder::new(&config, tokenizer.clone(), 0).unwrap();
        for (index, episode) in (0..).zip(episodes(&config, Split::HeldOut, 2, 3, 40)) {
            let encoded = encoder.encode(&episode, index, Split::HeldOut, Objective::Perk).unwrap();
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
    let encoder = |config: &DataConfig, seed| Encoder::new(config, tokenizer.clone(), seed).unwrap();
    let (mut shuffled, mut firsts) = (0, HashSet::new());
    for (index, episode) in (0..).zip(episodes(&config, Split::Train, 1, 3, 40)) {
        let texts = |encoder: &Encoder, split| -> Vec<Vec<u32>> {
            let encoded = encoder.encode(&episode, index, split, Objective::Perk).unwrap();
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
        let encoded = encoder(&config, 0).encode(&episode, index, Split::Train, Objective::Perk).unwrap();
        assert_eq!(
            encoded,
            encoder(&config, 0).encode(&episode, index, Split::Train, Objective::Perk).unwrap()
        );
        firsts.insert(encoded.segments[0].tokens[..encoded.segments[0].loss_from].to_vec());
    }
    assert!(shuffled > 30 && firsts.len() > 15, "{shuffled} {}", firsts.len());
}

#[test]
fn the_background_of_training_counts_as_often_as_the_episode_draws_and_facts_once() {
    let tokenizer = tokenizer();
    let config = DataConfig { background_repeats: 1000.0, context_tokens: 80, ..generated(Task::Qa1) };
    let encoder = Encoder::new(&config, tokenizer.clone(), 0).unwrap();
    let mut magnitudes = [0; 3];
    for (index, episode) in (0..).zip(episodes(&config, Split::Train, 1, 0, 80)) {
        let encode = |split| encoder.encode(&episode, index, split, Objective::Perk).unwrap();
        let (trained, held_out) = (encode(Split::Train), encode(Split::HeldOut));
        assert!(held_out.segments.iter().all(|segment| segment.weights.is_none()));
        assert_eq!(trained, encode(Split::Train), "the draw is not of seed and index alone");
        let counts: Vec<f64> = trained.segments.iter().flat_map(Sequence::predicted_weights).collect();
        let length = |fact: &String| tokenizer.encode(fact.trim()).unwrap().len();
        let facts: usize = episode.facts.iter().map(length).sum();
        if facts == counts.len() {
            continue;
        }
        let repeats = counts.iter().copied().fold(1.0, f64::max);
        magnitudes[repeats.log10().floor() as usize] += 1;
        assert_eq!(counts.iter().filter(|&&count| count == 1.0).count(), facts);
        assert_eq!(counts.iter().filter(|&&count| count == repeats).count(), counts.len() - facts);
    }
    assert!(magnitudes.iter().all(|&episodes| episodes > 5), "{magnitudes:?}");
    let story = &episodes(&config, Split::Train, 1, 0, 1)[0];
    let facts = vec!["Mary is elsewhere.".to_owned()];
    let stranger = Episode { facts, ..story.clone() };
    let refused = encoder.encode(&stranger, 0, Split::Train, Objective::Perk).unwrap_err().to_string();
    assert!(
        refused.contains("`Mary is elsewhere.`") && refused.contains("data.background_repeats"),
        "{refused}"
    );
    let unknown = Episode { facts: vec![], ..episodes(&config, Split::Train, 1, 0, 1).remove(0) };
    let encoded = encoder.encode(&unknown, 0, Split::Train, Objective::Perk).unwrap();
    assert!(encoded.segments.iter().all(|segment| segment.weights.is_none()));
}

#[test]
fn repeats_of_the_background_grow_by_equal_factors_over_the_ramp() {
    let (tokenizer, ramp) = (tokenizer(), 40);
    let whole = DataConfig { background_repeats: 1e4, context_tokens: 80, ..generated(Task::Qa1) };
    let ramped = DataConfig { background_repeats_ramp: ramp, ..whole.clone() };
    let most = |config: &DataConfig, index: u64, episode: &Episode| {
        let encoder = Encoder::new(config, tokenizer.clone(), 0).unwrap();
        let encoded = encoder.encode(episode, index, Split::Train, Objective::Perk).unwrap();
        encoded.segments.iter().flat_map(Sequence::predicted_weights).fold(1.0, f64::max)
    };
    let mut grown = 0;
    for (index, episode) in (0..).zip(episodes(&whole, Split::Train, 1, 0, 50)) {
        let (all, part) = (most(&whole, index, &episode), most(&ramped, index, &episode));
        let expected = all.ln() * ((index + 1) as f64 / ramp as f64).min(1.0);
        assert!((part.ln() - expected).abs() < 1e-9, "episode {index}: {part} of {all}");
        grown += usize::from(all > 1.0 && part < all);
    }
    assert!(grown > 10, "{grown}");
}

#[test]
fn a_query_predicts_answer_and_end_and_reads_the_rest() {
    let tokenizer = tokenizer();
    let config =
        DataConfig { prompt: "Question: {question} Answer: {answer}".into(), ..generated(Task::Qa1) };
    let encoder = Encoder::new(&config, tokenizer.clone(), 0).unwrap();
    let episode = episodes(&config, Split::Train, 1, 0, 1).remove(0);
    let encode = |objective| encoder.encode(&episode, 0, Split::Train, objective).unwrap();
    let (encoded, in_context) = (encode(Objective::Perk), encode(Objective::InContext));
    assert_eq!((encoded.queries.len(), &encoded.segments), (episode.qa.len(), &in_context.segments));
    let context = &episode.documents[0];
    for ((query, in_context), qa) in encoded.queries.iter().zip(&in_context.queries).zip(&episode.qa) {
        let prompt = format!("Question: {} Answer:", qa.question);
        let answer = [tokenizer.encode(qa.answer()).unwrap(), vec![tokenizer.end_id()]].concat();
        for (query, prompt, context) in [
            (query, prompt.clone(), None),
            (in_context, format!("{context}\n{prompt}"), Some(context.as_str())),
        ] {
            let prompt = tokenizer.encode(&prompt).unwrap();
            assert_eq!(query.loss_from, prompt.len());
            assert_eq!(query.tokens, [prompt.clone(), answer.clone()].concat());
            assert_eq!(encoder.prompt(encoded.segments.len(), &qa.question, context).unwrap(), prompt);
        }
    }
    let default = Encoder::new(&generated(Task::Qa1), tokenizer.clone(), 0).unwrap();
    let said = format!("You have memorized 7 documents.\n{}\nAnswer:", episode.qa[0].question);
    assert_eq!(default.prompt(7, &episode.qa[0].question, None).unwrap(), tokenizer.encode(&said).unwrap());
}

#[test]
fn a_begin_token_stands_before_segments_and_prompts_and_before_nothing_else() {
    let plain = tokenizer();
    let begin = plain.token_id("<pad>").unwrap();
    let config = generated(Task::Qa1);
    let encode = |tokenizer: &perk::text::Tokenizer| {
        let episode = episodes(&config, Split::Train, 1, 0, 1).remove(0);
        let encoder = Encoder::new(&config, tokenizer.clone(), 0).unwrap();
        encoder.encode(&episode, 0, Split::Train, Objective::Perk).unwrap()
    };
    let (with, without) = (encode(&plain.beginning_with("<pad>").unwrap()), encode(&plain));
    let behind = |tokens: &[u32]| [&[begin], tokens].concat();
    for (with, without) in with.segments.iter().zip(&without.segments) {
        assert_eq!(with.tokens, behind(&without.tokens));
        assert_eq!(with.loss_from, without.loss_from + 1);
    }
    for (with, without) in with.queries.iter().zip(&without.queries) {
        assert_eq!(with.tokens, behind(&without.tokens));
        assert_eq!(with.loss_from, without.loss_from + 1);
    }
    let prompt = |tokenizer: &perk::text::Tokenizer, context| {
        Encoder::new(&config, tokenizer.clone(), 0).unwrap().prompt(1, "Where is Mary?", context).unwrap()
    };
    for context in [None, Some("Mary ran.")] {
        assert_eq!(
            prompt(&plain.beginning_with("<pad>").unwrap(), context),
            behind(&prompt(&plain, context))
        );
    }
}

fn reasoning(task: Task, target: TargetConfig) -> DataConfig {
    let target = TargetConfig {
        target: Target::Reasoning,
        reasoning_form: "{support} Answer: {answer}".into(),
        ..target
    };
    DataConfig { prompt: "Question: {question} Answer: {answer}".into(), target, ..generated(task) }
}

#[test]
fn the_loss_of_a_reasoned_answer_covers_exactly_the_targets_tokens() {
    let tokenizer = tokenizer();
    for task in [Task::Qa1, Task::Qa2, Task::Qa3] {
        let config = reasoning(task, TargetConfig::default());
        let encoder = Encoder::new(&config, tokenizer.clone(), 0).unwrap();
        for (index, episode) in (0..).zip(episodes(&config, Split::Train, 1, 0, 20)) {
            for objective in [Objective::Perk, Objective::InContext] {
                let encoded = encoder.encode(&episode, index, Split::Train, objective).unwrap();
                for (query, qa) in encoded.queries.iter().zip(&episode.qa) {
                    let target = format!("{} Answer: {}", qa.support.join(" "), qa.answer());
                    let expected = [tokenizer.encode(&target).unwrap(), vec![tokenizer.end_id()]].concat();
                    assert_eq!(query.tokens[query.loss_from..], expected, "{target}");
                    assert_eq!(query.predicted(), expected.len());
                    assert!(query.predicted_weights().all(|weight| weight == 1.0));
                    assert_eq!(encoder.facts(qa, &episode.documents[0]), qa.support);
                }
            }
        }
    }
}

#[test]
fn facts_and_answer_may_count_differently_and_the_mark_counts_as_a_fact() {
    let tokenizer = tokenizer();
    let config = reasoning(Task::Qa2, TargetConfig { support_weight: 0.25, ..TargetConfig::default() });
    let encoder = Encoder::new(&config, tokenizer.clone(), 0).unwrap();
    let episode = episodes(&config, Split::Train, 1, 0, 1).remove(0);
    let facts = tokenizer.encode(&format!("{} Answer:", episode.qa[0].support.join(" "))).unwrap().len();
    for objective in [Objective::Perk, Objective::InContext] {
        let encoded = encoder.encode(&episode, 0, Split::Train, objective).unwrap();
        let weights: Vec<f64> = encoded.queries[0].predicted_weights().collect();
        // The answer is one word, and the end token follows it.
        assert_eq!(weights, [vec![0.25; facts], vec![1.0; 2]].concat());
    }
}

#[test]
fn a_reasoned_target_needs_facts_in_training_but_not_to_be_asked() {
    let config = reasoning(Task::Qa1, TargetConfig::default());
    let encoder = Encoder::new(&config, tokenizer(), 0).unwrap();
    let mut episode = episodes(&config, Split::Train, 1, 0, 1).remove(0);
    episode.qa[0].support.clear();
    let message = encoder.encode(&episode, 0, Split::Train, Objective::Perk).unwrap_err().to_string();
    assert!(message.contains(&episode.name) && message.contains("supporting facts"), "{message}");
    assert!(encoder.prompt(3, &episode.qa[0].question, None).is_ok());
    assert!(encoder.facts(&episode.qa[0], &episode.documents[0]).is_empty());
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
                episode.qa.iter().for_each(|qa| covered(&format!("{} {}", qa.question, qa.answer())));
            }
        }
    }
}
