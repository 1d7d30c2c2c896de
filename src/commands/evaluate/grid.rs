//! Which questions of a benchmark are asked: the cells, and how many of each.

use crate::{
    benchmarks::{Benchmark, Cell, Length},
    error::{Error, Result},
    eval::Method,
    tasks::Position,
};

/// Which questions are asked, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalGrid {
    /// Methods, in the order of the table.
    pub methods: Vec<Method>,
    /// Subtasks; empty for all of the benchmark.
    pub subtasks: Vec<String>,
    /// Lengths; empty where the benchmark does not vary them.
    pub lengths: Vec<Length>,
    /// Positions.
    pub positions: Vec<Position>,
    /// Most episodes of each cell.
    pub samples: usize,
}

/// A grid on a benchmark that has all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalPlan {
    /// Methods, in the order of the table.
    pub methods: Vec<Method>,
    /// Cells with their numbers of episodes, subtask by subtask.
    pub cells: Vec<(Cell, usize)>,
}

impl EvalGrid {
    /// Looks at every cell, and at its first episode, so that everything that can be wrong with the data shows
    /// before the first question.
    ///
    /// # Errors
    /// Something named twice; lengths where the benchmark has none, or none where it needs them; a cell that it
    /// does not have; an episode that cannot be made.
    pub fn plan(&self, benchmark: &dyn Benchmark) -> Result<EvalPlan> {
        once("method", &self.methods, |method| method.name().to_owned())?;
        once("subtask", &self.subtasks, Clone::clone)?;
        once("length", &self.lengths, Length::to_string)?;
        once("position", &self.positions, |position| position.name().to_owned())?;
        let count = |cell: Cell| {
            let episodes = benchmark.open(&cell)?;
            let there = episodes.len().map_or(usize::MAX, |len| usize::try_from(len).unwrap_or(usize::MAX));
            let count = there.min(self.samples);
            if count > 0 {
                episodes.episode(0)?;
            }
            drop(episodes);
            Ok((cell, count))
        };
        let cells = self.cells(benchmark)?.into_iter().map(count).collect::<Result<_>>()?;
        Ok(EvalPlan { methods: self.methods.clone(), cells })
    }

    fn cells(&self, benchmark: &dyn Benchmark) -> Result<Vec<Cell>> {
        let lengths = self.lengths(benchmark)?;
        let subtasks = if self.subtasks.is_empty() { benchmark.subtasks() } else { self.subtasks.clone() };
        let mut cells = Vec::new();
        for subtask in &subtasks {
            for &position in &self.positions {
                let cell = |&length| Cell { subtask: subtask.clone(), length, position };
                cells.extend(lengths.iter().map(cell));
            }
        }
        Ok(cells)
    }

    fn lengths(&self, benchmark: &dyn Benchmark) -> Result<Vec<Option<Length>>> {
        let name = benchmark.name();
        match (benchmark.has_lengths(), self.lengths.is_empty()) {
            (true, true) if !benchmark.needs_length() => Ok(vec![None]),
            (true, true) => Err(Error::Invalid(format!("{name} needs --lengths, as in 1k,2k,4k"))),
            (false, false) => {
                let reason = format!("contexts of {name} come as they are: leave --lengths out");
                Err(Error::Invalid(reason))
            }
            (false, true) => Ok(vec![None]),
            (true, false) => Ok(self.lengths.iter().copied().map(Some).collect()),
        }
    }
}

impl EvalPlan {
    /// Episodes in all, each as often as methods are asked about it.
    pub fn episodes(&self) -> usize {
        self.methods.len() * self.cells.iter().map(|(_, count)| count).sum::<usize>()
    }
}

/// Refuses a list that holds something twice, which would stand twice in every table.
fn once<T: PartialEq>(what: &str, list: &[T], name: impl Fn(&T) -> String) -> Result<()> {
    let twice = list.iter().enumerate().find(|(index, item)| list[..*index].contains(item));
    match twice {
        Some((_, item)) => Err(Error::Invalid(format!("{what} {} is named twice", name(item)))),
        None => Ok(()),
    }
}
