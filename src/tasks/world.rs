//! A small simulated world of people, places and objects, and questions that its facts decide.
//!
//! The world and its wording follow the bAbI tasks 1 to 3 (Weston et al. 2015, arXiv 1502.05698).

use rand::Rng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use super::Qa;
use crate::config::WorldConfig;
use crate::{Error, Result};

/// People.
pub(crate) const ACTORS: [&str; WorldConfig::MAX_ACTORS] =
    ["Mary", "John", "Sandra", "Daniel", "Bill", "Fred", "Jeff", "Julie"];
/// Places.
pub(crate) const PLACES: [&str; WorldConfig::MAX_PLACES] =
    ["kitchen", "garden", "hallway", "bathroom", "office", "bedroom", "school", "park", "cinema"];
/// Objects.
pub(crate) const OBJECTS: [&str; WorldConfig::MAX_OBJECTS] =
    ["apple", "football", "milk", "cake", "box", "ball"];
/// Ways to go somewhere, before `the kitchen`.
pub(crate) const MOVES: [&str; WorldConfig::MAX_VERBS] =
    ["moved to", "went to", "journeyed to", "travelled to", "went back to"];
/// Ways to take an object, before `the apple`.
pub(crate) const TAKES: [&str; 4] = ["picked up", "got", "took", "grabbed"];
/// Ways to leave an object, before `the apple`.
pub(crate) const DROPS: [&str; 4] = ["dropped", "left", "discarded", "put down"];

/// Stories of too few facts may decide no question; this many are tried.
const TRIES: usize = 10_000;

/// What is asked about a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `Where is Mary?`: her last move (qa1). Nobody touches objects in a story of such questions alone.
    Person,
    /// `Where is the apple?`: who has it or left it, and where they were (qa2).
    Object,
    /// `Where was the apple before the kitchen?`: two steps of its way and who carried it (qa3).
    Before,
}

/// What a story is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryForm {
    /// Kind of its questions.
    pub asked: Asked,
    /// Other kinds, of which questions come behind those.
    pub also_asked: Vec<Asked>,
    /// Most questions of each kind.
    pub questions: usize,
    /// Whether facts begin with `Mary Event 2:`.
    pub event_prefix: bool,
}

/// Facts in their order, and questions about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Sentences.
    pub facts: Vec<String>,
    /// Different questions of the kind that is asked, at least one. Each is decided by the facts.
    pub qa: Vec<Qa>,
    /// Questions of the other kinds.
    pub also: Vec<Qa>,
}

/// Tells a story.
///
/// # Errors
/// If the configuration leaves no question to ask, as two facts do for [`Asked::Before`].
pub fn tell(config: &WorldConfig, form: &StoryForm, rng: &mut ChaCha8Rng) -> Result<Story> {
    let number = |value: usize, most: usize| value.clamp(1, most);
    let config = WorldConfig {
        actors: number(config.actors, WorldConfig::MAX_ACTORS),
        places: number(config.places, WorldConfig::MAX_PLACES).max(2),
        objects: number(config.objects, WorldConfig::MAX_OBJECTS),
        verbs: number(config.verbs, WorldConfig::MAX_VERBS),
        max_facts: config.max_facts.max(config.min_facts),
        ..*config
    };
    for _ in 0..TRIES {
        let facts = rng.random_range(config.min_facts..=config.max_facts);
        let mut world = World::new(config, form);
        (0..facts).for_each(|_| world.step(rng));
        let qa = world.asked(form.asked, form.questions, rng);
        if !qa.is_empty() {
            let kinds = form.also_asked.iter();
            let also = kinds.flat_map(|kind| world.asked(*kind, form.questions, rng)).collect();
            return Ok(Story { qa, also, facts: world.facts });
        }
    }
    let (min, max) = (config.min_facts, config.max_facts);
    Err(Error::Invalid(format!(
        "stories of {min} to {max} facts decide no question of this kind: allow more facts"
    )))
}

