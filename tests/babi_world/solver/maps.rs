//! Rooms and shapes on a plane, and sizes.

use std::collections::HashMap;

/// Steps to the sides; y grows to the north.
fn step(side: &str) -> (i32, i32) {
    match side {
        "north" | "above" => (0, 1),
        "south" | "below" => (0, -1),
        "east" | "right" => (1, 0),
        "west" | "left" => (-1, 0),
        _ => panic!("unknown side: {side}"),
    }
}

pub fn opposite(side: &str) -> &'static str {
    match side {
        "north" => "south",
        "south" => "north",
        "east" => "west",
        "west" => "east",
        _ => panic!("unknown side: {side}"),
    }
}

/// `The office is north of the kitchen`: office, north, kitchen.
fn relation<'a>(fact: &[&'a str]) -> [&'a str; 3] {
    match *fact {
        ["The", one, "is", side, "of", "the", two] => [one, side, two],
        _ => panic!("unknown fact: {fact:?}"),
    }
}

/// The room on this side of the room, as a fact says or says the other way round.
pub fn neighbour<'a>(facts: impl Iterator<Item = Vec<&'a str>>, side: &str, room: &str) -> Option<String> {
    let found = facts.map(|fact| relation(&fact)).find_map(|[one, told, two]| {
        let straight = (told, two) == (side, room);
        let reversed = (opposite(told), one) == (side, room);
        if straight { Some(one) } else { reversed.then_some(two) }
    });
    found.map(String::from)
}

/// The shortest way through rooms that facts call neighbours.
pub fn path<'a>(facts: impl Iterator<Item = Vec<&'a str>>, from: &str, to: &str) -> Option<String> {
    let mut doors = Vec::new();
    for [one, side, two] in facts.map(|fact| relation(&fact)) {
        doors.push((two, side, one));
        doors.push((one, opposite(side), two));
    }
    let mut ways = vec![(from, Vec::new())];
    let mut next = 0;
    while let Some((room, way)) = ways.get(next).cloned() {
        if room == to {
            return Some(way.join(","));
        }
        for (_, side, beyond) in doors.iter().filter(|(door, _, _)| *door == room) {
            if !ways.iter().any(|(seen, _)| seen == beyond) {
                let way: Vec<&str> = way.iter().copied().chain([&side[..1]]).collect();
                ways.push((*beyond, way));
            }
        }
        next += 1;
    }
    None
}

/// `The red square is to the left of the triangle`, or the question so: red square, left, triangle.
fn shapes<'a>(sentence: &[&'a str]) -> (String, &'a str, String) {
    let words: Vec<&str> =
        sentence.iter().filter(|word| !["The", "Is", "is", "to", "of"].contains(word)).copied().collect();
    let at = words.iter().position(|word| ["above", "below", "left", "right"].contains(word)).unwrap();
    let name =
        |part: &[&str]| part.iter().filter(|word| **word != "the").copied().collect::<Vec<_>>().join(" ");
    (name(&words[..at]), words[at], name(&words[at + 1..]))
}

/// Whether one shape lies on this side of the other.
pub fn lies<'a>(facts: impl Iterator<Item = Vec<&'a str>> + Clone, question: &[&str]) -> Option<String> {
    let (one, side, two) = shapes(question);
    let mut places = HashMap::from([(two, (0, 0))]);
    // Each pass places all neighbours of what is placed.
    for _ in 0..facts.clone().count() {
        for (a, side, b) in facts.clone().map(|fact| shapes(&fact)) {
            let (dx, dy) = step(side);
            match (places.get(&a).copied(), places.get(&b).copied()) {
                (Some((x, y)), None) => drop(places.insert(b, (x - dx, y - dy))),
                (None, Some((x, y))) => drop(places.insert(a, (x + dx, y + dy))),
                _ => {}
            }
        }
    }
    let ((x, y), (dx, dy)) = (places.get(&one)?, step(side));
    Some(if x * dx + y * dy > 0 { "yes" } else { "no" }.into())
}

/// Smaller and larger thing of a sentence that compares two.
fn sizes(sentence: &[&str]) -> (String, String) {
    let at = sentence.iter().position(|word| ["fit", "fits", "bigger"].contains(word)).unwrap();
    let name = |part: &[&str]| {
        let noise = ["The", "the", "Does", "Is", "is", "in", "inside", "than"];
        part.iter().filter(|word| !noise.contains(word)).copied().collect::<Vec<_>>().join(" ")
    };
    let (one, two) = (name(&sentence[..at]), name(&sentence[at + 1..]));
    if sentence[at] == "bigger" { (two, one) } else { (one, two) }
}

/// Whether the facts make the one thing smaller than the other, or the other way round.
pub fn fits<'a>(facts: impl Iterator<Item = Vec<&'a str>> + Clone, question: &[&str]) -> Option<String> {
    let (small, large) = sizes(question);
    let pairs: Vec<(String, String)> = facts.map(|fact| sizes(&fact)).collect();
    let smaller = |small: &String, large: &String| {
        let mut larger = vec![small];
        let mut next = 0;
        while let Some(&thing) = larger.get(next) {
            let above = pairs.iter().filter(|(a, _)| a == thing).map(|(_, b)| b);
            let new: Vec<&String> = above.filter(|b| !larger.contains(b)).collect();
            larger.extend(new);
            next += 1;
        }
        larger.contains(&large)
    };
    match (smaller(&small, &large), smaller(&large, &small)) {
        (true, false) => Some("yes".into()),
        (false, true) => Some("no".into()),
        _ => None,
    }
}
