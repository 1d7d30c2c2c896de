//! Tasks 4 and 19: rooms on a map.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::story_builder::StoryBuilder;
use super::words::{ROOMS, distinct, pick};

/// The points of the compass; each with its opposite at a distance of two.
const WINDS: [(&str, (i32, i32)); 4] =
    [("north", (0, 1)), ("east", (1, 0)), ("south", (0, -1)), ("west", (-1, 0))];

/// `The office is north of the kitchen.`, or the same said of the kitchen.
fn fact(room: usize, wind: usize, of: usize, rng: &mut ChaCha8Rng) -> String {
    let (room, wind, of) = if rng.random_bool(0.5) { (room, wind, of) } else { (of, (wind + 2) % 4, room) };
    format!("The {} is {} of the {}.", ROOMS[room], WINDS[wind].0, ROOMS[of])
}

/// Task 4, `What is north of the kitchen?` or `What is the office north of?`, with three rooms in a line.
pub(super) fn neighbour(rng: &mut ChaCha8Rng) -> BabiSample {
    let line = distinct::<3>(ROOMS.len(), rng);
    let wind = rng.random_range(0..4);
    let mut story = StoryBuilder::default();
    // Each room lies to the wind of the one after it.
    let mut steps = [0, 1];
    steps.shuffle(rng);
    let told = steps.map(|at| (at, story.tell(fact(line[at], wind, line[at + 1], rng))));
    let (at, support) = pick(&told, rng);
    let (mut room, mut wind, mut of) = (line[at], wind, line[at + 1]);
    if rng.random_bool(0.5) {
        (room, wind, of) = (of, (wind + 2) % 4, room);
    }
    let (room, wind, of) = (ROOMS[room], WINDS[wind].0, ROOMS[of]);
    if rng.random_bool(0.5) {
        story.ask(format!("What is {wind} of the {of}?"), room, &[support]);
    } else {
        story.ask(format!("What is the {room} {wind} of?"), of, &[support]);
    }
    story.one_question(rng)
}

/// A door between two rooms: the second lies to the wind of the first.
#[derive(Clone, Copy)]
struct Door {
    from: usize,
    wind: usize,
    to: usize,
}

/// Task 19, `How do you go from the kitchen to the garden?`: two steps, as in `n,w`.
pub(super) fn path(rng: &mut ChaCha8Rng) -> BabiSample {
    let mut doors = map(rng);
    doors.shuffle(rng);
    let mut story = StoryBuilder::default();
    let facts = doors.map(|Door { from, wind, to }| story.tell(fact(to, wind, from, rng)));
    // Both ways through each door, then all ways through two doors.
    let back = |door: &Door| Door { from: door.to, wind: (door.wind + 2) % 4, to: door.from };
    let steps: Vec<(Door, usize)> =
        doors.iter().zip(facts).flat_map(|(&door, fact)| [(door, fact), (back(&door), fact)]).collect();
    let pairs = steps.iter().flat_map(|first| steps.iter().map(move |second| (*first, *second)));
    let ways: Vec<_> = pairs.filter(|(a, b)| a.0.to == b.0.from && a.1 != b.1).collect();
    let ((first, one), (second, two)) = pick(&ways, rng);
    let question = format!("How do you go from the {} to the {}?", ROOMS[first.from], ROOMS[second.to]);
    let [a, b] = [first, second].map(|door| &WINDS[door.wind].0[..1]);
    story.ask(question, format!("{a},{b}"), &[one, two]);
    story.one_question(rng)
}

/// All rooms on different spots, each but the first with a door to an earlier one.
fn map(rng: &mut ChaCha8Rng) -> [Door; 5] {
    let rooms = distinct::<6>(ROOMS.len(), rng);
    let mut spots = vec![(0, 0)];
    std::array::from_fn(|i| {
        loop {
            let (at, wind) = (rng.random_range(0..spots.len()), rng.random_range(0..4));
            let (x, y) = (spots[at].0 + WINDS[wind].1.0, spots[at].1 + WINDS[wind].1.1);
            if !spots.contains(&(x, y)) {
                spots.push((x, y));
                break Door { from: rooms[at], wind, to: rooms[i + 1] };
            }
        }
    })
}