/// A question that the facts decide.
struct Question {
    text: String,
    place: usize,
    /// Indices of facts, in the order of the reasoning.
    support: Vec<usize>,
}

#[derive(Clone, Default)]
struct Actor {
    place: Option<usize>,
    /// The fact of the last move.
    moved: usize,
    /// Number of this person's events.
    events: usize,
}

#[derive(Clone, Default)]
struct Object {
    holder: Option<usize>,
    /// The fact of the last taking.
    taken: usize,
    /// Where it was, with the facts that say so, its handling first; neighbours differ.
    way: Vec<(usize, Vec<usize>)>,
    /// The facts that say where it is now, its handling first.
    located: Vec<usize>,
}

impl Object {
    fn place(&self) -> Option<usize> {
        self.way.last().map(|&(place, _)| place)
    }

    fn arrive(&mut self, place: usize, support: Vec<usize>) {
        if self.place() != Some(place) {
            self.way.push((place, support.clone()));
        }
        self.located = support;
    }
}

struct World {
    config: WorldConfig,
    event_prefix: bool,
    actors: Vec<Actor>,
    objects: Vec<Object>,
    facts: Vec<String>,
}

impl World {
    fn new(config: WorldConfig, form: &StoryForm) -> Self {
        let about_people = form.also_asked.iter().chain([&form.asked]).all(|kind| *kind == Asked::Person);
        let objects = if about_people { 0 } else { config.objects };
        let (actors, objects) = (vec![Actor::default(); config.actors], vec![Object::default(); objects]);
        Self { config, event_prefix: form.event_prefix, actors, objects, facts: Vec::new() }
    }

    /// One event: somebody moves, takes or leaves something.
    fn step(&mut self, rng: &mut ChaCha8Rng) {
        let actor = rng.random_range(0..self.actors.len());
        let choice: f64 = rng.random();
        let Some(place) = self.actors[actor].place else { return self.travel(actor, rng) };
        // An object that nobody has touched yet lies anywhere, so also here.
        let free = |o: &Object| o.holder.is_none() && o.place().is_none_or(|at| at == place);
        let (can_take, can_drop) = if choice < 0.35 {
            (self.some_object(free, rng), None)
        } else if choice < 0.5 {
            (None, self.some_object(|o| o.holder == Some(actor), rng))
        } else {
            (None, None)
        };
        match (can_take, can_drop) {
            (Some(object), _) => self.take(actor, object, place, rng),
            (_, Some(object)) => self.drop(actor, object, place, rng),
            _ => self.travel(actor, rng),
        }
    }

    fn some_object(&self, wanted: impl Fn(&Object) -> bool, rng: &mut ChaCha8Rng) -> Option<usize> {
        let found: Vec<usize> = (0..self.objects.len()).filter(|&o| wanted(&self.objects[o])).collect();
        (!found.is_empty()).then(|| found[rng.random_range(0..found.len())])
    }

    fn travel(&mut self, actor: usize, rng: &mut ChaCha8Rng) {
        let here = self.actors[actor].place;
        let elsewhere: Vec<usize> = (0..self.config.places).filter(|&p| Some(p) != here).collect();
        let place = elsewhere[rng.random_range(0..elsewhere.len())];
        let verb = MOVES[rng.random_range(0..self.config.verbs)];
        let fact = self.tell(actor, &format!("{verb} the {}", PLACES[place]));
        self.actors[actor].place = Some(place);
        self.actors[actor].moved = fact;
        for object in self.objects.iter_mut().filter(|o| o.holder == Some(actor)) {
            object.arrive(place, vec![object.taken, fact]);
        }
    }

    fn take(&mut self, actor: usize, object: usize, place: usize, rng: &mut ChaCha8Rng) {
        let fact = self.tell(actor, &handled(&TAKES, object, rng));
        let moved = self.actors[actor].moved;
        let object = &mut self.objects[object];
        (object.holder, object.taken) = (Some(actor), fact);
        object.arrive(place, vec![fact, moved]);
    }

