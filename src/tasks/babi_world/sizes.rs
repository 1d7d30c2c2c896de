//! Task 18: what fits in what.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::story_builder::StoryBuilder;
use super::words::{distinct, pick_some, yes_no};

/// From small to large; the last four in any order.
const THINGS: [&str; 6] = ["chocolate", "box of chocolates", "box", "suitcase", "chest", "container"];

/// Facts told at a time.
const FACTS: usize = 5;

/// Smaller thing, larger thing and the fact that compares them.
type Told = (usize, usize, usize);

/// Task 18, `Does the box fit in the chest?`: by way of a third thing.
pub(super) fn fit(rng: &mut ChaCha8Rng) -> BabiSample {
    let mut things = THINGS;
    things[2..].shuffle(rng);
    let mut story = StoryBuilder::default();
    let mut told: Vec<Told> = Vec::new();
    let chain = loop {
        (0..FACTS).for_each(|_| compare(&things, &mut told, &mut story, rng));
        if let Some(chain) = pick_some(&chains(&told), rng) {
            break chain;
        }
    };
    let (first, second) = chain;
    let (small, large) = (things[first.0], things[second.1]);
    let (fits, yes) = (rng.random_bool(0.5), rng.random_bool(0.5));
    let (one, two) = if fits == yes { (small, large) } else { (large, small) };
    let question = if fits {
        format!("Does the {one} fit in the {two}?")
    } else {
        format!("Is the {one} bigger than the {two}?")
    };
    story.ask(question, yes_no(yes), &[first.2, second.2]);
    story.one_question(rng)
}

fn compare(things: &[&str; 6], told: &mut Vec<Told>, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
    let [one, two] = distinct::<2>(things.len(), rng);
    let (small, large) = (one.min(two), one.max(two));
    let fact = if rng.random_bool(0.5) {
        format!("The {} fits inside the {}.", things[small], things[large])
    } else {
        format!("The {} is bigger than the {}.", things[large], things[small])
    };
    told.push((small, large, story.tell(fact)));
}

/// Pairs of facts that together compare two things.
fn chains(told: &[Told]) -> Vec<(Told, Told)> {
    let pairs = told.iter().flat_map(|&first| told.iter().map(move |&second| (first, second)));
    pairs.filter(|(first, second)| first.1 == second.0).collect()
}
