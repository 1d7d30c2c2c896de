//! Questions from a file, answers to a file: a run that was interrupted goes on after its last whole line.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::{
    checkpoint::Lock,
    error::{Error, Result},
    json_lines::{self, Parsed, object},
    report::Journal,
};

/// A question of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Its line, from 1.
    pub line: usize,
    /// The question.
    pub text: String,
    /// The whole object that it came in.
    fields: Map<String, Value>,
}

/// Reads questions: a JSON object a line with `question`; every other field is carried over to the answers.
/// Blank lines are left out.
///
/// # Errors
/// With file, line and reason: a line that is no such object; a file without questions.
pub fn read(path: &Path) -> Result<Vec<Question>> {
    json_lines::read(path, "an object with `question`", |line, value| question(line, object(value)?))
}

fn question(line: usize, fields: Map<String, Value>) -> Parsed<Question> {
    match fields.get("question") {
        Some(Value::String(text)) if !text.trim().is_empty() => {
            Ok(Question { line, text: text.clone(), fields })
        }
        Some(_) => Err("`question` is not a text, or is empty".to_owned()),
        None => Err("no `question`".to_owned()),
    }
}

impl Question {
    /// The line of answers: the question's own fields under `given`, and those of `reply`.
    fn answered(&self, settings: &Value, reply: Value) -> Value {
        let mut line = json!({ "line": self.line, "question": self.text, "settings": settings });
        if self.fields.len() > 1 {
            let mut given = self.fields.clone();
            given.remove("question");
            line["given"] = given.into();
        }
        if let (Some(line), Value::Object(reply)) = (line.as_object_mut(), reply) {
            line.extend(reply);
        }
        line
    }
}

/// The file of answers, one line a question, written as they come.
#[derive(Debug)]
pub struct Answers {
    journal: Journal,
    settings: Value,
    done: usize,
    _lock: Lock,
}

/// A file that no other process will write answers to.
#[derive(Debug)]
pub struct Reserved {
    path: PathBuf,
    lock: Lock,
}

impl Reserved {
    /// Reserves `path`, before anything slow is done for it.
    ///
    /// # Errors
    /// A file that another process writes.
    pub fn new(path: &Path) -> Result<Self> {
        Ok(Self { lock: Lock::take(path)?, path: path.to_owned() })
    }

    /// Opens it for the answers to `questions`. Whole lines that are there stay; a line that was cut off
    /// is taken away. `settings` is everything else that the answers depend on, and goes with every line.
    ///
    /// # Errors
    /// A line there that answers another question or was made with other settings; a file that cannot be written.
    pub fn open(self, questions: &[Question], settings: Value) -> Result<Answers> {
        let Self { path, lock } = self;
        let (journal, lines) = Journal::open::<Value>(&path)?;
        for (index, line) in lines.iter().enumerate() {
            let asked = questions.get(index).is_some_and(|q| line["question"] == q.text.as_str());
            if !asked || line["settings"] != settings {
                let reason = "answers another question, or was made with another adapter or other settings: \
                              name a new file";
                return Err(Error::data(&path, index + 1, reason));
            }
        }
        Ok(Answers { journal, settings, done: lines.len(), _lock: lock })
    }
}

impl Answers {
    /// Reserves and opens `path`.
    ///
    /// # Errors
    /// As [`Reserved::new`] and [`Reserved::open`].
    pub fn open(path: &Path, questions: &[Question], settings: Value) -> Result<Self> {
        Reserved::new(path)?.open(questions, settings)
    }

    /// Number of questions that are answered.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Adds the answer to the next question; it is on disk when this returns.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&mut self, question: &Question, reply: Value) -> Result<()> {
        self.journal.add(&question.answered(&self.settings, reply))?;
        self.journal.sync()?;
        self.done += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const QUESTIONS: &str = "{\"question\": \"A?\", \"answer\": \"a\"}\n\n{\"question\": \"B?\"}\n";

    fn room(questions: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let room = tempfile::tempdir().unwrap();
        let (from, to) = (room.path().join("q.jsonl"), room.path().join("a.jsonl"));
        std::fs::write(&from, questions).unwrap();
        (room, from, to)
    }

    #[test]
    fn answers_go_on_after_the_last_whole_line() {
        let (_room, from, to) = room(QUESTIONS);
        let questions = read(&from).unwrap();
        let mut answers = Answers::open(&to, &questions, json!({ "seed": 1 })).unwrap();
        let refused = Answers::open(&to, &questions, json!({ "seed": 1 })).unwrap_err().to_string();
        assert!(refused.contains("another process is writing here"), "{refused}");
        answers.add(&questions[0], json!({ "answer": "x" })).unwrap();
        drop(answers);
        let first = std::fs::read_to_string(&to).unwrap();
        let line: Value = serde_json::from_str(&first).unwrap();
        let expected = json!({ "line": 1, "question": "A?", "settings": { "seed": 1 }, "given": { "answer": "a" },
                               "answer": "x" });
        assert_eq!(line, expected);
        std::fs::write(&to, format!("{first}{{\"line\": 3, \"quest")).unwrap();
        let mut answers = Answers::open(&to, &questions, json!({ "seed": 1 })).unwrap();
        assert_eq!(answers.done(), 1);
        answers.add(&questions[1], json!({ "answer": "y" })).unwrap();
        let text = std::fs::read_to_string(&to).unwrap();
        assert!(text.starts_with(&first) && text.lines().count() == 2, "{text}");
        assert_eq!(serde_json::from_str::<Value>(text.lines().nth(1).unwrap()).unwrap()["line"], 3);
    }

    #[test]
    fn answers_to_other_questions_or_of_other_settings_are_not_mixed_up() {
        let (_room, from, to) = room(QUESTIONS);
        let questions = read(&from).unwrap();
        let mut answers = Answers::open(&to, &questions, json!(1)).unwrap();
        answers.add(&questions[0], json!({})).unwrap();
        drop(answers);
        let message = Answers::open(&to, &questions, json!(2)).unwrap_err().to_string();
        assert!(message.contains("a.jsonl:1: answers another question"), "{message}");
        assert!(Answers::open(&to, &questions[1..], json!(1)).is_err());
        assert!(Answers::open(&to, &[], json!(1)).is_err());
    }

    #[test]
    fn a_line_that_is_no_question_is_refused_with_its_number() {
        for (text, expected) in [
            ("{\"question\": \"A?\"}\n{", "q.jsonl:2: not JSON"),
            ("[]", "q.jsonl:1: not a JSON object"),
            ("{\"query\": \"A?\"}", "no `question`"),
            ("\u{feff}{\"question\": \"A?\"}\n{", "q.jsonl:2: not JSON"),
            ("{\"question\": \" \"}", "is not a text, or is empty"),
            ("\n", "empty: expected"),
        ] {
            let (_room, from, _) = room(text);
            let message = read(&from).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
