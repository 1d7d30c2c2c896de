//! Reads the answers out of documents and question, as a person would, for tests.

use std::collections::{BTreeSet, HashMap};

use crate::cells::Sample;

/// The answers, in no order.
pub(super) fn solve(task: &str, sample: &Sample) -> BTreeSet<String> {
    // An example is a document of its own, before the text.
    let text = sample.documents.last().unwrap();
    match task {
        "vt" => variables(text, &sample.question),
        "cwe" => most_frequent(10, words_of_list(text)),
        "fwe" => {
            let (_, text) = text.split_once("coded words. ").unwrap();
            most_frequent(3, text.split(' ').filter(|word| *word != "..."))
        }
        _ => values(text, &sample.question),
    }
}

/// The values of the keys that the question names.
fn values(text: &str, question: &str) -> BTreeSet<String> {
    let (_, rest) = question.split_once(" for ").unwrap();
    let (keys, _) = rest.split_once(" mentioned").unwrap();
    let keys = keys.replace(", and ", ", ");
    let keys: Vec<&str> = keys.split(", ").collect();
    let told = text.split("One of the special magic ").skip(1);
    let pairs = told.map(|needle| {
        let (_, rest) = needle.split_once(" for ").unwrap();
        let (key, rest) = rest.split_once(" is: ").unwrap();
        (key, rest.split_once('.').unwrap().0)
    });
    pairs.filter(|(key, _)| keys.contains(key)).map(|(_, value)| value.to_owned()).collect()
}

/// The variables that have the value that the question names, at once or by others.
fn variables(text: &str, question: &str) -> BTreeSet<String> {
    let value = question.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 5).unwrap();
    let mut known = BTreeSet::from([value.to_owned()]);
    for line in text.lines() {
        if let Some((name, from)) = line.strip_prefix("VAR ").and_then(|rest| rest.split_once(" = "))
            && known.contains(from.trim().trim_start_matches("VAR "))
        {
            known.insert(name.to_owned());
        }
    }
    known.remove(value);
    known
}

/// The words between the numbers.
fn words_of_list(text: &str) -> impl Iterator<Item = &str> {
    let (_, list) = text.split_once("most often.\n").unwrap();
    list.split(' ').filter(|word| !word.ends_with('.'))
}

/// The words that appear most often: just so many, since the next one appears less often.
fn most_frequent<'a>(count: usize, words: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut times: HashMap<&str, usize> = HashMap::new();
    words.for_each(|word| *times.entry(word).or_insert(0) += 1);
    let mut ranked: Vec<(usize, &str)> = times.into_iter().map(|(word, times)| (times, word)).collect();
    ranked.sort_by(|a, b| b.cmp(a));
    assert!(ranked.len() == count || ranked[count - 1].0 > ranked[count].0, "{ranked:?}");
    ranked[..count].iter().map(|(_, word)| (*word).to_owned()).collect()
}
