//! The page of some runs.

use std::collections::BTreeSet;

use crate::{
    benchmarks::Metric,
    eval::CellScore,
    report::page::{Page, details, paragraph, table},
    report::pictures::{Curve, CurveLabels, Picture, curves, over_length},
    report::{EvalRecord, Evaluation, StepRecord, duration, gigabytes},
};

use super::super::{
    cost::costs,
    grid::{metric_name, positions},
    support::supports,
    table::{Table, scores},
};
use super::{ReportedRun, RunsReport};

/// What is not there.
const NONE: &str = "–";

/// A picture over the outer steps: its title, what the numbers are, and where they are found.
type OverSteps = (&'static str, &'static str, fn(&ReportedRun, &StepRecord) -> Option<f64>);

const OVER_STEPS: [OverSteps; 6] = [
    ("Outer loss", "nats a token", |_, step| Some(step.outer_loss)),
    ("Inner loss before the first step", "weighted", |_, step| Some(step.inner_loss_first)),
    ("Inner loss before the last step", "weighted", |_, step| Some(step.inner_loss_last)),
    ("Norm of the meta-gradient", "", |_, step| Some(step.grad_norm)),
    ("Outer rate of the adapter", "", |run, step| Some(run.number("outer.lr")? * step.lr_factor)),
    ("Time of an outer step", "seconds", |_, step| Some(step.secs)),
];

impl RunsReport {
    /// The page: an overview, scores, curves over the outer steps, and configurations with their differences.
    pub fn page(&self) -> Page {
        let names: Vec<&str> = self.runs.iter().map(|run| run.name.as_str()).collect();
        let mut page = Page::new(&names.join(", "));
        page.section("runs", "Runs", &table(&self.overview()));
        let scores = self.scores_part();
        if !scores.is_empty() {
            page.section("scores", "Scores", &scores);
        }
        let curves = self.curves_part();
        if !curves.is_empty() {
            page.section("curves", "Over the outer steps", &curves);
        }
        let configurations = self.configurations_part();
        if !configurations.is_empty() {
            page.section("configuration", "Configuration", &configurations);
        }
        page
    }

    fn overview(&self) -> Vec<Vec<String>> {
        let head = [
            "run",
            "outer steps",
            "last held-out score",
            "best",
            "trained numbers",
            "training",
            "scoring",
            "peak memory",
        ];
        std::iter::once(head.map(str::to_owned).to_vec()).chain(self.runs.iter().map(overview_line)).collect()
    }

