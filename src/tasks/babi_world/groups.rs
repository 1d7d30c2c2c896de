//! Tasks 11, 12 and 13: where people are, told of two at once or with pronouns.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::story_builder::{StoryBuilder, Teller, listen};
use super::words::{PEOPLE, ROOMS, distinct, other, pick_some, went};

/// Ways to begin the second sentence about the same people.
const THEN: [&str; 4] = ["Then", "After that", "Afterwards", "Following that"];

/// Task 11: `After that she went to the kitchen.`
pub(super) fn pronoun(rng: &mut ChaCha8Rng) -> BabiSample {
    listen(Walks::new(1, true, 0.25), rng)
}

/// Task 12: `Mary and John went to the kitchen.`
pub(super) fn conjunction(rng: &mut ChaCha8Rng) -> BabiSample {
    listen(Walks::new(2, false, 0.25), rng)
}

/// Task 13: `Then they went to the kitchen.`
pub(super) fn they(rng: &mut ChaCha8Rng) -> BabiSample {
    listen(Walks::new(2, true, 0.8), rng)
}

/// Where each person is, with the facts that say so.
struct Walks {
    group: usize,
    /// Whether each second fact has a pronoun for the group of the first.
    pronouns: bool,
    /// How often the question is surely about the last group.
    about_last: f64,
    known: [Option<(usize, Vec<usize>)>; 4],
    last: Vec<usize>,
}

impl Walks {
    fn new(group: usize, pronouns: bool, about_last: f64) -> Self {
        Self { group, pronouns, about_last, known: Default::default(), last: Vec::new() }
    }

    /// The group goes somewhere; `context` is the fact that the sentence needs to be understood.
    fn go(
        &mut self,
        subject: &str,
        context: Option<usize>,
        story: &mut StoryBuilder,
        rng: &mut ChaCha8Rng,
    ) -> usize {
        let places = self.last.iter().filter_map(|&who| self.known[who].as_ref().map(|known| known.0));
        let place = other(ROOMS.len(), &places.collect::<Vec<_>>(), rng);
        let fact = story.tell(format!("{subject} {}.", went(ROOMS[place], rng)));
        for &who in &self.last {
            self.known[who] = Some((place, context.into_iter().chain([fact]).collect()));
        }
        fact
    }

    /// A new group goes somewhere.
    fn set_out(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) -> usize {
        self.last = distinct::<2>(4, rng)[..self.group].to_vec();
        let names: Vec<&str> = self.last.iter().map(|&who| PEOPLE[who]).collect();
        self.go(&names.join(" and "), None, story, rng)
    }

    /// `she`, `he` or `they`.
    fn pronoun(&self) -> &'static str {
        match self.last[..] {
            [one] if matches!(PEOPLE[one], "Mary" | "Sandra") => "she",
            [_] => "he",
            _ => "they",
        }
    }
}

impl Teller for Walks {
    fn tell_on(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) -> bool {
        let first = self.set_out(story, rng);
        if self.pronouns {
            let then = THEN[rng.random_range(0..THEN.len())];
            self.go(&format!("{then} {}", self.pronoun()), Some(first), story, rng);
        } else {
            self.set_out(story, rng);
        }
        true
    }

    fn ask(&self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
        let about_last = rng.random_bool(self.about_last);
        let asked = |who: &usize| self.known[*who].is_some() && (!about_last || self.last.contains(who));
        let people: Vec<usize> = (0..PEOPLE.len()).filter(asked).collect();
        let Some(who) = pick_some(&people, rng) else { return };
        if let Some((place, support)) = &self.known[who] {
            story.ask(format!("Where is {}?", PEOPLE[who]), ROOMS[*place], support);
        }
    }
}
