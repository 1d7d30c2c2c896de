//! Task 14: where people were before, with times of the day told out of order.

use rand::Rng;
use rand::distr::{Distribution, weighted::WeightedIndex};
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::story_builder::{StoryBuilder, Teller, listen};
use super::words::{TOWN_PEOPLE, TOWN_PLACES, capital, other, pick_some, went};

/// In their order.
const TIMES: [&str; 4] = ["yesterday", "this morning", "this afternoon", "this evening"];

/// Orders in which somebody's four times are told, the last one first, with their shares in the files.
const ORDERS: [([usize; 4], u32); 8] = [
    ([3, 2, 1, 0], 101),
    ([3, 2, 0, 1], 107),
    ([2, 3, 1, 0], 51),
    ([3, 1, 2, 0], 27),
    ([2, 3, 0, 1], 25),
    ([3, 0, 2, 1], 10),
    ([3, 1, 0, 2], 5),
    ([3, 0, 1, 2], 5),
];

/// Task 14, `Where was Julie before the park?`
pub(super) fn before(rng: &mut ChaCha8Rng) -> BabiSample {
    listen(Diary::new(rng), rng)
}

/// Somebody's places by time.
struct Days {
    places: [usize; 4],
    /// The facts that told of them.
    told: [Option<usize>; 4],
    /// Times still to tell, the next one last.
    left: Vec<usize>,
}

struct Diary {
    people: [Days; 4],
}

impl Diary {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let shares = WeightedIndex::new(ORDERS.map(|(_, share)| share)).expect("the shares are positive");
        let people = [(); 4].map(|()| {
            let mut places = [0; 4];
            let mut before = None;
            for place in &mut places {
                *place = other(TOWN_PLACES.len(), before.as_slice(), rng);
                before = Some(*place);
            }
            let left = ORDERS[shares.sample(rng)].0.to_vec();
            Days { places, told: [None; 4], left }
        });
        Self { people }
    }

    /// Tells the next of somebody's times; false if all are told.
    fn tell(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) -> bool {
        let open: Vec<usize> = (0..4).filter(|&who| !self.people[who].left.is_empty()).collect();
        let Some(who) = pick_some(&open, rng) else { return false };
        let days = &mut self.people[who];
        let Some(time) = days.left.pop() else { return false };
        let what = format!("{} {}", TOWN_PEOPLE[who], went(TOWN_PLACES[days.places[time]], rng));
        let when = TIMES[time];
        let in_front = rng.random_bool(0.5);
        let fact = if in_front { format!("{} {what}.", capital(when)) } else { format!("{what} {when}.") };
        days.told[time] = Some(story.tell(fact));
        true
    }
}

impl Teller for Diary {
    fn tell_on(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) -> bool {
        self.tell(story, rng) && self.tell(story, rng)
    }

    /// About two successive times; of a place that was told twice, its last time counts.
    fn ask(&self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
        let mut choices = Vec::new();
        for (name, days) in TOWN_PEOPLE.iter().zip(&self.people) {
            for time in 1..TIMES.len() {
                let again = (time + 1..TIMES.len())
                    .any(|later| days.told[later].is_some() && days.places[later] == days.places[time]);
                if let (Some(first), Some(second), false) = (days.told[time - 1], days.told[time], again) {
                    choices.push((name, days.places[time], days.places[time - 1], [first, second]));
                }
            }
        }
        if let Some((name, place, answer, support)) = pick_some(&choices, rng) {
            let question = format!("Where was {name} before the {}?", TOWN_PLACES[place]);
            story.ask(question, TOWN_PLACES[answer], &support);
        }
    }
}
