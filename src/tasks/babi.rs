//! Reader of bAbI's own files: numbered lines, questions with tabs before answer and supporting lines.

use std::path::Path;

use crate::files::read_text;
use crate::{Error, Result};

/// Or what is wrong with a line.
type Parsed<T> = std::result::Result<T, String>;

/// A story of a bAbI file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BabiStory {
    /// Line of the file where it starts, from 1.
    pub first_line: usize,
    /// Its facts with their numbers in the story.
    pub facts: Vec<(usize, String)>,
    /// Its questions, at least one.
    pub questions: Vec<BabiQuestion>,
}

/// A question in a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BabiQuestion {
    /// Line of the file, from 1.
    pub line: usize,
    /// How many of the story's facts come before it: those that it is about.
    pub facts_before: usize,
    /// The question.
    pub question: String,
    /// Its answer.
    pub answer: String,
    /// Indices in `facts` of the supporting ones, in the order of the file, which is that of the reasoning.
    pub support: Vec<usize>,
}

/// Reads a file of bAbI's format; a line numbered 1 starts a new story.
///
/// # Errors
/// With file, line and reason: blank lines, numbers out of order, questions without an answer or with
/// supporting lines that are no earlier facts, stories without a question; an empty file.
pub fn read(path: &Path) -> Result<Vec<BabiStory>> {
    let text = read_text(path)?;
    let mut stories: Vec<BabiStory> = Vec::new();
    let mut previous = 0;
    for (index, text_line) in text.trim_end_matches(['\n', '\r']).lines().enumerate() {
        let line = index + 1;
        let fault = |reason: String| Error::data(path, line, reason);
        let (number, rest) = numbered(text_line).map_err(fault)?;
        if number == 1 {
            finished(path, stories.last())?;
            stories.push(BabiStory { first_line: line, facts: Vec::new(), questions: Vec::new() });
        } else if number != previous + 1 || stories.is_empty() {
            return Err(fault(format!("number {number} after {previous}: expected {} or 1", previous + 1)));
        }
        previous = number;
        if let Some(story) = stories.last_mut() {
            add(story, line, number, rest).map_err(fault)?;
        }
    }
    if stories.is_empty() {
        return Err(Error::file(path, "empty: expected numbered lines of bAbI's format"));
    }
    finished(path, stories.last())?;
    Ok(stories)
}

/// The line's number and what follows it.
fn numbered(line: &str) -> Parsed<(usize, &str)> {
    if line.trim().is_empty() {
        return Err("blank line".into());
    }
    let reason = "expected a number and a space at the line's start, as in `1 Mary moved to the bathroom.`";
    let (number, rest) = line.split_once(' ').ok_or(reason)?;
    let number = number.parse().map_err(|_| reason)?;
    Ok((number, rest))
}

fn finished(path: &Path, story: Option<&BabiStory>) -> Result<()> {
    match story {
        Some(story) if story.questions.is_empty() => {
            Err(Error::data(path, story.first_line, "story without a question"))
        }
        _ => Ok(()),
    }
}

/// Adds a fact, or a question with its answer behind a tab.
fn add(story: &mut BabiStory, line: usize, number: usize, rest: &str) -> Parsed<()> {
    let mut fields = rest.split('\t').map(str::trim);
    let text = fields.next().unwrap_or("");
    if text.is_empty() {
        return Err("no text after the number".into());
    }
    let Some(answer) = fields.next() else {
        story.facts.push((number, text.to_owned()));
        return Ok(());
    };
    if answer.is_empty() {
        return Err("question without an answer".into());
    }
    let support = support(story, fields.next().unwrap_or(""))?;
    if fields.next().is_some() {
        return Err("more than question, answer and supporting lines".into());
    }
    let (question, answer) = (text.to_owned(), answer.to_owned());
    story.questions.push(BabiQuestion { line, facts_before: story.facts.len(), question, answer, support });
    Ok(())
}

/// Indices of the facts whose numbers are listed.
fn support(story: &BabiStory, numbers: &str) -> Parsed<Vec<usize>> {
    let index = |word: &str| {
        let number: usize = word.parse().map_err(|_| format!("supporting line `{word}` is no number"))?;
        let found = story.facts.binary_search_by_key(&number, |fact| fact.0);
        found.map_err(|_| format!("supporting line {number} is no earlier fact of this story"))
    };
    numbers.split_whitespace().map(index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<BabiStory>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn stories_questions_and_support_are_read_with_and_without_a_space_before_the_tab() {
        let text = "1 Mary moved to the bathroom.\n2 John left.\n3 Where is Mary? \tbathroom\t1\n4 Mary ran.\r\n\
                    5 Why?\tso\t4 1\n1 A b.\n2 C?\td\t1\n\r\n\n";
        let stories = read_text(text).unwrap();
        assert_eq!(stories.len(), 2);
        let questions = &stories[0].questions;
        assert_eq!((questions[0].line, questions[0].facts_before, questions[1].facts_before), (3, 2, 3));
        assert_eq!(questions[0].question, "Where is Mary?");
        assert_eq!(questions[1].support, [2, 0], "in the file's order");
        assert_eq!(stories[1].first_line, 6);
    }

    #[test]
    fn every_bad_line_is_refused_with_its_number_and_reason() {
        for (text, line, reason) in [
            ("1 A.\n\n2 B?\tc\t1\n\n", 2, "blank"),
            ("1 A.\n3 B.\n", 2, "number 3 after 1"),
            ("2 A.\n", 1, "number 2 after 0"),
            ("x A.\n", 1, "expected a number"),
            ("1\n", 1, "expected a number"),
            ("1 A.\n2 B?\t\t1\n", 2, "without an answer"),
            ("1 A.\n2 B?\tc\tx\n", 2, "no number"),
            ("1 A.\n2 B?\tc\t2\n", 2, "no earlier fact"),
            ("1 A.\n2 B?\tc\t1\t1\n", 2, "more than"),
            ("1 A.\n2 B?\tc\t1\n1 D.\n", 3, "without a question"),
            ("1  \n", 1, "no text"),
        ] {
            match read_text(text) {
                Err(Error::Data { line: found, reason: message, .. }) => {
                    assert!(found == line && message.contains(reason), "{text:?}: {found}: {message}");
                }
                other => panic!("{text:?}: {other:?}"),
            }
        }
        assert!(read_text("").unwrap_err().to_string().contains("empty"));
    }
}
