//! What `perk eval` leaves behind: `results.json`, `results.csv`, `results.md` and a table for the terminal.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    benchmarks::Metric,
    checkpoint::{write_file, write_json},
    error::{Error, Result},
    eval::CellScore,
    files::{parse_json, read_text},
};

use super::{
    break_even::break_even,
    cost::costs,
    grid::metric_name,
    support::supports,
    table::{Table, align, markdown, scores},
};

/// The scores of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Name of the benchmark: `babilong`.
    pub benchmark: String,
    /// The score that the tables show.
    pub metric: Metric,
    /// Seed of the samples.
    pub seed: u64,
    /// What guessing would score, 0 to 1; `None` where it is not known.
    pub chance: Option<f64>,
    /// One for each cell and method.
    pub rows: Vec<CellScore>,
    /// Whether tables and pictures say from how many questions on one document encoding it is the cheaper way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_even: bool,
    /// Version of perk.
    pub version: String,
}

impl Evaluation {
    /// Writes `results.json`, `results.csv` and `results.md` to a folder that is there.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.write_json(&folder.join("results.json"))?;
        self.write_csv(&folder.join("results.csv"))?;
        let path = folder.join("results.md");
        write_file(&path, |out| {
            out.write_all(self.markdown().as_bytes()).map_err(|fault| Error::io(&path, fault))
        })
    }

    /// Writes it all as JSON.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let value = serde_json::to_value(self)
            .map_err(|fault| Error::file(path, format!("the results cannot be written: {fault}")))?;
        write_json(path, &value)
    }

    /// Reads what [`write_json`](Self::write_json) wrote.
    ///
    /// # Errors
    /// A file that is missing or something else.
    pub fn read_json(path: &Path) -> Result<Self> {
        parse_json(path, &read_text(path)?)
    }

    /// Writes one line for each row, with all its fields.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<()> {
        write_file(path, |out| {
            let mut lines = csv::Writer::from_writer(out);
            let mut attempt = || {
                self.rows.iter().try_for_each(|row| lines.serialize(Line::of(self, row)))?;
                lines.flush().map_err(csv::Error::from)
            };
            attempt().map_err(|fault| Error::io(path, fault.into()))
        })
    }

    /// A table of subtasks by lengths for each method and position, and what it cost.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}.\n", self.benchmark, self.legend());
        for Table { name, lines } in scores(&self.rows) {
            text += &format!("\n## {name}\n\n{}", markdown(&lines));
        }
        if let Some(lines) = supports(&self.rows) {
            text += &format!("\n## Facts behind the answers\n\n{}", markdown(&lines));
        }
        if !self.rows.is_empty() {
            text += &format!("\n## Cost\n\n{}", markdown(&costs(&self.rows)));
        }
        if let Some(lines) = self.break_even_lines() {
            text += &format!("\n## Break-even\n\n{}", markdown(&lines));
        }
        text
    }

    /// The same for the terminal, in plain text.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for Table { lines, .. } in scores(&self.rows) {
            text += &format!("{}\n", align(&lines));
        }
        if let Some(lines) = supports(&self.rows) {
            text += &format!("{}\n", align(&lines));
        }
        if !self.rows.is_empty() {
            text += &format!("{}\n", align(&costs(&self.rows)));
        }
        if let Some(lines) = self.break_even_lines() {
            text += &format!("{}\n", align(&lines));
        }
        format!("{text}{}\n", self.legend())
    }

    fn break_even_lines(&self) -> Option<Vec<Vec<String>>> {
        break_even(&self.rows).filter(|_| self.break_even)
    }

    /// What the numbers are.
    pub(super) fn legend(&self) -> String {
        let samples = self.rows.iter().map(|row| row.samples);
        let samples = match (samples.clone().min(), samples.max()) {
            (Some(low), Some(high)) if low == high => format!("{low} samples a cell"),
            (Some(low), Some(high)) => format!("{low} to {high} samples a cell"),
            _ => "no samples".to_owned(),
        };
        let chance = self.chance.map(|chance| format!("; guessing scores {:.1}", 100.0 * chance));
        let metric = metric_name(self.metric);
        let chance = chance.unwrap_or_default();
        format!("{metric} in percent ± half of the 95% interval; {samples}; seed {}{chance}", self.seed)
    }
}

/// A row without nesting, as CSV needs it.
#[derive(Serialize)]
struct Line<'a> {
    benchmark: &'a str,
    seed: u64,
    method: &'a str,
    subtask: &'a str,
    length: Option<String>,
    position: &'static str,
    context_tokens: usize,
    samples: usize,
    metric: Metric,
    score: f64,
    interval_low: f64,
    interval_high: f64,
    exact_match: f64,
    f1: f64,
    substring: f64,
    truncated: usize,
    encode_secs: f64,
    ask_secs: f64,
    peak_bytes: Option<u64>,
    support_samples: Option<usize>,
    support_precision: Option<f64>,
    support_recall: Option<f64>,
    support_f1: Option<f64>,
    right_with_support: Option<f64>,
    malformed: Option<usize>,
}

