//! How well the facts behind the answers were recalled, by cell.

use crate::eval::{CellScore, SupportSummary};

use super::grid::length_name;

/// The lines of a table of recalled facts, its head first: a line for each row that has any; nothing without.
pub(super) fn supports(rows: &[CellScore]) -> Option<Vec<Vec<String>>> {
    let head = [
        "facts",
        "position",
        "length",
        "precision",
        "recall",
        "F1",
        "right with its facts",
        "first wrong step",
        "malformed",
    ];
    let own = rows.iter().filter_map(|row| Some(line(row, row.support.as_ref()?)));
    let lines: Vec<Vec<String>> = own.collect();
    (!lines.is_empty()).then(|| std::iter::once(head.map(str::to_owned).to_vec()).chain(lines).collect())
}

fn line(row: &CellScore, support: &SupportSummary) -> Vec<String> {
    vec![
        format!("{} {}", row.method, row.cell.subtask),
        row.cell.position.name().to_owned(),
        length_name(row.cell.length),
        percent(support.precision),
        percent(support.recall),
        percent(support.f1),
        percent(support.right_with_support),
        first_faults(support),
        format!("{} of {}", support.malformed, support.samples),
    ]
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// `fact 1: 2, fact 3: 1, answer: 4`: outputs by the step that first went wrong; `none` where all went right.
pub(super) fn first_faults(support: &SupportSummary) -> String {
    let facts = support.first_faults.iter().enumerate();
    let mut steps: Vec<String> = facts
        .filter(|(_, count)| **count > 0)
        .map(|(step, count)| format!("fact {}: {count}", step + 1))
        .collect();
    if support.with_more_facts > 0 {
        steps.push(format!("more than wanted: {}", support.with_more_facts));
    }
    if support.answer_faults > 0 {
        steps.push(format!("answer: {}", support.answer_faults));
    }
    if steps.is_empty() { "none".to_owned() } else { steps.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{kilo, row, with_support};

    #[test]
    fn a_line_says_what_was_recalled_and_which_step_failed_first() {
        let rows = [row("base", "qa2", kilo(4), 50), with_support(row("perk", "qa2", kilo(4), 90))];
        let lines = supports(&rows).unwrap();
        let expected = [
            "perk qa2",
            "random",
            "4k",
            "95.0%",
            "90.0%",
            "92.0%",
            "88.0%",
            "fact 1: 3, fact 3: 7, more than wanted: 1, answer: 2",
            "1 of 100",
        ];
        assert_eq!(lines[1..], [expected.map(str::to_owned).to_vec()]);
        assert_eq!(lines[0].len(), lines[1].len());
        assert_eq!(supports(&rows[..1]), None);
    }
}
