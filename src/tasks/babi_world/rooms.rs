//! People who walk between rooms and take, leave and hand over objects: the world of tasks 1 to 3 and 5 to 8.
//!
//! Everybody and everything is somewhere before the story begins; what the facts tell of it is kept apart from
//! where things are, so that a question asks only what was told.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::story_builder::{StoryBuilder, Teller, listen};
use super::words::{ROOMS, TAKES, other, pick, pick_some, went};

/// Objects.
const OBJECTS: [&str; 3] = ["football", "milk", "apple"];
/// Ways to leave an object, before `the apple`.
const DROPS: [&str; 4] = ["dropped", "left", "discarded", "put down"];
/// Ways to hand over an object, before `the apple to`.
const GIVES: [&str; 3] = ["gave", "handed", "passed"];

/// How often people do what, where they can; else they walk.
#[derive(Clone, Copy)]
pub(super) struct Habits {
    pub(super) take: f64,
    pub(super) drop: f64,
    pub(super) give: f64,
    /// How often a taking ends in `there`.
    pub(super) take_there: f64,
}

impl Habits {
    /// They only walk.
    pub(super) const WALK: Self = Self { take: 0.0, drop: 0.0, give: 0.0, take_there: 0.0 };
    /// How often a leaving ends in `there`.
    const DROP_THERE: f64 = 0.2;
}

/// A person.
pub(super) struct Person {
    pub(super) name: &'static str,
    place: usize,
    /// Place and fact of the last move.
    pub(super) moved: Option<(usize, usize)>,
    /// Objects in the order of handling, with the facts.
    pub(super) handled: Vec<(usize, usize)>,
}

/// How an object was carried by one person.
pub(super) struct Carry {
    pub(super) carrier: usize,
    /// The fact of its taking or receiving.
    pub(super) taken: usize,
    /// The fact of its leaving, once it is left.
    pub(super) dropped: Option<usize>,
    /// Where it came by, with the facts of the moves; begins where the carrier was known to be.
    pub(super) way: Vec<(usize, usize)>,
}

/// An object handed over.
#[derive(Clone, Copy)]
pub(super) struct Gift {
    pub(super) thing: usize,
    pub(super) giver: usize,
    pub(super) receiver: usize,
    pub(super) fact: usize,
}

/// An object.
pub(super) struct Thing {
    pub(super) name: &'static str,
    place: usize,
    /// The last carry.
    pub(super) carry: Option<Carry>,
}

impl Thing {
    /// Who has it.
    pub(super) fn holder(&self) -> Option<usize> {
        self.carry.as_ref().filter(|carry| carry.dropped.is_none()).map(|carry| carry.carrier)
    }
}

/// What an asker asks after two facts.
pub(super) type Ask = fn(&World, &mut StoryBuilder, &mut ChaCha8Rng);

/// The world and what was told of it.
pub(super) struct World {
    pub(super) people: Vec<Person>,
    pub(super) things: Vec<Thing>,
    pub(super) gifts: Vec<Gift>,
    habits: Habits,
    ask: Ask,
}

/// A story of these people.
pub(super) fn live(people: [&'static str; 4], habits: Habits, ask: Ask, rng: &mut ChaCha8Rng) -> BabiSample {
    listen(World::new(people, habits, ask, rng), rng)
}

impl Teller for World {
    fn tell_on(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) -> bool {
        self.happen(story, rng);
        self.happen(story, rng);
        true
    }

    fn ask(&self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
        (self.ask)(self, story, rng);
    }
}

impl World {
    fn new(people: [&'static str; 4], habits: Habits, ask: Ask, rng: &mut ChaCha8Rng) -> Self {
        let place = |rng: &mut ChaCha8Rng| rng.random_range(0..ROOMS.len());
        let people = people.map(|name| Person { name, place: place(rng), moved: None, handled: Vec::new() });
        let things = OBJECTS.map(|name| Thing { name, place: place(rng), carry: None });
        Self { people: people.into(), things: things.into(), gifts: Vec::new(), habits, ask }
    }

    /// One event.
    fn happen(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
        let Habits { take, drop, give, .. } = self.habits;
        let wish: f64 = rng.random();
        let done = if wish < take {
            self.take(story, rng)
        } else if wish < take + drop {
            self.drop(story, rng)
        } else if wish < take + drop + give {
            self.give(story, rng)
        } else {
            false
        };
        if !done {
            self.walk(story, rng);
        }
    }

    fn walk(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
        let who = rng.random_range(0..self.people.len());
        let person = &mut self.people[who];
        let place = other(ROOMS.len(), &[person.place], rng);
        let fact = story.tell(format!("{} {}.", person.name, went(ROOMS[place], rng)));
        (person.place, person.moved) = (place, Some((place, fact)));
        for thing in self.things.iter_mut().filter(|thing| thing.holder() == Some(who)) {
            thing.place = place;
            if let Some(carry) = &mut thing.carry {
                carry.way.push((place, fact));
            }
        }
    }

    /// Pairs of person and thing in the same place for which this holds.
    fn together(&self, wanted: impl Fn(usize, &Thing) -> bool) -> Vec<(usize, usize)> {
        let here = |who: usize, thing: &Thing| self.people[who].place == thing.place && wanted(who, thing);
        let things = || self.things.iter().enumerate();
        let pairs =
            |who| things().filter(move |(_, thing)| here(who, thing)).map(move |(what, _)| (who, what));
        (0..self.people.len()).flat_map(pairs).collect()
    }

    fn take(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) -> bool {
        let choices = self.together(|_, thing| thing.holder().is_none());
        let Some((who, what)) = pick_some(&choices, rng) else { return false };
        let there = there(self.habits.take_there, rng);
        let (person, thing) = (self.people[who].name, self.things[what].name);
        let fact = story.tell(format!("{person} {} the {thing}{there}.", pick(&TAKES, rng)));
        self.hand_to(who, what, fact);
        true
    }

    fn drop(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) -> bool {
        let choices = self.together(|who, thing| thing.holder() == Some(who));
        let Some((who, what)) = pick_some(&choices, rng) else { return false };
        let there = there(Habits::DROP_THERE, rng);
        let (person, thing) = (&mut self.people[who], &mut self.things[what]);
        let fact = story.tell(format!("{} {} the {}{there}.", person.name, pick(&DROPS, rng), thing.name));
        person.handled.push((what, fact));
        if let Some(carry) = &mut thing.carry {
            carry.dropped = Some(fact);
        }
        true
    }

    fn give(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) -> bool {
        let choices = self.together(|who, thing| thing.holder().is_some_and(|holder| holder != who));
        let Some((receiver, thing)) = pick_some(&choices, rng) else { return false };
        let Some(giver) = self.things[thing].holder() else { return false };
        let (from, to) = (self.people[giver].name, self.people[receiver].name);
        let fact =
            story.tell(format!("{from} {} the {} to {to}.", pick(&GIVES, rng), self.things[thing].name));
        self.people[giver].handled.push((thing, fact));
        self.hand_to(receiver, thing, fact);
        self.gifts.push(Gift { thing, giver, receiver, fact });
        true
    }

    /// From this fact on the person has the thing.
    fn hand_to(&mut self, who: usize, what: usize, fact: usize) {
        let person = &mut self.people[who];
        person.handled.push((what, fact));
        let way = person.moved.into_iter().collect();
        self.things[what].carry = Some(Carry { carrier: who, taken: fact, dropped: None, way });
    }
}

fn there(share: f64, rng: &mut ChaCha8Rng) -> &'static str {
    if rng.random_bool(share) { " there" } else { "" }
}
