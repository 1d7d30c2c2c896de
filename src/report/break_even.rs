//! From which number of questions on one document encoding it is cheaper than carrying it in the prompt.

use crate::{
    benchmarks::Length,
    eval::{CellScore, Method},
};

use super::grid::{length_name, lengths, methods};

/// Seconds that a method takes for a document: `encode_secs + questions · ask_secs`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seconds {
    pub(super) encode_secs: f64,
    pub(super) ask_secs: f64,
}

impl Seconds {
    pub(super) fn of(self, questions: f64) -> f64 {
        self.encode_secs + questions * self.ask_secs
    }

    /// The least number of questions from which this is cheaper than `other`; `None` where it never is.
    fn cheaper_from(self, other: Self) -> Option<u64> {
        let (once, each) = (self.encode_secs - other.encode_secs, other.ask_secs - self.ask_secs);
        if once < 0.0 {
            return Some(1).filter(|_| each >= 0.0);
        }
        (each > 0.0).then(|| (once / each).floor() as u64 + 1)
    }
}

/// What a method took at a length, mean over the answers of all subtasks and positions; `None` without any.
pub(super) fn seconds(rows: &[CellScore], method: &str, length: Option<Length>) -> Option<Seconds> {
    let own = || rows.iter().filter(|row| row.method == method && row.cell.length == length);
    let samples: usize = own().map(|row| row.samples).sum();
    let mean = |of: fn(&CellScore) -> f64| {
        own().map(|row| row.samples as f64 * of(row)).sum::<f64>() / samples as f64
    };
    (samples > 0)
        .then(|| Seconds { encode_secs: mean(|row| row.encode_secs), ask_secs: mean(|row| row.ask_secs) })
}

/// The methods that carry the context, or parts of it, in the prompt.
pub(super) fn carriers(rows: &[CellScore]) -> Vec<&str> {
    let reads = |name: &&str| name.parse::<Method>().is_ok_and(Method::reads_context);
    methods(rows).into_iter().filter(reads).collect()
}

/// The lines of a table, its head first; nothing where `perk` is not among the methods, or nothing to compare it with.
pub(super) fn break_even(rows: &[CellScore]) -> Option<Vec<Vec<String>>> {
    let perk = Method::Perk.name();
    let head = ["break-even", "length", "perk encode", "perk ask", "ask", "cheaper from"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for carrier in carriers(rows) {
        for length in lengths(rows.iter().filter(|row| row.method == perk)) {
            let both = (seconds(rows, perk, length), seconds(rows, carrier, length));
            let (Some(own), Some(other)) = both else { continue };
            let from = own.cheaper_from(other).map_or_else(|| "never".to_owned(), questions);
            let secs = |secs: f64| format!("{secs:.3} s");
            let numbers = [own.encode_secs, own.ask_secs, other.ask_secs].map(secs);
            let line =
                [vec![format!("against {carrier}"), length_name(length)], numbers.to_vec(), vec![from]];
            lines.push(line.concat());
        }
    }
    (lines.len() > 1).then_some(lines)
}

fn questions(count: u64) -> String {
    let noun = if count == 1 { "question" } else { "questions" };
    format!("{count} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{kilo, row};

    fn took(method: &str, tokens: usize, encode_secs: f64, ask_secs: f64) -> CellScore {
        CellScore { encode_secs, ask_secs, ..row(method, "qa1", kilo(tokens), 50) }
    }

    #[test]
    fn encoding_pays_once_its_seconds_are_made_up_for() {
        let rows = [
            took("perk", 4, 10.0, 0.5),
            took("perk", 16, 40.0, 0.5),
            took("icr", 4, 0.0, 3.0),
            took("icr", 16, 0.0, 0.5),
        ];
        let lines = break_even(&rows).unwrap();
        // After four questions both have taken 12 s.
        assert_eq!(lines[1], ["against icr", "4k", "10.000 s", "0.500 s", "3.000 s", "5 questions"]);
        assert_eq!(lines[2][5], "never", "asking costs the same");
        assert_eq!(break_even(&rows[..2]), None);
        assert_eq!(break_even(&rows[2..]), None);
    }

    #[test]
    fn seconds_are_a_mean_over_answers() {
        let mut rows = [took("icr", 4, 0.0, 1.0), took("icr", 4, 0.0, 4.0)];
        rows[1].samples = 50;
        assert_eq!(seconds(&rows, "icr", kilo(4)).unwrap().ask_secs, 2.0);
        assert_eq!(seconds(&rows, "icr", kilo(8)), None);
    }
}
