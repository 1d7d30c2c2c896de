//! Tasks 9 and 10: where people are, where facts say so by halves.

use std::cmp::Reverse;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::story_builder::{StoryBuilder, Teller, listen};
use super::words::{PEOPLE, ROOMS, TOWN_PEOPLE, TOWN_PLACES, distinct, other, pick_early, went, yes_no};

/// Task 9: facts like `Mary is no longer in the kitchen.`
pub(super) fn negation(rng: &mut ChaCha8Rng) -> BabiSample {
    listen(Rumours::new(PEOPLE, ROOMS, deny, rng), rng)
}

/// Task 10: facts like `Mary is either in the school or the park.`
pub(super) fn indefinite(rng: &mut ChaCha8Rng) -> BabiSample {
    listen(Rumours::new(TOWN_PEOPLE, TOWN_PLACES, hedge, rng), rng)
}

/// What the last fact says of somebody's place.
#[derive(Clone, Copy)]
enum Said {
    In(usize),
    NotIn(usize),
    Either(usize, usize),
}

struct Person {
    name: &'static str,
    place: usize,
    said: Option<(Said, usize)>,
}

/// Says something by halves of the person: the sentence without the name, and what it says.
type HalfFact = fn(&mut Person, &[&'static str; 6], &mut ChaCha8Rng) -> (String, Said);

struct Rumours {
    people: [Person; 4],
    places: [&'static str; 6],
    half_fact: HalfFact,
}

impl Rumours {
    fn new(
        names: [&'static str; 4],
        places: [&'static str; 6],
        half_fact: HalfFact,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let people = names.map(|name| Person { name, place: rng.random_range(0..places.len()), said: None });
        Self { people, places, half_fact }
    }

    /// Half of the facts are moves, a quarter says `is in`, a quarter speaks by halves.
    fn tell(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
        let person = &mut self.people[rng.random_range(0..4)];
        let (what, said) = if rng.random_bool(0.25) {
            (self.half_fact)(person, &self.places, rng)
        } else {
            person.place = other(self.places.len(), &[person.place], rng);
            let place = self.places[person.place];
            let moved = rng.random_bool(2.0 / 3.0);
            let what = if moved { went(place, rng) } else { format!("is in the {place}") };
            (what, Said::In(person.place))
        };
        person.said = Some((said, story.tell(format!("{} {what}.", person.name))));
    }
}

impl Teller for Rumours {
    fn tell_on(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) -> bool {
        self.tell(story, rng);
        self.tell(story, rng);
        true
    }

    fn ask(&self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
        let known = self.people.iter().filter_map(|person| person.said.map(|said| (person.name, said)));
        let mut known: Vec<_> = known.collect();
        known.sort_unstable_by_key(|&(_, (_, fact))| Reverse(fact));
        let Some((name, (said, fact))) = pick_early(&known, rng) else { return };
        let (this, coin) = (rng.random_bool(0.5), rng.random_bool(0.5));
        let mut another = |taken: &[usize]| other(self.places.len(), taken, rng);
        let (place, answer) = match said {
            Said::In(place) if this => (place, yes_no(true)),
            Said::In(place) => (another(&[place]), yes_no(false)),
            Said::NotIn(place) => (place, yes_no(false)),
            Said::Either(one, two) if this => (if coin { one } else { two }, "maybe"),
            Said::Either(one, two) => (another(&[one, two]), yes_no(false)),
        };
        story.ask(format!("Is {name} in the {}?", self.places[place]), answer, &[fact]);
    }
}

/// The place where the person was told to be, else one where they are not.
fn deny(person: &mut Person, places: &[&'static str; 6], rng: &mut ChaCha8Rng) -> (String, Said) {
    let count = places.len();
    let place = match person.said {
        Some((Said::In(place), _)) => place,
        Some((Said::NotIn(place), _)) => other(count, &[place, person.place], rng),
        _ => other(count, &[person.place], rng),
    };
    if place == person.place {
        person.place = other(count, &[place], rng);
    }
    let not = if rng.random_bool(0.5) { "not" } else { "no longer" };
    (format!("is {not} in the {}", places[place]), Said::NotIn(place))
}

/// A new place and another one, in any order.
fn hedge(person: &mut Person, places: &[&'static str; 6], rng: &mut ChaCha8Rng) -> (String, Said) {
    person.place = other(places.len(), &[person.place], rng);
    let pair = [person.place, other(places.len(), &[person.place], rng)];
    let [one, two] = distinct::<2>(2, rng).map(|i| pair[i]);
    (format!("is either in the {} or the {}", places[one], places[two]), Said::Either(one, two))
}
