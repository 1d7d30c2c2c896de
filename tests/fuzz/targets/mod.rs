//! What may be fuzzed: for every reader, valid files and a call that reads the bytes put in the place of one of them.
//!
//! The crate in `fuzz/` and the tests around this module run the same targets.

mod adapters;
mod bases;
mod configs;
mod episodes;
mod requests;
mod room;
mod rows;
mod runs;

/// How a file is written, for those who change it on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON value.
    Json,
    /// A JSON value a line.
    JsonLines,
    /// TOML, a key a line.
    Toml,
    /// Safetensors: the length of a JSON header, the header, numbers.
    Safetensors,
    /// Parquet, whose pages may be small in the file and large in memory.
    Parquet,
    /// Anything else.
    Bytes,
}

/// A reader of files.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it reads.
    pub name: &'static str,
    /// Name of the file that it reads; its errors say it.
    pub file: &'static str,
    /// How that is written.
    pub form: Form,
    /// Files that it reads without an error.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads these bytes.
    pub read: fn(&[u8]) -> perk::Result<()>,
}

/// Every target.
pub fn all() -> Vec<Target> {
    [
        adapters::TARGETS.as_slice(),
        bases::TARGETS.as_slice(),
        configs::TARGETS.as_slice(),
        episodes::TARGETS.as_slice(),
        requests::TARGETS.as_slice(),
        rows::TARGETS.as_slice(),
        runs::TARGETS.as_slice(),
    ]
    .concat()
}

/// The target of this name.
pub fn named(name: &str) -> Target {
    all().into_iter().find(|target| target.name == name).expect("a target has this name")
}

impl Target {
    /// Reads these bytes, and says what is wrong with the outcome: an error that does not tell which file it is about.
    pub fn try_bytes(&self, data: &[u8]) -> Result<(), String> {
        let Err(error) = (self.read)(data) else { return Ok(()) };
        let message = error.to_string();
        if !message.contains(self.file) {
            return Err(format!("{}: the message does not name {}: {message:?}", self.name, self.file));
        }
        match message.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            Some(c) => Err(format!("{}: the message holds {c:?}: {message:?}", self.name)),
            None => Ok(()),
        }
    }
}
