//! The facts that an output recalls, against those that decide the question.

use serde::{Deserialize, Serialize};

use crate::text::{AnswerForm, split_facts};

use super::Reply;

/// How a model answers that was trained to recall the facts first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reasoning {
    /// The form of its answers.
    pub form: AnswerForm,
    /// What stands between two facts.
    pub separator: String,
}

/// The authors' form, facts separated by spaces.
impl Default for Reasoning {
    fn default() -> Self {
        Self { form: AnswerForm::default(), separator: " ".to_owned() }
    }
}

impl Reasoning {
    /// How well a reply recalled the facts; `None` where they are not known.
    pub fn score(&self, reply: &Reply, wanted: &[String]) -> Option<SupportScore> {
        let recalled = reply.support.as_deref().unwrap_or_default();
        (!wanted.is_empty()).then(|| SupportScore::of(recalled, !reply.malformed, wanted, &self.separator))
    }
}

/// How well one output recalled the facts behind its answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupportScore {
    /// Part of the recalled facts that are wanted, 0 to 1; 0 where none is recalled.
    pub precision: f64,
    /// Part of the wanted facts that are recalled, 0 to 1.
    pub recall: f64,
    /// 2PR / (P + R), 0 to 1.
    pub f1: f64,
    /// The first wanted fact, from 0, in whose place another or none stands; `None` where all stand in order.
    pub first_fault: Option<usize>,
    /// Whether more facts follow behind the wanted ones, all of which stand in order.
    pub has_more: bool,
    /// Whether the output has every mark of its form, in order; one that was cut short has not.
    pub is_whole: bool,
}

impl SupportScore {
    /// Compares fact by fact, each as often as it stands there; case and white space within a fact do not count.
    /// Wanted facts are told apart as [`split_facts`] does with those that were recalled.
    pub fn of(recalled: &[String], is_whole: bool, wanted: &[String], separator: &str) -> Self {
        let given: Vec<String> = recalled.iter().map(|fact| plain(fact)).collect();
        let wanted = wanted.join(separator);
        let wanted: Vec<String> = split_facts(&wanted, separator).into_iter().map(plain).collect();
        let (common, sizes) = (common(&given, &wanted) as f64, (given.len() as f64, wanted.len() as f64));
        let share = |size: f64| if size > 0.0 { common / size } else { 0.0 };
        let (precision, recall) = (share(sizes.0), share(sizes.1));
        let f1 = if common > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
        let first_fault = (0..wanted.len()).find(|&step| given.get(step) != wanted.get(step));
        let has_more = first_fault.is_none() && given.len() > wanted.len();
        Self { precision, recall, f1, first_fault, has_more, is_whole }
    }

    /// Whether exactly the wanted facts are recalled, in any order.
    pub fn has_all(&self) -> bool {
        self.f1 == 1.0
    }
}

/// How well the outputs of a cell recalled the facts behind their answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupportSummary {
    /// Outputs whose facts were compared.
    pub samples: usize,
    /// Mean precision by fact, 0 to 1.
    pub precision: f64,
    /// Mean recall by fact, 0 to 1.
    pub recall: f64,
    /// Mean F1 by fact, 0 to 1.
    pub f1: f64,
    /// Share of outputs with the right answer and exactly the facts that decide it, 0 to 1: right for the right
    /// reasons.
    pub right_with_support: f64,
    /// Outputs that lack a mark of their form, as those that were cut short do.
    pub malformed: usize,
    /// Outputs by the first wanted fact that went wrong, in the order of the reasoning.
    pub first_faults: Vec<usize>,
    /// Outputs whose facts are all right and in order, and are followed by more.
    pub with_more_facts: usize,
    /// Outputs whose facts are the wanted ones in order, and the answer wrong.
    pub answer_faults: usize,
}

impl SupportSummary {
    /// Of the outputs whose facts were compared, each with whether its answer is right; `None` if there is none.
    pub fn of(scored: impl IntoIterator<Item = (SupportScore, bool)>) -> Option<Self> {
        let mut sum = Self::default();
        let mut with_support = 0;
        for (score, is_right) in scored {
            sum.samples += 1;
            sum.precision += score.precision;
            sum.recall += score.recall;
            sum.f1 += score.f1;
            with_support += usize::from(is_right && score.has_all());
            sum.malformed += usize::from(!score.is_whole);
            match score.first_fault {
                Some(step) => {
                    let steps = sum.first_faults.len().max(step + 1);
                    sum.first_faults.resize(steps, 0);
                    sum.first_faults[step] += 1;
                }
                None if score.has_more => sum.with_more_facts += 1,
                None => sum.answer_faults += usize::from(!is_right),
            }
        }
        let samples = sum.samples as f64;
        (sum.samples > 0).then(|| Self {
            precision: sum.precision / samples,
            recall: sum.recall / samples,
            f1: sum.f1 / samples,
            right_with_support: with_support as f64 / samples,
            ..sum
        })
    }
}

