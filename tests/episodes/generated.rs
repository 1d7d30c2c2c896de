//! Generated worlds and their contexts.

use std::collections::{HashMap, HashSet};

use perk::config::{DataConfig, Task, WorldConfig};
use perk::tasks::{Episode, Split, open};

use crate::solver::Solver;
use crate::{episodes, generated, is_fact, lines, plain, tokenizer};

#[test]
fn an_independent_reader_finds_every_answer_in_the_facts_and_in_the_support_alone() {
    for task in [Task::Qa1, Task::Qa2, Task::Qa3] {
        for seed in 0..3 {
            for episode in episodes(&generated(task), Split::Train, 1, seed, 150) {
                let facts: Vec<&str> =
                    lines(&episode).into_iter().filter(|l| is_fact(l)).map(plain).collect();
                let solver = Solver::read(facts);
                let questions: HashSet<&str> = episode.qa.iter().map(|qa| qa.question.as_str()).collect();
                assert_eq!(questions.len(), episode.qa.len());
                for qa in &episode.qa {
                    assert_eq!(solver.answer(&qa.question), qa.answer(), "{episode:?}");
                    // The solver follows the story, the support the reasoning.
                    let told =
                        lines(&episode).into_iter().filter(|line| qa.support.iter().any(|s| s == line));
                    let alone = Solver::read(told.map(plain)).answer(&qa.question);
                    assert_eq!(alone, qa.answer(), "{qa:?} of {:?}", lines(&episode));
                    assert!(qa.support.len() <= [1, 2, 4][task as usize], "{qa:?}");
                }
            }
        }
    }
}

#[test]
fn the_facts_behind_an_answer_come_in_the_order_of_the_reasoning() {
    for task in [Task::Qa2, Task::Qa3] {
        for episode in episodes(&generated(task), Split::Train, 1, 0, 100) {
            for qa in &episode.qa {
                let words: Vec<&str> = qa.question.trim_end_matches('?').split(' ').collect();
                let (thing, last) = (words[3], qa.support.last());
                assert!(qa.support[0].contains(&format!(" the {thing}")), "its handling comes first: {qa:?}");
                assert!(
                    last.unwrap().contains(&format!(" the {}.", qa.answer())),
                    "the answer's place last: {qa:?}"
                );
                if task == Task::Qa3 {
                    let there = format!(" the {}.", words[words.len() - 1]);
                    let places = qa.support.iter().position(|fact| fact.contains(&there));
                    assert!(places.unwrap() < qa.support.len() - 1, "later place before earlier: {qa:?}");
                }
            }
        }
    }
}

#[test]
fn nobody_moves_to_where_they_are_or_handles_what_is_elsewhere() {
    for episode in (0..5).flat_map(|seed| episodes(&generated(Task::Qa3), Split::Train, 1, seed, 100)) {
        let (mut people, mut holders, mut lying) = (HashMap::new(), HashMap::new(), HashMap::new());
        for fact in lines(&episode).into_iter().filter(|l| is_fact(l)).map(plain) {
            let words: Vec<&str> = fact.trim_end_matches('.').split(' ').filter(|w| *w != "there").collect();
            let (name, what) = (words[0], *words.last().unwrap());
            match words[1] {
                "moved" | "went" | "journeyed" | "travelled" => {
                    assert_ne!(people.insert(name, what), Some(what), "{fact}");
                }
                "picked" | "got" | "took" | "grabbed" => {
                    assert_eq!(holders.insert(what, name), None, "{fact}");
                    assert!(lying.remove(what).is_none_or(|place| place == people[name]), "{fact}");
                }
                _ => {
                    assert_eq!(holders.remove(what), Some(name), "{fact}");
                    lying.insert(what, people[name]);
                }
            }
        }
    }
}

#[test]
fn events_are_numbered_per_person_and_facts_keep_their_order() {
    for episode in episodes(&generated(Task::Qa2), Split::HeldOut, 2, 5, 100) {
        let mut next: HashMap<String, usize> = HashMap::new();
        for line in lines(&episode).into_iter().filter(|l| is_fact(l)) {
            let name = line.split(' ').next().unwrap();
            let number = next.entry(name.into()).or_default();
            assert!(line.starts_with(&format!("{name} Event {number}: {name} ")), "{line}");
            *number += 1;
        }
    }
}

