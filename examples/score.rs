//! Scores outputs given as JSON lines: a checking aid, see `scripts/check_scorers.py`.
//!
//! A line of standard input: `{"task": .., "question": .., "answers": [..], "output": ..}`; a line of standard
//! output: the scores as JSON. The metric is RULER's where `task` is `ruler`, BABILong's where it is a task of
//! BABILong, and SQuAD's where it is empty.

use std::io::{BufRead, Write};

use perk::{benchmarks::Metric, eval::scores, text::AnswerForm};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    task: String,
    question: String,
    answers: Vec<String>,
    output: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let case: Case = serde_json::from_str(&line?)?;
        let metric = match case.task.as_str() {
            "" => Metric::ExactMatch,
            "ruler" => Metric::StringMatchAll,
            _ => Metric::Babilong,
        };
        let answer = AnswerForm::default().parse(&case.output).answer;
        let scores = scores(metric, &case.task, &case.question, &case.answers, &answer)?;
        writeln!(out, "{}", serde_json::to_string(&scores)?)?;
    }
    Ok(())
}