    /// Tables and pictures of the scores, those of one benchmark and score together.
    fn scores_part(&self) -> String {
        let evaluations = || self.runs.iter().filter_map(|run| Some((run, run.evaluation.as_ref()?)));
        let mut kinds: Vec<(&str, Metric)> = Vec::new();
        for (_, evaluation) in evaluations() {
            let kind = (evaluation.benchmark.as_str(), evaluation.metric);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let of_kind = |kind: &(&str, Metric)| {
            let own = evaluations().filter(|(_, own)| (own.benchmark.as_str(), own.metric) == *kind);
            scores_of(&own.collect::<Vec<_>>())
        };
        kinds.iter().map(of_kind).collect()
    }

    fn curves_part(&self) -> String {
        let over_evals = |of: fn(&EvalRecord) -> Option<f64>| -> Vec<Curve> {
            let points =
                |run: &ReportedRun| run.evals.iter().filter_map(|e| Some((e.step as f64, of(e)?))).collect();
            self.runs.iter().map(|run| Curve { name: run.name.clone(), points: points(run) }).collect()
        };
        let share = |title| CurveLabels { title, number: "share", is_share: true };
        let matches =
            curves(share("Exact match on held-out questions"), &over_evals(|eval| Some(eval.exact_match)));
        let recalled = over_evals(|eval| eval.support.as_ref().map(|support| support.recall));
        let recalled = curves(share("Facts recalled"), &recalled);
        let over_steps = OVER_STEPS.iter().map(|&(title, number, of)| {
            let points = |run: &ReportedRun| {
                run.steps.iter().filter_map(|step| Some((step.step as f64, of(run, step)?))).collect()
            };
            let own: Vec<Curve> =
                self.runs.iter().map(|run| Curve { name: run.name.clone(), points: points(run) }).collect();
            curves(CurveLabels { title, number, is_share: false }, &own)
        });
        let pictures: Vec<Picture> = over_steps.chain([matches, recalled]).flatten().collect();
        if pictures.is_empty() {
            return String::new();
        }
        let how = "Of many steps the mean is drawn, over a paler ground from the smallest to the largest. Rest the pointer on a \
                   place for its numbers.";
        let pictures: String = pictures.iter().map(Picture::svg).collect();
        format!("{}<div class=\"charts\">{pictures}</div>\n", paragraph(how))
    }

    /// What differs, and each configuration whole.
    fn configurations_part(&self) -> String {
        let with: Vec<&ReportedRun> = self.runs.iter().filter(|run| run.config.is_some()).collect();
        let mut html = String::new();
        if with.len() > 1 {
            let lines = differences(&with);
            html += &match lines.len() {
                1 => paragraph("The configurations do not differ, but for the folders."),
                _ => table(&lines),
            };
        }
        for run in with {
            html += &details(&run.name, run.config.as_deref().unwrap_or_default());
        }
        html
    }
}

fn overview_line(run: &ReportedRun) -> Vec<String> {
    let steps = match (run.steps.last(), run.keys.get("outer.steps")) {
        (None, _) => NONE.to_owned(),
        (Some(last), Some(all)) if last.step.to_string() != *all => format!("{} of {all}", last.step),
        (Some(last), _) => last.step.to_string(),
    };
    let percent = |score: f64| format!("{:.1}%", 100.0 * score);
    let scores = run.evals.iter().map(|eval| eval.exact_match);
    let train_secs = run.steps.iter().map(|step| step.secs).sum();
    let eval_secs = run.evals.iter().map(|eval| eval.secs).sum();
    let result = run.result.as_ref();
    let secs = |of: Option<f64>| of.map_or_else(|| NONE.to_owned(), duration);
    let is_run = !run.steps.is_empty();
    vec![
        run.name.clone(),
        steps,
        scores.clone().next_back().map_or_else(|| NONE.to_owned(), percent),
        scores.reduce(f64::max).map_or_else(|| NONE.to_owned(), percent),
        result.map_or_else(|| NONE.to_owned(), |result| result.trainable_parameters.to_string()),
        secs(result.map(|result| result.train_secs).or(is_run.then_some(train_secs))),
        secs(result.map(|result| result.eval_secs).or(is_run.then_some(eval_secs))),
        result.and_then(|result| result.peak_bytes).map_or_else(|| NONE.to_owned(), gigabytes),
    ]
}

/// Scores of one benchmark; of several runs the methods are called by their runs too.
fn scores_of(evaluations: &[(&ReportedRun, &Evaluation)]) -> String {
    let [(_, first), ..] = evaluations else { return String::new() };
    let several = evaluations.len() > 1;
    let rows: Vec<CellScore> = evaluations
        .iter()
        .flat_map(|(run, evaluation)| evaluation.rows.iter().map(move |row| (run, row)))
        .map(|(run, row)| {
            let method = if several { format!("{}: {}", run.name, row.method) } else { row.method.clone() };
            CellScore { method, ..row.clone() }
        })
        .collect();
    let legend = match several {
        true => format!(
            "{}: {} in percent ± half of the 95% interval",
            first.benchmark,
            metric_name(first.metric)
        ),
        false => format!("{}: {}", first.benchmark, first.legend()),
    };
    let mut html = paragraph(&legend);
    html += &scores(&rows).iter().map(|Table { lines, .. }| table(lines)).collect::<String>();
    html += &supports(&rows).as_deref().map(table).unwrap_or_default();
    let chance =
        first.chance.filter(|chance| evaluations.iter().all(|(_, other)| other.chance == Some(*chance)));
    for position in positions(&rows) {
        let own: Vec<CellScore> = rows.iter().filter(|row| row.cell.position == position).cloned().collect();
        let title = format!(
            "{}: {} over length, position {}",
            first.benchmark,
            metric_name(first.metric),
            position.name()
        );
        // Rows without lengths have no such picture.
        html += over_length(&own, &title, chance).as_ref().map_or("", Picture::svg);
    }
    html + &table(&costs(&rows))
}

/// A line for each key whose values differ, the head first; where results are put always differs.
fn differences(runs: &[&ReportedRun]) -> Vec<Vec<String>> {
    let names = runs.iter().map(|run| run.name.clone());
    let mut lines: Vec<Vec<String>> = vec![std::iter::once("key".to_owned()).chain(names).collect()];
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.keys.keys()).collect();
    for key in keys.into_iter().filter(|key| *key != "run.dir") {
        let values: Vec<String> =
            runs.iter().map(|run| run.keys.get(key).cloned().unwrap_or_else(|| NONE.to_owned())).collect();
        if values.iter().any(|value| *value != values[0]) {
            lines.push(std::iter::once(key.clone()).chain(values).collect());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::run;
    use super::*;

    fn report(runs: &[(&str, f64, bool)]) -> (tempfile::TempDir, RunsReport) {
        let room = tempfile::tempdir().unwrap();
        let dirs: Vec<PathBuf> = runs
            .iter()
            .map(|(name, score, is_finished)| run(room.path(), name, *score, *is_finished))
            .collect();
        let report = RunsReport::read(&dirs).unwrap();
        (room, report)
    }

    #[test]
    fn the_page_of_a_run_has_its_numbers_its_scores_and_its_curves() {
        let html = report(&[("one", 0.75, true)]).1.page().html();
        for part in [
            "<td>one</td>\n<td>3</td>\n<td>75.0%</td>",
            "<td>41329</td>\n<td>1:57 min</td>\n<td>16.0 s</td>\n<td>220 MB</td>",
            "<td>90.0 ± ",
            ">Outer loss, nats a token</text>",
            "<title>step 2: 0.500</title>",
            "<title>step 3: 1.00e-3</title>",
            ">Exact match on held-out questions</text>",
            "babilong: accuracy over length, position random",
            "<summary>one</summary><pre>[outer]",
        ] {
            assert!(html.contains(part), "{part} is missing in {html}");
        }
        assert!(!html.contains("do not differ"));
    }

    #[test]
    fn several_runs_share_tables_and_pictures_and_say_what_differs() {
        let (_room, mut report) = report(&[("one", 0.75, true), ("two", 0.5, true)]);
        assert!(report.page().html().contains("do not differ"));
        report.runs[1].keys.insert("outer.lr".to_owned(), "0.004".to_owned());
        let html = report.page().html();
        for part in [
            "<tr><td>outer.lr</td>\n<td>0.002</td>\n<td>0.004</td>\n</tr>",
            "<td>one: perk</td>",
            "<td>two: perk</td>",
            "<title>step 3: one 0.333, two 0.333</title>",
            "<summary>two</summary>",
        ] {
            assert!(html.contains(part), "{part} is missing in {html}");
        }
        assert!(!html.contains("<td>run.dir</td>") && !html.contains("do not differ"));
    }

    #[test]
    fn a_run_that_goes_on_is_shown_as_far_as_it_came() {
        let (_room, mut report) = report(&[("one", 0.75, false)]);
        report.runs[0].keys.insert("outer.steps".to_owned(), "10".to_owned());
        let html = report.page().html();
        assert!(html.contains("<td>3 of 10</td>") && html.contains("<td>600 ms</td>"), "{html}");
        assert!(!html.contains("id=\"scores\""));
    }
}
