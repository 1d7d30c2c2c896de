//! Words and forms of sentences against those of the published files.

use std::collections::BTreeSet;

use perk::tasks::babi_world::{BabiSample, BabiTask};

use crate::{published_samples, told};

/// Words that stand for each other; longer ones first. Verbs stay as they are.
const CLASSES: [(&str, &[&str]); 8] = [
    ("<shape>", &["pink rectangle", "blue square", "red square", "yellow square", "red sphere", "triangle"]),
    ("<size>", &["box of chocolates", "chocolate", "suitcase", "container", "chest", "box"]),
    ("<person>", &["Mary", "John", "Sandra", "Daniel", "Bill", "Fred", "Jeff", "Julie"]),
    (
        "<animal>",
        &[
            "Lily", "Bernhard", "Greg", "Julius", "Brian", "Gertrude", "Winona", "Emily", "Jessica",
            "gertrude", "winona", "emily", "jessica",
        ],
    ),
    ("<kind>", &["frog", "lion", "swan", "rhino", "mouse", "wolf", "cat", "sheep"]),
    ("<colour>", &["green", "white", "gray", "yellow"]),
    (
        "<place>",
        &["kitchen", "garden", "hallway", "bathroom", "bedroom", "office", "school", "park", "cinema"],
    ),
    ("<thing>", &["football", "milk", "apple"]),
];

/// The sentence with classes for words.
fn form(sentence: &str) -> String {
    let mut form = sentence.to_owned();
    for (class, words) in CLASSES {
        words.iter().for_each(|word| form = form.replace(word, class));
    }
    form
}

fn forms<'a>(samples: impl IntoIterator<Item = &'a BabiSample>) -> BTreeSet<String> {
    let sentences = samples.into_iter().flat_map(|sample| sample.facts.iter().chain([&sample.question]));
    sentences.map(|sentence| form(sentence)).collect()
}

/// Words of facts, questions and answers; the parts of lists are words.
fn vocabulary<'a>(samples: impl IntoIterator<Item = &'a BabiSample>) -> BTreeSet<&'a str> {
    let sentences =
        samples.into_iter().flat_map(|sample| sample.facts.iter().chain([&sample.question, &sample.answer]));
    sentences.flat_map(|sentence| sentence.split([' ', ',', '.', '?'])).collect()
}

/// What holds of the real data that is not part of this repository.
mod shared_data {
    use super::*;

    #[test]
    #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
    fn the_words_are_exactly_those_of_the_published_files() {
        for task in BabiTask::ALL {
            let theirs = published_samples(task);
            let ours: Vec<_> = told(task, 2_000).collect();
            assert_eq!(vocabulary(&ours), vocabulary(&theirs), "{task}");
        }
    }

    #[test]
    #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
    fn the_forms_of_sentences_are_exactly_those_of_the_published_files() {
        for task in BabiTask::ALL {
            let theirs = published_samples(task);
            let ours: Vec<_> = told(task, 2_000).collect();
            let (ours, theirs) = (forms(&ours), forms(&theirs));
            println!("{task}: {} forms, published {}", ours.len(), theirs.len());
            let more: Vec<_> = ours.difference(&theirs).collect();
            let fewer: Vec<_> = theirs.difference(&ours).collect();
            assert!(
                more.is_empty() && fewer.is_empty(),
                "{task}: only ours {more:?}, only published {fewer:?}"
            );
        }
    }
}
