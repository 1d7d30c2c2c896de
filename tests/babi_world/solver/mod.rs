//! Answers questions from sentences alone: written without a look at the simulator, and for its stories and
//! the published ones alike.

mod kinds;
mod maps;
mod people;

use people::{Belief, People};

/// The answer, if the facts give one.
pub fn answer<'a>(facts: impl Iterator<Item = &'a str> + Clone, question: &str) -> Option<String> {
    let asked = words(question);
    let people = || People::read(facts.clone());
    let facts = || facts.clone().map(words);
    match asked[..] {
        ["Where", "is", "the", thing] => people().ways.get(thing)?.last().cloned(),
        ["Where", "is", name] => match people().beliefs.get(name)? {
            Belief::In(place) => Some(place.clone()),
            _ => None,
        },
        ["Where", "was", "the", thing, "before", "the", place] => before(people().ways.get(thing)?, place),
        ["Where", "was", name, "before", "the", place] => {
            before(&people().days.get(name)?.values().cloned().collect::<Vec<_>>(), place)
        }
        ["Is", name, "in", "the", place] => people().is_in(name, place),
        ["What", "did", giver, "give", "to", receiver] => {
            people().gift([Some(giver), None, Some(receiver)], 1)
        }
        ["Who", "received", "the", thing] => people().gift([None, Some(thing), None], 2),
        ["Who", "did", giver, "give", "the", thing, "to"] => {
            people().gift([Some(giver), Some(thing), None], 2)
        }
        ["Who", "gave", "the", thing] => people().gift([None, Some(thing), None], 0),
        ["Who", "gave", "the", thing, "to", receiver] => {
            people().gift([None, Some(thing), Some(receiver)], 0)
        }
        ["How", "many", "objects", "is", name, "carrying"] => {
            Some(["none", "one", "two", "three"][people().carried(name).len()].into())
        }
        ["What", "is", name, "carrying"] => {
            let carried = people().carried(name);
            Some(if carried.is_empty() { "nothing".into() } else { carried.join(",") })
        }
        ["What", "is", side, "of", "the", room] => maps::neighbour(facts(), side, room),
        ["What", "is", "the", room, side, "of"] => maps::neighbour(facts(), maps::opposite(side), room),
        ["How", "do", "you", "go", "from", "the", from, "to", "the", to] => maps::path(facts(), from, to),
        ["Does" | "Is", "the", ..] if asked.contains(&"fit") || asked.contains(&"bigger") => {
            maps::fits(facts(), &asked)
        }
        ["Is", "the", ..] => maps::lies(facts(), &asked),
        ["What", "is", name, "afraid", "of"] => kinds::fear(facts(), name),
        ["What", "color", "is", name] => kinds::colour(facts(), name),
        ["Where", "will", name, "go"] => kinds::goal(&kinds::feeling(facts(), name)?),
        ["Why", "did", name, ..] => kinds::feeling(facts(), name),
        _ => panic!("unknown question: {question}"),
    }
}

/// The words of a sentence without its last mark.
fn words(sentence: &str) -> Vec<&str> {
    sentence.trim_end_matches(['.', '?']).split(' ').collect()
}

/// What comes before the last occurrence of the place.
fn before(way: &[String], place: &str) -> Option<String> {
    let at = way.iter().rposition(|p| p == place)?;
    way.get(at.checked_sub(1)?).cloned()
}