impl<'a> Line<'a> {
    fn of(evaluation: &'a Evaluation, row: &'a CellScore) -> Self {
        let support = row.support.as_ref();
        Self {
            benchmark: &evaluation.benchmark,
            seed: evaluation.seed,
            method: &row.method,
            subtask: &row.cell.subtask,
            length: row.cell.length.map(|length| length.to_string()),
            position: row.cell.position.name(),
            context_tokens: row.context_tokens,
            samples: row.samples,
            metric: row.metric,
            score: row.score,
            interval_low: row.interval.0,
            interval_high: row.interval.1,
            exact_match: row.exact_match,
            f1: row.f1,
            substring: row.substring,
            truncated: row.truncated,
            encode_secs: row.encode_secs,
            ask_secs: row.ask_secs,
            peak_bytes: row.peak_bytes,
            support_samples: support.map(|s| s.samples),
            support_precision: support.map(|s| s.precision),
            support_recall: support.map(|s| s.recall),
            support_f1: support.map(|s| s.f1),
            right_with_support: support.map(|s| s.right_with_support),
            malformed: support.map(|s| s.malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::fixture::{evaluation, kilo, row, with_support},
        tasks::Position,
    };

    fn two_methods() -> Evaluation {
        let pre = CellScore {
            cell: crate::benchmarks::Cell { position: Position::Pre, ..row("", "qa1", kilo(4), 0).cell },
            peak_bytes: None,
            ..row("base", "qa1", kilo(4), 50)
        };
        // Longer first: tables order by length.
        let perk = [("qa1", 16, 93), ("qa1", 4, 100), ("qa2", 4, 70)];
        let perk = perk.map(|(subtask, tokens, right)| row("perk", subtask, kilo(tokens), right));
        evaluation(perk.into_iter().chain([pre]).collect())
    }

    #[test]
    fn the_terminals_table_shows_each_method_and_position_and_their_costs() {
        let expected = "\
perk, random           4k         16k
qa1           100.0 ± 1.8  93.0 ± 5.2
qa2            70.0 ± 8.8           –
mean           85.0 ± 4.9           –

base, pre          4k
qa1        50.0 ± 9.6

cost  length  tokens  encode     ask  peak memory  truncated
perk      4k    4000  2.00 s  0.12 s      1.50 GB   2 of 200
perk     16k   16000  2.00 s  0.12 s      1.50 GB   1 of 100
base      4k    4000  2.00 s  0.12 s            –   1 of 100

accuracy in percent ± half of the 95% interval; 100 samples a cell; seed 7; guessing scores 16.7
";
        assert_eq!(two_methods().table(), expected);
    }

    #[test]
    fn of_one_subtask_the_methods_stand_below_each_other() {
        let rows = [("perk", 4, 93), ("perk", 16, 90), ("icr", 4, 40)];
        let rows = rows.map(|(method, tokens, right)| row(method, "qa1", kilo(tokens), right));
        let text = evaluation(rows.to_vec()).table();
        let expected = "\
qa1, random          4k         16k
perk         93.0 ± 5.2  90.0 ± 6.0
icr          40.0 ± 9.4           –
";
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn the_markdown_has_a_table_for_each_method_and_position_and_one_of_costs() {
        let text = two_methods().markdown();
        for line in [
            "# babilong",
            "## perk, random",
            "| perk, random | 4k | 16k |",
            "| :-- | --: | --: |",
            "| qa2 | 70.0 ± 8.8 | – |",
            "## base, pre",
            "## Cost",
            "| perk | 4k | 4000 | 2.00 s | 0.12 s | 1.50 GB | 2 of 200 |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    #[test]
    fn json_reads_back_and_csv_has_a_line_of_all_fields_for_each_row() {
        let room = tempfile::tempdir().unwrap();
        let mut written = two_methods();
        written.rows.push(row("ft-icr", "odd, \"name\"", None, 1));
        written.rows.push(with_support(row("perk", "qa3", kilo(4), 90)));
        written.write(room.path()).unwrap();
        let read = Evaluation::read_json(&room.path().join("results.json")).unwrap();
        // The last bit of a number may differ.
        assert_eq!(read.markdown(), written.markdown());
        let cells = |evaluation: &Evaluation| {
            evaluation.rows.iter().map(|row| (row.method.clone(), row.cell.clone())).collect::<Vec<_>>()
        };
        assert_eq!(cells(&read), cells(&written));
        assert!(room.path().join("results.md").exists());
        let text = std::fs::read_to_string(room.path().join("results.csv")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + written.rows.len());
        assert!(
            lines[0]
                .starts_with("benchmark,seed,method,subtask,length,position,context_tokens,samples,metric")
        );
        assert!(lines[2].starts_with("babilong,7,perk,qa1,4k,random,4000,100,babilong,1.0,"), "{}", lines[2]);
        assert!(lines[2].ends_with(",0.25,0.5,0.75,1,2.0,0.125,1500000000,,,,,,"), "{}", lines[2]);
        assert!(lines[6].ends_with(",1500000000,100,0.95,0.9,0.92,0.88,1"), "{}", lines[6]);
        assert!(lines[5].contains(",ft-icr,\"odd, \"\"name\"\"\",,random,1234,"), "{}", lines[5]);
    }

    #[test]
    fn an_evaluation_without_rows_is_written_too() {
        let room = tempfile::tempdir().unwrap();
        let empty = Evaluation { chance: None, ..evaluation(Vec::new()) };
        empty.write(room.path()).unwrap();
        assert_eq!(empty.table(), "accuracy in percent ± half of the 95% interval; no samples; seed 7\n");
        assert_eq!(empty.write_pictures(room.path()).unwrap(), Vec::<std::path::PathBuf>::new());
    }
}