/// A fact without white space and in lower case.
fn plain(fact: &str) -> String {
    fact.split_whitespace().collect::<String>().to_lowercase()
}

/// How many facts of one list are in the other, each as often as in both.
fn common(given: &[String], wanted: &[String]) -> usize {
    let mut left: Vec<&String> = wanted.iter().collect();
    let mut found = 0;
    for fact in given {
        if let Some(place) = left.iter().position(|other| *other == fact) {
            left.swap_remove(place);
            found += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::AnswerForm;

    const WANTED: [&str; 2] = ["Mary Event 1: Mary got the milk.", "Mary Event 2: Mary ran."];

    fn score_with(output: &str, wanted: &[String], separator: &str) -> SupportScore {
        let answer = AnswerForm::default().parse(output);
        SupportScore::of(&answer.facts(separator).unwrap_or_default(), answer.is_whole, wanted, separator)
    }

    fn score(output: &str) -> SupportScore {
        score_with(output, &WANTED.map(str::to_owned), " ")
    }

    #[test]
    fn facts_are_compared_one_by_one_whatever_a_tokenizer_does_to_their_spaces() {
        let text = "<support>mary Event 1 : Mary got the milk. Mary Event 2 : Mary ran.</support>\n<output>x</output>";
        let found = score(text);
        let perfect = SupportScore {
            precision: 1.0,
            recall: 1.0,
            f1: 1.0,
            first_fault: None,
            has_more: false,
            is_whole: true,
        };
        assert_eq!(found, perfect);
        assert!(found.has_all());
    }

    #[test]
    fn a_missing_a_wrong_a_doubled_and_a_swapped_fact_are_told_apart() {
        for (facts, precision, recall, first_fault, has_all) in [
            ("Mary Event 1: Mary got the milk.", 1.0, 0.5, Some(1), false),
            ("Mary Event 1: Mary got the milk. Mary Event 2: Mary sat.", 0.5, 0.5, Some(1), false),
            (
                "Mary Event 1: Mary got the milk. Mary Event 2: Mary ran. Mary Event 2: Mary ran.",
                2.0 / 3.0,
                1.0,
                None,
                false,
            ),
            ("Mary Event 2: Mary ran. Mary Event 1: Mary got the milk.", 1.0, 1.0, Some(0), true),
            ("", 0.0, 0.0, Some(0), false),
        ] {
            let found = score(&format!("<support>{facts}</support><output>a</output>"));
            assert_eq!((found.precision, found.recall), (precision, recall), "{facts}");
            assert_eq!((found.first_fault, found.has_all()), (first_fault, has_all), "{facts}");
            assert_eq!(found.has_more, facts.matches('.').count() == 3, "{facts}");
        }
    }

    #[test]
    fn an_output_that_was_cut_is_counted_with_what_it_has() {
        let found = score("<support>Mary Event 1: Mary got the milk. Mary Ev");
        assert_eq!((found.precision, found.recall, found.is_whole), (0.5, 0.5, false));
        let none = score("kitchen");
        assert_eq!((none.precision, none.recall, none.f1, none.first_fault), (0.0, 0.0, 0.0, Some(0)));
    }

    #[test]
    fn facts_with_a_separator_of_their_own_may_hold_several_sentences() {
        let wanted = ["A. B.".to_owned(), "C d".to_owned()];
        let output = "<support>A. B. | C  d</support><output>x</output>";
        assert!(score_with(output, &wanted, " | ").has_all());
    }

    #[test]
    fn a_summary_says_where_the_reasoning_first_goes_wrong() {
        let outputs = [
            (
                "<support>Mary Event 1: Mary got the milk. Mary Event 2: Mary ran.</support><output>a</output>",
                true,
            ),
            (
                "<support>Mary Event 1: Mary got the milk. Mary Event 2: Mary ran.</support><output>b</output>",
                false,
            ),
            ("<support>Mary Event 1: Mary got the milk. Mary", false),
            ("<support>Mary ran.</support><output>a</output>", true),
        ];
        let summary = SupportSummary::of(outputs.map(|(text, is_right)| (score(text), is_right))).unwrap();
        assert_eq!((summary.samples, summary.malformed, summary.answer_faults), (4, 1, 1));
        assert_eq!(summary.first_faults, [1, 1]);
        assert_eq!((summary.right_with_support, summary.recall), (0.25, 2.5 / 4.0));
        assert_eq!(SupportSummary::of([]), None);
    }
}
