//! Official rows: files of contexts with question and answer, one file or several a subtask and length.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::dataset::Dataset;
use super::super::records::{self, Parsed};
use super::labels::gold;
use super::stories::number;
use crate::benchmarks::Length;
use crate::model::HubSettings;
use crate::{Error, Result};

/// So many cells are kept in memory; one of a million tokens a row is some 400 MB.
const KEPT: usize = 3;

/// A row of the official files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfficialRow {
    pub(super) input: String,
    pub(super) question: String,
    pub(super) target: String,
}

/// Number of the subtask, and tokens of the contexts.
type Key = (u32, usize);
type Cells = VecDeque<(Key, Arc<Vec<OfficialRow>>)>;

/// Rows of a dataset; a cell is read, and downloaded, when asked for.
pub(super) struct Rows {
    dataset: Dataset,
    /// Files of each cell, in order.
    files: BTreeMap<Key, Vec<String>>,
    /// The last cells asked for, the latest last.
    kept: Mutex<Cells>,
}

impl Rows {
    /// Finds the files of all cells. Names say what is in them, in any of these forms, below `data/` too:
    /// `qa1/4k.json`, `4k/qa1.json`, `4k/qa1-00000-of-00001.parquet`, `4k/qa1/0000.parquet`; `.jsonl` as well.
    ///
    /// # Errors
    /// If there is no folder or dataset, or none of its files is so called.
    pub(super) fn open(place: &str, hub: &HubSettings) -> Result<Self> {
        let dataset = Dataset::open(place, hub)?;
        let mut found: BTreeMap<Key, Vec<String>> = BTreeMap::new();
        for file in dataset.files() {
            if let Some(key) = key(file) {
                found.entry(key).or_default().push(file.clone());
            }
        }
        if found.is_empty() {
            let names = "names like data/qa1/4k.json, qa1/4k.jsonl or 4k/qa1-00000-of-00001.parquet";
            return Err(dataset.fault(format!("no file of BABILong's rows: expected {names}")));
        }
        let files = found.into_iter().map(|(key, files)| (key, parts(files))).collect();
        Ok(Self { dataset, files, kept: Mutex::default() })
    }

    pub(super) fn subtasks(&self) -> Vec<String> {
        let mut numbers: Vec<u32> = self.files.keys().map(|key| key.0).collect();
        numbers.dedup();
        numbers.into_iter().map(|number| format!("qa{number}")).collect()
    }

    /// The rows of a cell.
    ///
    /// # Errors
    /// A subtask or length that is not there, with those that are; files that cannot be had or read; a row
    /// without `input`, `question` and `target`, or whose target is no answer of the subtask, with file and number.
    pub(super) fn cell(&self, subtask: &str, tokens: usize) -> Result<Arc<Vec<OfficialRow>>> {
        let number = number(subtask).unwrap_or(0);
        let key = (number, tokens);
        let files = self.files.get(&key).ok_or_else(|| self.missing(subtask, number, tokens))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(other, _)| *other == key)
            && let Some((_, rows)) = kept.remove(at)
        {
            kept.push_back((key, rows.clone()));
            return Ok(rows);
        }
        // Room first: two cells of a million tokens need not be in memory for one.
        while kept.len() >= KEPT {
            kept.pop_front();
        }
        let mut rows = Vec::new();
        for file in files {
            rows.extend(records::read(&self.dataset.get(file)?, None, |found| row(found, subtask))?);
        }
        let rows = Arc::new(rows);
        kept.push_back((key, rows.clone()));
        Ok(rows)
    }

    fn missing(&self, subtask: &str, number: u32, tokens: usize) -> Error {
        let lengths = self.files.keys().filter(|key| key.0 == number);
        let lengths: Vec<String> = lengths.map(|key| Length::Tokens(key.1).to_string()).collect();
        if lengths.is_empty() {
            return self
                .dataset
                .fault(format!("no subtask `{subtask}`: it has {}", self.subtasks().join(", ")));
        }
        let wanted = Length::Tokens(tokens);
        self.dataset.fault(format!("no rows of {subtask} at length {wanted}: it has {}", lengths.join(", ")))
    }
}

fn row(mut row: records::Row, subtask: &str) -> Parsed<OfficialRow> {
    let mut text = |name| records::take_text(&mut row, name);
    let (input, question, target) = (text("input")?, text("question")?, text("target")?);
    let target = gold(subtask, &target).map_err(|reason| format!("`target`: {reason}"))?;
    Ok(OfficialRow { input, question: question.trim().to_owned(), target })
}

/// The cell that a file holds rows of, by its name.
fn key(file: &str) -> Option<Key> {
    let mut names: Vec<&str> = file.strip_prefix("data/").unwrap_or(file).split('/').collect();
    let (stem, ending) = names.pop()?.rsplit_once('.')?;
    if !["json", "jsonl", "parquet"].contains(&ending) {
        return None;
    }
    let of_parts = stem.split_once("-of-").and_then(|(stem, _)| stem.rsplit_once('-'));
    let stem = of_parts.map_or(stem, |(stem, _)| stem);
    match names.as_slice() {
        [length, subtask] if stem.bytes().all(|byte| byte.is_ascii_digit()) => pair(length, subtask),
        [folder] => pair(folder, stem).or_else(|| pair(stem, folder)),
        _ => None,
    }
}

fn pair(length: &str, subtask: &str) -> Option<Key> {
    match length.parse() {
        Ok(Length::Tokens(tokens)) => Some((number(subtask)?, tokens)),
        _ => None,
    }
}

/// Of the files of a cell those that are parts of one table: the first one's folder and form. Others are the
/// same rows once more.
fn parts(mut files: Vec<String>) -> Vec<String> {
    files.sort();
    let form = |file: &str| {
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        (folder.to_owned(), ending.to_owned())
    };
    let first = files.first().map(|file| form(file));
    files.retain(|file| Some(form(file)) == first);
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_layouts_say_subtask_and_length() {
        for (file, expected) in [
            ("qa1/4k.json", Some((1, 4_000))),
            ("data/qa20/0k.json", Some((20, 0))),
            ("1M/qa3.jsonl", Some((3, 1_000_000))),
            ("16k/qa2-00000-of-00001.parquet", Some((2, 16_000))),
            ("data/qa2/16k-00001-of-00002.parquet", Some((2, 16_000))),
            ("128k/qa2/0001.parquet", Some((2, 128_000))),
            ("512/qa4.json", Some((4, 512))),
            ("qa1/4x.json", None),
            ("qa1/4k.txt", None),
            ("README.md", None),
            ("qa1.json", None),
            ("other/qa1/4k.json", None),
        ] {
            assert_eq!(key(file), expected, "{file}");
        }
    }

    #[test]
    fn parts_of_a_table_follow_each_other_and_copies_are_left_out() {
        let files = ["4k/qa1-00001-of-00002.parquet", "4k/qa1-00000-of-00002.parquet", "data/qa1/4k.json"];
        let parts = parts(files.map(str::to_owned).to_vec());
        assert_eq!(parts, [files[1], files[0]]);
    }
}
