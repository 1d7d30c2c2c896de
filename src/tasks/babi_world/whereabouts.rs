//! Tasks 1, 2, 3 and 6: where people and objects are.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::rooms::{Habits, World, live};
use super::story::Story;
use super::words::{PEOPLE, ROOMS, other, pick, pick_some, yes_no as yes_or_no};

const HABITS: Habits = Habits { take: 0.22, drop: 0.25, give: 0.0, take_there: 1.0 };

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

/// Name, place and last move of somebody who has moved.
fn known(world: &World, rng: &mut ChaCha8Rng) -> Option<(&'static str, usize, usize)> {
    let moved = |person: &super::rooms::Person| person.moved.map(|(place, fact)| (person.name, place, fact));
    let known: Vec<_> = world.people.iter().filter_map(moved).collect();
    pick_some(&known, rng)
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

/// About any object and place: where it was left, or where it has been carried through.
fn ask_before(world: &World, story: &mut Story, rng: &mut ChaCha8Rng) {
    let thing = &world.things[rng.random_range(0..world.things.len())];
    let asked = pick(&[0, 1, 2, 3, 4, 5], rng);
    let Some(carry) = &thing.carry else { return };
    let Some(at) = carry.way.iter().rposition(|&(place, _)| place == asked) else { return };
    let Some(&[(place, first), (_, second)]) = at.checked_sub(1).and_then(|from| carry.way.get(from..=at))
    else {
        return;
    };
    let (told, handled) = match carry.dropped {
        Some(dropped) => (at + 1 == carry.way.len(), dropped),
        None => (first > carry.taken, carry.taken),
    };
    if told {
        let question = format!("Where was the {} before the {}?", thing.name, ROOMS[asked]);
        story.ask(question, ROOMS[place], &[first, second, handled]);
    }
}
