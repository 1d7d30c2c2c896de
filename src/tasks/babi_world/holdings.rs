//! Tasks 5, 7 and 8: who gave what to whom, and what people carry.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::rooms::{Gift, Habits, World, live};
use super::story_builder::StoryBuilder;
use super::words::{PEOPLE, pick_some};

/// People of task 5.
const GIVERS: [&str; 4] = ["Mary", "Bill", "Fred", "Jeff"];
const NUMBERS: [&str; 4] = ["none", "one", "two", "three"];

/// Task 5: about an object's last giver and receiver.
pub(super) fn gifts(rng: &mut ChaCha8Rng) -> BabiSample {
    let habits = Habits { take: 0.28, drop: 0.2, give: 0.5, take_there: 1.0 };
    live(GIVERS, habits, ask_gift, rng)
}

/// Task 7, `How many objects is Mary carrying?`
pub(super) fn count(rng: &mut ChaCha8Rng) -> BabiSample {
    live(PEOPLE, Habits { take: 0.28, drop: 0.2, give: 0.45, take_there: 1.0 }, ask_count, rng)
}

/// Task 8, `What is Mary carrying?`
pub(super) fn list(rng: &mut ChaCha8Rng) -> BabiSample {
    live(PEOPLE, Habits { take: 0.3, drop: 0.3, give: 0.0, take_there: 1.0 }, ask_list, rng)
}

/// Mostly the last gift of all, else the last of an object.
fn some_gift(world: &World, rng: &mut ChaCha8Rng) -> Option<Gift> {
    let what = rng.random_range(0..world.things.len());
    let any = rng.random_bool(0.95);
    world.gifts.iter().rev().find(|gift| any || gift.thing == what).copied()
}

fn ask_gift(world: &World, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
    let Some(gift) = some_gift(world, rng) else { return };
    let thing = world.things[gift.thing].name;
    let [giver, receiver] = [gift.giver, gift.receiver].map(|who| world.people[who].name);
    let (question, answer) = match rng.random_range(0..6) {
        0 | 1 => (format!("What did {giver} give to {receiver}?"), thing),
        2 => (format!("Who received the {thing}?"), receiver),
        3 => (format!("Who gave the {thing}?"), giver),
        4 => (format!("Who did {giver} give the {thing} to?"), receiver),
        _ => (format!("Who gave the {thing} to {receiver}?"), giver),
    };
    let same_pair = |other: &&Gift| (other.giver, other.receiver) == (gift.giver, gift.receiver);
    let newest = world.gifts.iter().rev().find(same_pair).is_some_and(|other| other.fact == gift.fact);
    if newest || answer != thing {
        story.ask(question, answer, &[gift.fact]);
    }
}

/// Somebody who has handled something: name, what they hold in the order in which they first touched it, and
/// the facts of all that they handled.
fn carried(world: &World, rng: &mut ChaCha8Rng) -> Option<(&'static str, Vec<&'static str>, Vec<usize>)> {
    let known: Vec<usize> =
        (0..world.people.len()).filter(|&who| !world.people[who].handled.is_empty()).collect();
    let who = pick_some(&known, rng)?;
    let person = &world.people[who];
    let mut touched: Vec<usize> = Vec::new();
    for &(what, _) in &person.handled {
        if !touched.contains(&what) {
            touched.push(what);
        }
    }
    touched.retain(|&what| world.things[what].holder() == Some(who));
    let names = touched.iter().map(|&what| world.things[what].name).collect();
    Some((person.name, names, person.handled.iter().map(|&(_, fact)| fact).collect()))
}

fn ask_count(world: &World, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
    if let Some((name, things, support)) = carried(world, rng) {
        story.ask(format!("How many objects is {name} carrying?"), NUMBERS[things.len()], &support);
    }
}

fn ask_list(world: &World, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
    if let Some((name, things, support)) = carried(world, rng) {
        let answer = if things.is_empty() { "nothing".to_owned() } else { things.join(",") };
        story.ask(format!("What is {name} carrying?"), answer, &support);
    }
}
