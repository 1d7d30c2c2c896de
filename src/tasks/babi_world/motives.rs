//! Task 20: why people do something.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::BabiSample;
use super::story_builder::StoryBuilder;
use super::words::{TAKES, pick, pick_some, went};

const NAMES: [&str; 4] = ["Sumit", "Yann", "Jason", "Antoine"];

/// How somebody feels, where they go then and what they take there.
const MOTIVES: [(&str, &str, &str); 4] = [
    ("hungry", "kitchen", "apple"),
    ("thirsty", "kitchen", "milk"),
    ("tired", "bedroom", "pajamas"),
    ("bored", "garden", "football"),
];

/// Somebody's doings.
struct Doer {
    name: &'static str,
    motive: usize,
    /// The fact that tells how they feel.
    feels: usize,
    /// How many of feeling, going and taking are told.
    steps: usize,
}

/// Task 20: `Where will yann go?`, `Why did yann go to the garden?`, `Why did yann get the football?`
pub(super) fn why(rng: &mut ChaCha8Rng) -> BabiSample {
    let mut doers =
        NAMES.map(|name| Doer { name, motive: rng.random_range(0..MOTIVES.len()), feels: 0, steps: 0 });
    let mut taken = [false; 4];
    let mut story = StoryBuilder::default();
    loop {
        // There is one of each thing: who comes later leaves it at going there.
        let can = |doer: &Doer| doer.steps < 2 || (doer.steps == 2 && !taken[doer.motive]);
        let open: Vec<usize> = (0..doers.len()).filter(|&who| can(&doers[who])).collect();
        let Some(who) = pick_some(&open, rng) else { return story.one_question(rng) };
        let doer = &mut doers[who];
        taken[doer.motive] |= doer.steps == 2;
        doer.act(&mut story, rng);
    }
}

impl Doer {
    /// Tells the next step and asks about it.
    fn act(&mut self, story: &mut StoryBuilder, rng: &mut ChaCha8Rng) {
        let (feeling, place, thing) = MOTIVES[self.motive];
        let (name, asked) = (self.name, self.name.to_lowercase());
        let (question, answer) = match self.steps {
            0 => {
                self.feels = story.tell(format!("{name} is {feeling}."));
                (format!("Where will {asked} go?"), place)
            }
            1 => {
                story.tell(format!("{name} {}.", went(place, rng)));
                (format!("Why did {asked} go to the {place}?"), feeling)
            }
            _ => {
                story.tell(format!("{name} {} the {thing} there.", pick(&TAKES, rng)));
                (format!("Why did {asked} get the {thing}?"), feeling)
            }
        };
        self.steps += 1;
        story.ask(question, answer, &[self.feels]);
    }
}
