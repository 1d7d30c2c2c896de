//! People who go about, and what they carry.

use std::collections::{BTreeMap, HashMap};

use super::words;

/// What is known of where somebody is.
pub enum Belief {
    In(String),
    NotIn(String),
    OneOf(String, String),
}

/// What the facts say of people and things.
#[derive(Default)]
pub struct People {
    pub beliefs: HashMap<String, Belief>,
    /// Where things were, in order.
    pub ways: HashMap<String, Vec<String>>,
    /// Where people were at the times of the day.
    pub days: HashMap<String, BTreeMap<usize, String>>,
    holders: HashMap<String, String>,
    /// What each person touched, first touch first.
    touched: HashMap<String, Vec<String>>,
    /// Giver, thing, receiver.
    gifts: Vec<[String; 3]>,
    /// Whom a pronoun means.
    subjects: Vec<String>,
}

impl People {
    pub fn read<'a>(facts: impl Iterator<Item = &'a str>) -> Self {
        let mut people = Self::default();
        facts.for_each(|fact| people.learn(fact));
        people
    }

    fn learn(&mut self, fact: &str) {
        let mut sentence: Vec<&str> = words(fact).into_iter().filter(|word| *word != "there").collect();
        let time = take_time(&mut sentence);
        match sentence[..] {
            ["After" | "Following", "that", ..] => drop(sentence.drain(..2)),
            ["Then" | "Afterwards", ..] => drop(sentence.drain(..1)),
            _ => {}
        }
        let (subjects, rest) = match sentence[..] {
            [one, "and", two, ..] => (vec![one.to_owned(), two.to_owned()], &sentence[3..]),
            ["he" | "she" | "they", ..] => (self.subjects.clone(), &sentence[1..]),
            [one, ..] => (vec![one.to_owned()], &sentence[1..]),
            [] => panic!("empty fact"),
        };
        for name in &subjects {
            self.act(name, rest, time);
        }
        self.subjects = subjects;
    }

    fn act(&mut self, name: &str, what: &[&str], time: Option<usize>) {
        match *what {
            ["moved" | "went" | "journeyed" | "travelled", "to", "the", place]
            | ["went", "back", "to", "the", place]
            | ["is", "in", "the", place] => match time {
                Some(time) => {
                    self.days.entry(name.into()).or_default().insert(time, place.into());
                }
                None => self.go(name, place),
            },
            ["is", "not", "in", "the", place] | ["is", "no", "longer", "in", "the", place] => {
                self.beliefs.insert(name.into(), Belief::NotIn(place.into()));
            }
            ["is", "either", "in", "the", one, "or", "the", two] => {
                self.beliefs.insert(name.into(), Belief::OneOf(one.into(), two.into()));
            }
            ["picked", "up", "the", thing] | ["got" | "took" | "grabbed", "the", thing] => {
                self.hold(name, thing);
            }
            ["put", "down", "the", thing] | ["dropped" | "left" | "discarded", "the", thing] => {
                self.holders.remove(thing);
                self.touch(name, thing);
            }
            ["gave" | "handed" | "passed", "the", thing, "to", receiver] => {
                self.touch(name, thing);
                self.hold(receiver, thing);
                self.gifts.push([name, thing, receiver].map(String::from));
            }
            _ => panic!("unknown fact: {name} {what:?}"),
        }
    }

    fn go(&mut self, name: &str, place: &str) {
        self.beliefs.insert(name.into(), Belief::In(place.into()));
        let held = self.holders.iter().filter(|(_, holder)| *holder == name);
        for thing in held.map(|(thing, _)| thing.clone()).collect::<Vec<_>>() {
            self.lies_with(name, &thing);
        }
    }

    fn hold(&mut self, name: &str, thing: &str) {
        self.holders.insert(thing.into(), name.into());
        self.touch(name, thing);
    }

    fn touch(&mut self, name: &str, thing: &str) {
        let touched = self.touched.entry(name.into()).or_default();
        if !touched.iter().any(|other| other == thing) {
            touched.push(thing.into());
        }
        self.lies_with(name, thing);
    }

    fn lies_with(&mut self, name: &str, thing: &str) {
        let Some(Belief::In(here)) = self.beliefs.get(name) else { return };
        let way = self.ways.entry(thing.into()).or_default();
        if way.last() != Some(here) {
            way.push(here.clone());
        }
    }

    pub fn is_in(&self, name: &str, asked: &str) -> Option<String> {
        let answer = match self.beliefs.get(name)? {
            Belief::In(place) if place == asked => "yes",
            Belief::In(_) => "no",
            Belief::NotIn(place) if place == asked => "no",
            Belief::NotIn(_) => return None,
            Belief::OneOf(one, two) if one == asked || two == asked => "maybe",
            Belief::OneOf(..) => "no",
        };
        Some(answer.into())
    }

    /// What the person holds, in the order of the first touch.
    pub fn carried(&self, name: &str) -> Vec<String> {
        let held = |thing: &&String| self.holders.get(*thing).is_some_and(|holder| holder == name);
        self.touched.get(name).into_iter().flatten().filter(held).cloned().collect()
    }

    /// A word of the last gift in which these words occur.
    pub fn gift(&self, like: [Option<&str>; 3], word: usize) -> Option<String> {
        let fits = |gift: &&[String; 3]| {
            gift.iter().zip(like).all(|(word, wanted)| wanted.is_none_or(|wanted| wanted == word))
        };
        self.gifts.iter().rev().find(fits).map(|gift| gift[word].clone())
    }
}

/// Takes the time of the day from the sentence, at its beginning or its end.
fn take_time(sentence: &mut Vec<&str>) -> Option<usize> {
    let hour = |word: &str| ["yesterday", "morning", "afternoon", "evening"].iter().position(|w| *w == word);
    match sentence[..] {
        ["Yesterday", ..] => sentence.drain(..1).next().and(Some(0)),
        ["This", part, ..] => sentence.drain(..2).next().and(hour(part)),
        [.., "yesterday"] => sentence.pop().and(Some(0)),
        [.., "this", part] => {
            sentence.truncate(sentence.len() - 2);
            hour(part)
        }
        _ => None,
    }
}
