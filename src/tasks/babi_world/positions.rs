//! Task 17: how two shapes lie to each other, by way of a third.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::story_builder::StoryBuilder;
use super::words::{distinct, pick, yes_no};

const SHAPES: [&str; 6] =
    ["triangle", "pink rectangle", "blue square", "red square", "yellow square", "red sphere"];

/// Ways of one shape to lie to another, and the step that leads there.
const SIDES: [(&str, (i32, i32)); 4] =
    [("above", (0, 1)), ("below", (0, -1)), ("to the left of", (-1, 0)), ("to the right of", (1, 0))];

/// Task 17, `Is the triangle above the red square?`
pub(super) fn shapes(rng: &mut ChaCha8Rng) -> BabiSample {
    let [one, middle, two] = distinct::<3>(SHAPES.len(), rng);
    // Steps from the middle to both; they must not lead to the same spot.
    let [first, second] = distinct::<2>(SIDES.len(), rng).map(|side| SIDES[side].1);
    let mut story = StoryBuilder::default();
    let facts = [(one, first), (two, second)].map(|(outer, step)| {
        let (subject, step, object) =
            if rng.random_bool(0.5) { (outer, step, middle) } else { (middle, (-step.0, -step.1), outer) };
        story.tell(format!("The {} is {} the {}.", SHAPES[subject], side(step), SHAPES[object]))
    });
    let from_two = (first.0 - second.0, first.1 - second.1);
    let (subject, object, (x, y)) =
        if rng.random_bool(0.5) { (one, two, from_two) } else { (two, one, (-from_two.0, -from_two.1)) };
    let yes = rng.random_bool(0.5);
    let holds = |(_, (dx, dy)): &&(&str, (i32, i32))| (x * dx + y * dy > 0) == yes;
    let sides: Vec<&str> = SIDES.iter().filter(holds).map(|(words, _)| *words).collect();
    let question = format!("Is the {} {} the {}?", SHAPES[subject], pick(&sides, rng), SHAPES[object]);
    story.ask(question, yes_no(yes), &facts);
    story.one_question(rng)
}

fn side(step: (i32, i32)) -> &'static str {
    SIDES.iter().find(|(_, other)| *other == step).map_or("", |(words, _)| *words)
}
