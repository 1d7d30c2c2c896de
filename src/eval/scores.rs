//! All scores of one output.

use serde::{Deserialize, Serialize};

use crate::{Result, benchmarks::Metric};

use super::{babilong_is_right, contains, exact_match, f1, string_match_all};

/// Every score of one output.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Equal to an accepted answer after normalisation.
    pub exact_match: bool,
    /// F1 of the words, best over the accepted answers, 0 to 1.
    pub f1: f64,
    /// Contains an accepted answer after normalisation.
    pub substring: bool,
    /// BABILong's own decision; `None` in other benchmarks.
    pub babilong: Option<bool>,
    /// The share of the answers that occur in the output, 0 to 1, as RULER counts it; `None` in other benchmarks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_match_all: Option<f64>,
}

impl Scores {
    /// The score that the benchmark is known by, 0 to 1. Where a benchmark's own one was not made, it is 0.
    pub fn headline(&self, metric: Metric) -> f64 {
        let right = match metric {
            Metric::Babilong => self.babilong.unwrap_or(false),
            Metric::ExactMatch => self.exact_match,
            Metric::Substring => self.substring,
            Metric::StringMatchAll => return self.string_match_all.unwrap_or(0.0),
        };
        f64::from(u8::from(right))
    }
}

/// Scores `output`: the answer alone, without the facts behind it.
///
/// `subtask` and `question` count for BABILong's decision alone.
///
/// # Errors
/// BABILong's decision on a subtask that BABILong does not have.
pub fn scores(
    metric: Metric,
    subtask: &str,
    question: &str,
    answers: &[String],
    output: &str,
) -> Result<Scores> {
    let babilong = match metric {
        Metric::Babilong => {
            let decisions = answers.iter().map(|target| babilong_is_right(subtask, question, target, output));
            let decisions: Vec<bool> = decisions.collect::<Result<_>>()?;
            Some(decisions.contains(&true))
        }
        Metric::ExactMatch | Metric::Substring | Metric::StringMatchAll => None,
    };
    Ok(Scores {
        exact_match: exact_match(output, answers),
        f1: f1(output, answers),
        substring: contains(output, answers),
        babilong,
        string_match_all: (metric == Metric::StringMatchAll).then(|| string_match_all(output, answers)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::AnswerForm;

    fn scored(metric: Metric, subtask: &str, output: &str) -> Scores {
        let answer = AnswerForm::default().parse(output).answer;
        scores(metric, subtask, "Where is Mary?", &["kitchen".to_owned()], &answer).unwrap()
    }

    #[test]
    fn only_what_stands_between_the_output_tags_counts() {
        let output = "<support>Mary went to the garden.</support><output>The kitchen.</output> garden";
        let expected = Scores {
            exact_match: true,
            f1: 1.0,
            substring: true,
            babilong: Some(true),
            string_match_all: None,
        };
        assert_eq!(scored(Metric::Babilong, "qa1", output), expected);
        let cut_short = scored(Metric::Babilong, "qa1", "<support>Mary went to the kitchen");
        assert_eq!(
            cut_short,
            Scores { exact_match: false, f1: 0.0, substring: false, babilong: Some(false), ..expected }
        );
    }

    #[test]
    fn babilongs_decision_is_made_where_it_is_the_metric_and_its_tasks_are_known() {
        assert_eq!(scored(Metric::Substring, "recall", "kitchen").babilong, None);
        assert!(scores(Metric::Babilong, "recall", "", &["kitchen".to_owned()], "kitchen").is_err());
        let either = ["garden".to_owned(), "kitchen".to_owned()];
        let found = scores(Metric::Babilong, "qa1", "Where is Mary?", &either, "kitchen").unwrap();
        assert_eq!(found.babilong, Some(true));
    }

    #[test]
    fn the_headline_is_the_score_of_the_metric() {
        let found = scored(Metric::Babilong, "qa1", "It is in the kitchen");
        let headlines = [Metric::Babilong, Metric::ExactMatch, Metric::Substring].map(|m| found.headline(m));
        assert_eq!(headlines, [1.0, 0.0, 1.0]);
        let unscored = Scores { babilong: None, ..found };
        assert_eq!(unscored.headline(Metric::Babilong), 0.0);
        assert_eq!(unscored.headline(Metric::StringMatchAll), 0.0);
    }

    #[test]
    fn the_headline_of_several_answers_is_the_share_that_was_found() {
        let answers = ["4711001", "4711002", "4711003", "4711004"].map(str::to_owned);
        let found =
            scores(Metric::StringMatchAll, "niah_multivalue", "", &answers, "4711003 and 4711001").unwrap();
        assert_eq!(found.string_match_all, Some(0.5));
        assert_eq!(found.headline(Metric::StringMatchAll), 0.5);
    }

    #[test]
    fn scores_from_before_there_were_shares_are_read() {
        let line = r#"{"exact_match": true, "f1": 1.0, "substring": true, "babilong": null}"#;
        let read: Scores = serde_json::from_str(line).unwrap();
        assert_eq!(read, scored(Metric::ExactMatch, "recall", "kitchen"));
        assert!(!serde_json::to_string(&read).unwrap().contains("string_match_all"));
    }
}
