//! The folder of an evaluation: its settings, its journal, its results.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use crate::{
    benchmarks::Cell,
    checkpoint::{LOCK_INSIDE, Lock, Made, sweep, write_json},
    error::{Error, Result, shown_path},
    eval::{Method, SampleRecord},
    files::{parse_json, read_text_if_there},
    report::Journal,
};

/// An evaluation's folder, locked while it is open.
#[derive(Debug)]
pub struct EvalFolder {
    /// What was asked before.
    records: HashMap<(Method, Cell), Vec<SampleRecord>>,
    /// Where answers go.
    journal: Journal,
    _made: Made,
    _lock: Lock,
}

/// A line of the journal. What was read goes to the disk alone: it may be a whole book.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    record: &'a SampleRecord,
    prompt: &'a str,
}

/// A line that was written before, without its prompt.
struct Asked(SampleRecord);

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut fields = serde_json::Map::deserialize(deserializer)?;
        fields.remove("prompt");
        // Not flattened, so that an entry that is not known is refused by name.
        SampleRecord::deserialize(Value::Object(fields)).map(Self).map_err(D::Error::custom)
    }
}

/// The right to write the folder of an evaluation; it can be taken before the settings are known.
#[derive(Debug)]
pub struct EvalReservation {
    dir: PathBuf,
    /// Before the lock, so that an empty folder goes while it is still locked.
    made: Made,
    lock: Lock,
}

impl EvalReservation {
    /// Reserves `dir`.
    ///
    /// # Errors
    /// A folder that another process writes, a symbolic link, or a folder that cannot be made.
    pub fn take(dir: &Path) -> Result<Self> {
        let (lock, mut made) = (Lock::take(dir)?, Made::default());
        made.make(dir)?;
        Ok(Self { dir: dir.to_owned(), made, lock })
    }
}

impl EvalFolder {
    /// Opens a folder for an evaluation with `settings`, everything that an answer depends on but its cell and
    /// number. What was asked there before with the same settings is kept.
    ///
    /// # Errors
    /// A folder of an evaluation with other settings, or of something else; a file that cannot be written.
    pub fn open(reserved: EvalReservation, settings: &Value) -> Result<Self> {
        let EvalReservation { dir, made, lock } = reserved;
        let dir = dir.as_path();
        let path = dir.join("settings.json");
        let journal = dir.join("samples.jsonl");
        for name in ["settings.json", "results.json", "results.csv", "results.md"] {
            sweep(&dir.join(name));
        }
        match read_text_if_there(&path)? {
            Some(text) => require_same(dir, &text, settings)?,
            None => {
                let others = fs::read_dir(dir).map_err(|fault| Error::io(dir, fault))?;
                let mut others = others.flatten().filter(|entry| entry.file_name() != LOCK_INSIDE);
                if let Some(other) = others.next() {
                    let name = other.file_name();
                    let name = shown_path(Path::new(&name));
                    let reason = format!("holds {name}, and is no evaluation: name a new folder with --out");
                    return Err(Error::file(dir, reason));
                }
                write_json(&path, settings)?;
            }
        }
        let (journal, lines) = Journal::open::<Asked>(&journal)?;
        let mut records: HashMap<_, Vec<_>> = HashMap::new();
        for Asked(record) in lines {
            records.entry((record.method, record.cell.clone())).or_default().push(record);
        }
        Ok(Self { records, journal, _made: made, _lock: lock })
    }

    /// Takes out what was asked of a cell by a method before.
    pub(super) fn take(&mut self, method: Method, cell: &Cell) -> Vec<SampleRecord> {
        self.records.remove(&(method, cell.clone())).unwrap_or_default()
    }

    /// Journals an answer, and what the model read before it.
    pub(super) fn add(&self, record: &SampleRecord, prompt: &str) -> Result<()> {
        self.journal.add(&Line { record, prompt })
    }
}

/// Everything that was asked in the evaluation of folder `dir`.
///
/// # Errors
/// No journal there, or a line that is none of its kind.
pub(super) fn records(dir: &Path) -> Result<Vec<SampleRecord>> {
    let lines = Journal::read::<Asked>(&dir.join("samples.jsonl"))?;
    Ok(lines.into_iter().map(|Asked(record)| record).collect())
}

fn require_same(dir: &Path, text: &str, settings: &Value) -> Result<()> {
    let saved: Value = parse_json(&dir.join("settings.json"), text)?;
    let (Value::Object(saved), Value::Object(now)) = (&saved, settings) else {
        return Err(Error::file(dir.join("settings.json"), "damaged: not a JSON object"));
    };
    let names = saved.keys().chain(now.keys().filter(|name| !saved.contains_key(*name)));
    let differing: Vec<&str> =
        names.filter(|name| saved.get(*name) != now.get(*name)).map(String::as_str).collect();
    if differing.is_empty() {
        return Ok(());
    }
    let list = differing.join(", ");
    let reason = format!("holds an evaluation with another {list}: name a new folder with --out");
    Err(Error::file(dir, reason))
}
