//! Tasks 1, 2, 3 and 6: where people and objects are.

use std::cmp::Reverse;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::rooms::{Carry, Habits, Person, Thing, World, live};
use super::story_builder::StoryBuilder;
use super::words::{PEOPLE, ROOMS, other, pick_early, pick_some, yes_no as yes_or_no};

const HABITS: Habits = Habits { take: 0.28, drop: 0.35, give: 0.0, take_there: 1.0 };

/// Task 3 asks of no longer ago.
const RECENT_FACTS: usize = 10;
/// How often it asks where it could.
const ASKED_BEFORE: f64 = 0.5;

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
    live(PEOPLE, Habits { take: 0.25, drop: 0.3, take_there: 0.2, ..HABITS }, ask_before, rng)
}

/// Task 6, `Is Mary in the kitchen?`
pub(super) fn yes_no(rng: &mut ChaCha8Rng) -> BabiSample {
    live(PEOPLE, Habits { drop: 0.25, ..HABITS }, ask_yes_no, rng)
}

/// Name, place and last move of somebody who has moved; lately, more often than not.
fn known(world: &World, rng: &mut ChaCha8Rng) -> Option<(&'static str, usize, usize)> {
    let moved = |person: &Person| person.moved.map(|(place, fact)| (person.name, place, fact));
    let mut known: Vec<_> = world.people.iter().filter_map(moved).collect();
    known.sort_unstable_by_key(|&(_, _, fact)| Reverse(fact));
    pick_early(&known, rng)
}

fn ask_person(world: &World, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
    if let Some((name, place, fact)) = known(world, rng) {
        story.ask(format!("Where is {name}?"), ROOMS[place], &[fact]);
    }
}

fn ask_yes_no(world: &World, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
    let Some((name, place, fact)) = known(world, rng) else { return };
    let yes = rng.random_bool(0.5);
    let asked = if yes { place } else { other(ROOMS.len(), &[place], rng) };
    story.ask(format!("Is {name} in the {}?", ROOMS[asked]), yes_or_no(yes), &[fact]);
}

/// About any object, more often the one handled last; nothing if the facts don't tell its place.
fn ask_object(world: &World, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
    let handled = |carry: &Carry| carry.dropped.unwrap_or(carry.taken);
    let mut things: Vec<&Thing> = world.things.iter().collect();
    things.sort_by_key(|thing| Reverse(thing.carry.as_ref().map(handled)));
    let Some(thing) = pick_early(&things, rng) else { return };
    let Some(carry) = &thing.carry else { return };
    let Some(&(place, moved)) = carry.way.last() else { return };
    story.ask(format!("Where is the {}?", thing.name), ROOMS[place], &[handled(carry), moved]);
}

/// About an object that was carried between two known places not long ago.
fn ask_before(world: &World, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
    let ways = world.things.iter().flat_map(|thing| thing.carry.iter().flat_map(|carry| steps(thing, carry)));
    let recent: Vec<Step> = ways.filter(|step| story.told() - step.support[1] <= RECENT_FACTS).collect();
    if rng.random_bool(ASKED_BEFORE)
        && let Some(Step { thing, from, to, support }) = pick_some(&recent, rng)
    {
        story.ask(format!("Where was the {thing} before the {}?", ROOMS[to]), ROOMS[from], &support);
    }
}

/// An object's way from a place to another: the last handling, the move there and the one before it.
#[derive(Clone, Copy)]
struct Step {
    thing: &'static str,
    from: usize,
    to: usize,
    support: [usize; 3],
}

/// Of an object that lies somewhere, the step to where it was left; of one that is carried, all since it was
/// taken.
fn steps(thing: &Thing, carry: &Carry) -> impl Iterator<Item = Step> {
    let way = &carry.way;
    let asked = |at: usize, first: usize| match carry.dropped {
        Some(_) => at + 1 == way.len(),
        // Of a place that it came to twice, the last time counts.
        None => first > carry.taken && way[at + 1..].iter().all(|&(later, _)| later != way[at].0),
    };
    way.windows(2).enumerate().filter_map(move |(before, pair)| {
        let [(from, first), (to, second)] = [pair[0], pair[1]];
        let support = [carry.dropped.unwrap_or(carry.taken), second, first];
        asked(before + 1, first).then_some(Step { thing: thing.name, from, to, support })
    })
}