    fn drop(&mut self, actor: usize, object: usize, place: usize, rng: &mut ChaCha8Rng) {
        let fact = self.tell(actor, &handled(&DROPS, object, rng));
        let moved = self.actors[actor].moved;
        let object = &mut self.objects[object];
        object.holder = None;
        object.arrive(place, vec![fact, moved]);
    }

    /// Adds a fact and returns its index.
    fn tell(&mut self, actor: usize, what: &str) -> usize {
        let name = ACTORS[actor];
        let number = self.actors[actor].events;
        self.actors[actor].events += 1;
        let sentence = format!("{name} {what}.");
        let prefixed = self.event_prefix;
        self.facts.push(if prefixed { event(name, number, &sentence) } else { sentence });
        self.facts.len() - 1
    }

    /// Some of the questions of a kind, at most so many; none where the facts decide none.
    fn asked(&self, kind: Asked, most: usize, rng: &mut ChaCha8Rng) -> Vec<Qa> {
        let questions = self.questions(kind);
        let count = most.max(1).min(questions.len());
        // Nothing is drawn where there is nothing to draw from, so that stories stay what they were.
        let chosen = if count == 0 { Vec::new() } else { sample(rng, questions.len(), count).into_vec() };
        chosen.into_iter().map(|i| self.qa(&questions[i])).collect()
    }

    fn questions(&self, asked: Asked) -> Vec<Question> {
        match asked {
            Asked::Person => self.actors.iter().zip(ACTORS).filter_map(|(a, n)| about_person(a, n)).collect(),
            Asked::Object => {
                self.objects.iter().zip(OBJECTS).filter_map(|(o, n)| about_object(o, n)).collect()
            }
            Asked::Before => self.objects.iter().zip(OBJECTS).flat_map(|(o, n)| about_way(o, n)).collect(),
        }
    }

    fn qa(&self, question: &Question) -> Qa {
        // A fact that serves two steps is said at the first.
        let mut support: Vec<&String> = Vec::new();
        for fact in question.support.iter().map(|&i| &self.facts[i]) {
            if !support.contains(&fact) {
                support.push(fact);
            }
        }
        Qa::new(&question.text, PLACES[question.place], support.into_iter().cloned().collect())
    }
}

/// `picked up the apple`, now and then with ` there`.
fn handled(verbs: &[&str], object: usize, rng: &mut ChaCha8Rng) -> String {
    let verb = verbs[rng.random_range(0..verbs.len())];
    let there = if rng.random_bool(0.2) { " there" } else { "" };
    format!("{verb} the {}{there}", OBJECTS[object])
}

/// `Mary Event 2: Mary moved to the kitchen.`
pub(crate) fn event(name: &str, number: usize, sentence: &str) -> String {
    format!("{name} Event {number}: {sentence}")
}

fn about_person(actor: &Actor, name: &str) -> Option<Question> {
    let place = actor.place?;
    Some(Question { text: format!("Where is {name}?"), place, support: vec![actor.moved] })
}

fn about_object(object: &Object, name: &str) -> Option<Question> {
    let place = object.place()?;
    Some(Question { text: format!("Where is the {name}?"), place, support: object.located.clone() })
}

/// One question for each place that the object came to from another, and came to once only: how it came there,
/// then how it had come to where it was before.
fn about_way(object: &Object, name: &str) -> Vec<Question> {
    let once = |place: usize| object.way.iter().filter(|&&(p, _)| p == place).count() == 1;
    let steps = object.way.windows(2).filter(|pair| once(pair[1].0));
    let question = |pair: &[(usize, Vec<usize>)]| Question {
        text: format!("Where was the {name} before the {}?", PLACES[pair[1].0]),
        place: pair[0].0,
        support: pair.iter().rev().flat_map(|(_, support)| support.iter().copied()).collect(),
    };
    steps.map(question).collect()
}
