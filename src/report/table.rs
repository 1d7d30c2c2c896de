//! The table of scores, in plain text.

use crate::eval::{Method, Row, SupportSummary};

use super::support::{first_faults, percent};

type Share = fn(&SupportSummary) -> f64;

/// What is shown of the facts behind the answers, below their scores.
const SUPPORT: [(&str, Share); 3] = [
    ("facts recalled", |support| support.recall),
    ("recalled facts right", |support| support.precision),
    ("right with its facts", |support| support.right_with_support),
];

/// One line for each method, one column for each length; reasons for missing scores below.
pub fn table(rows: &[Row], chance: f64) -> String {
    let mut lengths: Vec<(usize, usize)> =
        rows.iter().map(|row| (row.multiple, row.context_tokens)).collect();
    lengths.sort_unstable();
    lengths.dedup_by_key(|(multiple, _)| *multiple);
    let mut cells = vec![header(&lengths)];
    for method in Method::ALL {
        let own: Vec<&Row> = rows.iter().filter(|row| row.method == method).collect();
        if own.is_empty() {
            continue;
        }
        let scores =
            lengths.iter().map(|(multiple, _)| score(own.iter().find(|row| row.multiple == *multiple)));
        cells.push(std::iter::once(method.name().to_owned()).chain(scores).collect());
        for (what, share) in SUPPORT {
            let shares: Vec<Option<f64>> = lengths
                .iter()
                .map(|(multiple, _)| {
                    own.iter().find(|row| row.multiple == *multiple)?.support.as_ref().map(share)
                })
                .collect();
            if shares.iter().any(Option::is_some) {
                let shares = shares.into_iter().map(cell);
                cells.push(std::iter::once(format!("  {what}")).chain(shares).collect());
            }
        }
    }
    format!("{}{}", align(&cells), footer(rows, chance))
}

fn header(lengths: &[(usize, usize)]) -> Vec<String> {
    let columns = lengths.iter().map(|(multiple, tokens)| format!("{multiple}× ({tokens} tokens)"));
    std::iter::once("exact match".to_owned()).chain(columns).collect()
}

fn score(row: Option<&&Row>) -> String {
    cell(row.and_then(|row| row.exact_match))
}

fn cell(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), percent)
}

/// Columns of equal width, two spaces apart: the first stands left, the others right.
pub(super) fn align(cells: &[Vec<String>]) -> String {
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..cells[0].len()).map(width).collect();
    let mut text = String::new();
    for line in cells {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(width - cell.chars().count());
            text += &if column == 0 { format!("{cell}{gap}") } else { format!("  {gap}{cell}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn footer(rows: &[Row], chance: f64) -> String {
    let questions = rows.iter().map(|row| row.n).max().unwrap_or(0);
    let mut text = format!(
        "{questions} held-out questions a cell; guessing among their answers scores {:.1}%\n",
        100.0 * chance
    );
    for row in rows {
        if let Some(reason) = &row.reason {
            text += &format!("– {} at {}×: {reason}\n", row.method.name(), row.multiple);
        }
        if let Some(support) = row.support.as_ref().filter(|support| support.right_with_support < 1.0) {
            let (method, multiple, faults) = (row.method.name(), row.multiple, first_faults(support));
            text += &format!("{method} at {multiple}×: first wrong step {faults}");
            text += &match support.malformed {
                0 => "\n".to_owned(),
                malformed => format!("; {malformed} cut short or malformed\n"),
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: Method, multiple: usize, exact_match: Option<f64>) -> Row {
        let reason = exact_match.is_none().then(|| "too long".to_owned());
        let context_tokens = 80 * multiple;
        Row { method, multiple, context_tokens, exact_match, n: 64, support: None, secs: 1.0, reason }
    }

    #[test]
    fn the_facts_behind_the_answers_stand_below_their_scores_with_the_step_that_failed() {
        let support = SupportSummary {
            samples: 64,
            precision: 0.75,
            recall: 0.875,
            f1: 0.8,
            right_with_support: 0.5,
            malformed: 3,
            first_faults: vec![0, 32],
            with_more_facts: 0,
            answer_faults: 0,
        };
        let rows = [
            Row { support: Some(support), ..row(Method::Perk, 1, Some(0.9)) },
            row(Method::Perk, 4, Some(0.5)),
            row(Method::Icr, 1, Some(0.25)),
        ];
        let expected = "\
exact match             1× (80 tokens)  4× (320 tokens)
perk                             90.0%            50.0%
  facts recalled                 87.5%                –
  recalled facts right           75.0%                –
  right with its facts           50.0%                –
icr                              25.0%                –
64 held-out questions a cell; guessing among their answers scores 16.7%
perk at 1×: first wrong step fact 2: 32; 3 cut short or malformed
";
        assert_eq!(table(&rows, 1.0 / 6.0), expected);
    }

    #[test]
    fn the_table_shows_methods_by_length_and_says_why_a_score_is_missing() {
        let rows = [
            row(Method::Perk, 1, Some(0.96875)),
            row(Method::Perk, 16, Some(0.5)),
            row(Method::Icr, 1, Some(1.0)),
            row(Method::Icr, 16, None),
        ];
        let expected = "\
exact match  1× (80 tokens)  16× (1280 tokens)
perk                  96.9%              50.0%
icr                  100.0%                  –
64 held-out questions a cell; guessing among their answers scores 16.7%
– icr at 16×: too long
";
        assert_eq!(table(&rows, 1.0 / 6.0), expected);
    }
}
