//! Tasks 1, 2, 3 and 6: where people and objects are.

use std::cmp::Reverse;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::rooms::{Habits, Person, World, live};
use super::story::Story;
use super::words::{PEOPLE, ROOMS, other, pick_early, pick_some, yes_no as yes_or_no};

const HABITS: Habits = Habits { take: 0.3, drop: 0.4, give: 0.0, take_there: 1.0 };

/// Task 3 asks of no longer ago.
const RECENT_FACTS: usize = 20;
/// How often it asks where it could.
const ASKED_BEFORE: f64 = 0.3;

/// Task 1, `Where is Mary?`: her last move.
pub(super) fn person(rng: &mut ChaCha8Rng) -> BabiSample {
    live(PEOPLE, Habits::WALK, ask_person, rng)
}

/// Task 2, `Where is the milk?`: who has it or left it, and their last move before.
pub(super) fn object(rng: &mut ChaCha8Rng) -> BabiSample {
    live(PEOPLE, HABITS, ask_object, rng)
}

/// Task 3, `Where was the milk before the kitchen?`: two moves and who carried it.
pub(super) fn before(rng: &mut ChaCha8Rng) -> BabiSample {
    live(PEOPLE, Habits { take_there: 0.2, ..HABITS }, ask_before, rng)
}

/// Task 6, `Is Mary in the kitchen?`
pub(super) fn yes_no(rng: &mut ChaCha8Rng) -> BabiSample {
    live(PEOPLE, HABITS, ask_yes_no, rng)
}

/// Name, place and last move of somebody who has moved; lately, more often than not.
fn known(world: &World, rng: &mut ChaCha8Rng) -> Option<(&'static str, usize, usize)> {
    let moved = |person: &Person| person.moved.map(|(place, fact)| (person.name, place, fact));
    let mut known: Vec<_> = world.people.iter().filter_map(moved).collect();
    known.sort_unstable_by_key(|&(_, _, fact)| Reverse(fact));
    pick_early(&known, rng)
}

fn ask_person(world: &World, story: &mut Story, rng: &mut ChaCha8Rng) {
    if let Some((name, place, fact)) = known(world, rng) {
        story.ask(format!("Where is {name}?"), ROOMS[place], &[fact]);
    }
}

fn ask_yes_no(world: &World, story: &mut Story, rng: &mut ChaCha8Rng) {
    let Some((name, place, fact)) = known(world, rng) else { return };
    let yes = rng.random_bool(0.5);
    let asked = if yes { place } else { other(ROOMS.len(), &[place], rng) };
    story.ask(format!("Is {name} in the {}?", ROOMS[asked]), yes_or_no(yes), &[fact]);
}

/// About any object; nothing if the facts don't tell its place.
fn ask_object(world: &World, story: &mut Story, rng: &mut ChaCha8Rng) {
    let thing = &world.things[rng.random_range(0..world.things.len())];
    let Some(carry) = &thing.carry else { return };
    let Some(&(place, moved)) = carry.way.last() else { return };
    let handled = carry.dropped.unwrap_or(carry.taken);
    story.ask(format!("Where is the {}?", thing.name), ROOMS[place], &[handled, moved]);
}

/// About any object that was carried between two known places not long ago: of one that lies somewhere, where
/// it was left; of one that is carried, any place since it was taken.
fn ask_before(world: &World, story: &mut Story, rng: &mut ChaCha8Rng) {
    let thing = &world.things[rng.random_range(0..world.things.len())];
    let Some(carry) = &thing.carry else { return };
    let way = &carry.way;
    let told = |at: usize, first: usize| match carry.dropped {
        Some(_) => at + 1 == way.len(),
        // Of a place that it came to twice, the last time counts.
        None => first > carry.taken && way[at + 1..].iter().all(|&(later, _)| later != way[at].0),
    };
    let mut choices = Vec::new();
    for (before, pair) in way.windows(2).enumerate() {
        let [(from, first), (to, second)] = [pair[0], pair[1]];
        if told(before + 1, first) && story.told() - second <= RECENT_FACTS {
            choices.push((from, to, [first, second, carry.dropped.unwrap_or(carry.taken)]));
        }
    }
    if rng.random_bool(ASKED_BEFORE)
        && let Some((from, to, support)) = pick_some(&choices, rng)
    {
        story.ask(format!("Where was the {} before the {}?", thing.name, ROOMS[to]), ROOMS[from], &support);
    }
}