#[test]
fn longer_contexts_have_the_same_facts_and_questions_and_more_background() {
    let tokenizer = tokenizer();
    let config = DataConfig { context_tokens: 80, ..DataConfig::default() };
    let short = episodes(&config, Split::HeldOut, 1, 7, 30);
    for multiple in [2, 16] {
        for (a, b) in short.iter().zip(episodes(&config, Split::HeldOut, multiple, 7, 30)) {
            assert_eq!(a.qa, b.qa);
            let facts = |e: &Episode| {
                lines(e).into_iter().filter(|l| is_fact(l)).map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(facts(a), facts(&b));
            let tokens = tokenizer.encode(&b.documents[0]).unwrap().len();
            let target = 80 * multiple;
            assert!(tokens <= target && tokens + 14 > target, "{tokens} of {target}");
            let different: HashSet<&str> = lines(&b).into_iter().collect();
            assert_eq!(different.len(), lines(&b).len(), "a line repeats");
        }
    }
}

#[test]
fn facts_lie_anywhere_in_a_context() {
    let world = WorldConfig { min_facts: 1, max_facts: 1, ..WorldConfig::default() };
    let config = DataConfig { world, context_tokens: 200, ..DataConfig::default() };
    let place = |episode: &Episode| {
        let lines = lines(episode);
        lines.iter().position(|l| is_fact(l)).unwrap() * 4 / lines.len()
    };
    let mut quarters = [0; 4];
    episodes(&config, Split::Train, 1, 0, 400).iter().for_each(|e| quarters[place(e)] += 1);
    assert!(quarters.iter().all(|n| (60..=140).contains(n)), "{quarters:?}");
}

#[test]
fn training_and_held_out_episodes_share_no_background_and_no_stream() {
    let config = generated(Task::Qa1);
    let background = |split| -> HashSet<String> {
        let all = episodes(&config, split, 4, 0, 100);
        all.iter().flat_map(|e| lines(e)).filter(|l| !is_fact(l)).map(str::to_owned).collect()
    };
    let (train, held_out) = (background(Split::Train), background(Split::HeldOut));
    assert!(train.len() > 1_000 && held_out.len() > 1_000);
    assert!(train.is_disjoint(&held_out));
    let qa = |split| episodes(&config, split, 1, 0, 20).into_iter().map(|e| e.qa).collect::<Vec<_>>();
    assert_ne!(qa(Split::Train), qa(Split::HeldOut));
}

#[test]
fn other_questions_are_asked_in_training_alone_and_leave_the_story_as_it_is() {
    for (task, others) in [(Task::Qa3, vec![Task::Qa1, Task::Qa2]), (Task::Qa2, vec![Task::Qa1])] {
        let plain = DataConfig { questions: 2, ..generated(task) };
        let mixed = DataConfig { also_asked: others, ..plain.clone() };
        for split in [Split::Train, Split::HeldOut] {
            let (alone, both) = (episodes(&plain, split, 1, 0, 40), episodes(&mixed, split, 1, 0, 40));
            for (alone, both) in alone.iter().zip(&both) {
                assert_eq!(alone.documents, both.documents);
                assert_eq!(alone.qa, both.qa[..alone.qa.len()], "the task's own questions come first");
                let more = &both.qa[alone.qa.len()..];
                assert_eq!(more.is_empty(), split == Split::HeldOut);
                assert!(more.iter().all(|qa| qa.question.starts_with("Where is ") && !qa.support.is_empty()));
            }
        }
    }
}

#[test]
fn an_episode_depends_on_seed_and_index_alone() {
    let tokenizer = tokenizer();
    for task in [Task::Qa1, Task::Qa2, Task::Qa3] {
        let config = generated(task);
        let source = |seed| open(&config, &tokenizer, Split::Train, 2, seed).unwrap();
        let (a, b, other) = (source(1), source(1), source(2));
        let late = a.episode(1_000_000).unwrap();
        let first: Vec<Episode> = (0..10).map(|i| a.episode(i).unwrap()).collect();
        assert!((0..10).rev().all(|i| b.episode(i).unwrap() == first[i as usize]));
        assert_eq!(b.episode(1_000_000).unwrap(), late);
        assert_ne!(other.episode(0).unwrap().documents, first[0].documents);
        assert_eq!(a.len(), None);
    }
}
