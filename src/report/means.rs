//! Several evaluations of the same cells, by other seeds or other checkpoints: means over them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    benchmarks::{Cell, Metric},
    checkpoint::{write_file, write_json},
    error::{Error, Result},
    eval::{CellScore, mean_of_runs},
};

use super::{
    Evaluation,
    grid::{length_name, metric_name},
    table::{align, markdown},
};

/// Means over evaluations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Means {
    /// Name of the benchmark.
    pub benchmark: String,
    /// The score.
    pub metric: Metric,
    /// What tells the evaluations apart: `seed-1`.
    pub runs: Vec<String>,
    /// One for each method and cell that all of them have.
    pub rows: Vec<MeanScore>,
}

/// A cell's mean by a method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeanScore {
    /// The method's name.
    pub method: String,
    /// Subtask, length and position.
    pub cell: Cell,
    /// The scores, in the order of the runs, 0 to 1.
    pub scores: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Half of its 95% confidence interval, over runs.
    pub half_interval: f64,
}

impl Means {
    /// Means of two evaluations or more, each with its name.
    ///
    /// # Errors
    /// Fewer evaluations.
    pub fn of(runs: &[(String, Evaluation)]) -> Result<Self> {
        let [(_, first), _, ..] = runs else {
            return Err(Error::Invalid("a mean needs two evaluations or more".to_owned()));
        };
        let row = |row: &CellScore| {
            let is_same = |other: &&CellScore| other.method == row.method && other.cell == row.cell;
            let score = |(_, run): &(String, Evaluation)| Some(run.rows.iter().find(is_same)?.score);
            let scores = runs.iter().map(score).collect::<Option<Vec<_>>>()?;
            let (mean, half_interval) = mean_of_runs(&scores);
            Some(MeanScore {
                method: row.method.clone(),
                cell: row.cell.clone(),
                scores,
                mean,
                half_interval,
            })
        };
        Ok(Self {
            benchmark: first.benchmark.clone(),
            metric: first.metric,
            runs: runs.iter().map(|(name, _)| name.clone()).collect(),
            rows: first.rows.iter().filter_map(row).collect(),
        })
    }

    /// A line for each method and cell, in plain text.
    pub fn table(&self) -> String {
        format!("{}\n{}\n", align(&self.lines()), self.legend())
    }

    /// Writes `means.json` and `means.md` to a folder that is there.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let (json, md) = (folder.join("means.json"), folder.join("means.md"));
        let value = serde_json::to_value(self)
            .map_err(|fault| Error::file(&json, format!("the means cannot be written: {fault}")))?;
        write_json(&json, &value)?;
        let text = format!("# {}\n\n{}.\n\n{}", self.benchmark, self.legend(), markdown(&self.lines()));
        write_file(&md, |out| out.write_all(text.as_bytes()).map_err(|fault| Error::io(&md, fault)))
    }

    fn lines(&self) -> Vec<Vec<String>> {
        let head = ["method", "cell"].into_iter().map(str::to_owned).chain(self.runs.iter().cloned());
        let mut lines = vec![head.chain(["mean".to_owned()]).collect::<Vec<String>>()];
        let percent = |share: &f64| format!("{:.1}", 100.0 * share);
        for row in &self.rows {
            let cell = &row.cell;
            let name = format!("{} {} {}", cell.subtask, length_name(cell.length), cell.position.name());
            let mean = format!("{:.1} ± {:.1}", 100.0 * row.mean, 100.0 * row.half_interval);
            let scores = row.scores.iter().map(percent);
            lines.push([row.method.clone(), name].into_iter().chain(scores).chain([mean]).collect());
        }
        lines
    }

    fn legend(&self) -> String {
        let (metric, runs) = (metric_name(self.metric), self.runs.len());
        format!("{metric} in percent; mean over {runs} runs ± half of the 95% interval")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{evaluation, kilo, row};

    fn run(seed: u64, right: [usize; 2]) -> (String, Evaluation) {
        let rows = [4, 16].iter().zip(right).map(|(tokens, right)| row("perk", "qa1", kilo(*tokens), right));
        let evaluation = Evaluation { seed, ..evaluation(rows.collect()) };
        (format!("seed-{seed}"), evaluation)
    }

    #[test]
    fn cells_that_all_runs_have_get_a_mean_with_the_interval_over_runs() {
        let mut runs = [run(1, [90, 50]), run(2, [94, 50]), run(3, [92, 50])];
        runs[2].1.rows.pop();
        let means = Means::of(&runs).unwrap();
        // Variance 4 · 10⁻⁴ of three runs.
        let expected = "\
method           cell  seed-1  seed-2  seed-3        mean
perk    qa1 4k random    90.0    94.0    92.0  92.0 ± 5.0

accuracy in percent; mean over 3 runs ± half of the 95% interval
";
        assert_eq!(means.table(), expected);
        assert!(Means::of(&runs[..1]).is_err());
        let folder = tempfile::tempdir().unwrap();
        means.write(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("means.json")).unwrap();
        assert_eq!(serde_json::from_str::<Means>(&text).unwrap().runs, means.runs);
    }
}
