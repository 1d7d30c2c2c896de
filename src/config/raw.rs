//! A TOML file before it has types: blocks, overrides, and the list of everything wrong with it.

use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::lines::{Lines, line_at};
use crate::error::{Error, Fault, Result};
use crate::files::{plain_words, read_text};

/// A configuration file that is being read: blocks are taken out one by one, faults are gathered, and
/// [`Raw::finish`] reports them all together.
#[derive(Debug)]
pub struct Raw {
    path: PathBuf,
    blocks: toml::Table,
    /// Where the keys stand, in a file.
    lines: Lines,
    /// Keys whose values are those of overrides.
    overridden: Vec<String>,
    known: Vec<(String, Vec<String>)>,
    unknown: Vec<(String, String)>,
    /// What is wrong so far; validation adds to it.
    pub faults: Vec<Fault>,
}

impl Raw {
    /// Reads `path` and applies `overrides`, each `block.key=value`.
    ///
    /// Fails at once only if the file cannot be read or is not TOML (with the lines).
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self> {
        let text = read_text(path)?;
        let mut raw = Self::parse(path, &text, overrides)?;
        raw.lines = Lines::of(&text);
        raw.overridden.iter().for_each(|key| raw.lines.forget(key));
        Ok(raw)
    }

    /// As [`Raw::read`], from text, whose faults have no lines; `path` is only for messages.
    pub fn parse(path: &Path, text: &str, overrides: &[String]) -> Result<Self> {
        let blocks = text.parse::<toml::Table>().map_err(|first| not_toml(path, text, &first))?;
        let mut raw = Self {
            path: path.to_owned(),
            blocks,
            lines: Lines::default(),
            overridden: Vec::new(),
            known: Vec::new(),
            unknown: Vec::new(),
            faults: Vec::new(),
        };
        for assignment in overrides {
            match apply_override(&mut raw.blocks, assignment) {
                Ok(key) => raw.overridden.push(key),
                Err(reason) => raw.fault(&format!("--set {assignment}"), reason),
            }
        }
        Ok(raw)
    }

    /// Takes block `name` out and gives it types, one key at a time: a key that does not fit keeps its
    /// default and becomes a fault.
    pub fn block<T: Default + Serialize + DeserializeOwned>(&mut self, name: &str) -> T {
        let mut value = T::default();
        let defaults = match serde_json::to_value(&value) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        self.known.push((name.to_owned(), defaults.keys().cloned().collect()));
        let mut fields = defaults;
        for (key, given) in self.take_table(name) {
            if !fields.contains_key(&key) {
                self.unknown.push((name.to_owned(), key));
                continue;
            }
            match fit::<T>(&fields, &key, &given) {
                Ok((changed, typed)) => (fields, value) = (changed, typed),
                Err(reason) => self.fault(&format!("{name}.{key}"), reason),
            }
        }
        value
    }

    /// Reports every fault found, unknown keys and unknown blocks included.
    pub fn finish(mut self) -> Result<()> {
        for (block, key) in std::mem::take(&mut self.unknown) {
            let reason = self.explain_unknown(&block, &key);
            self.fault(&format!("{block}.{key}"), reason);
        }
        let names: Vec<&str> = self.known.iter().map(|(name, _)| name.as_str()).collect();
        let strangers: Vec<(String, String)> = self
            .blocks
            .keys()
            .map(|block| {
                let hint = closest(block, &names).map(|name| format!("did you mean [{name}]?"));
                let hint = hint.unwrap_or_else(|| format!("the blocks are {}", names.join(", ")));
                (block.clone(), format!("unknown block; {hint}"))
            })
            .collect();
        for (block, reason) in strangers {
            self.fault(&block, reason);
        }
        if self.faults.is_empty() {
            return Ok(());
        }
        for fault in &mut self.faults {
            fault.line = self.lines.get(&fault.key);
        }
        Err(Error::Config { path: self.path, faults: self.faults })
    }

    fn take_table(&mut self, name: &str) -> toml::Table {
        match self.blocks.remove(name) {
            None => toml::Table::new(),
            Some(toml::Value::Table(table)) => table,
            Some(other) => {
                let found = other.type_str();
                self.fault(name, format!("is a block, written [{name}]; found a {found}"));
                toml::Table::new()
            }
        }
    }

    fn explain_unknown(&self, block: &str, key: &str) -> String {
        let keys_of = |name: &str| self.known.iter().find(|(known, _)| known == name).map(|(_, keys)| keys);
        let own: Vec<&str> = keys_of(block).into_iter().flatten().map(String::as_str).collect();
        if let Some(near) = closest(key, &own) {
            return format!("unknown key; did you mean `{near}`?");
        }
        let elsewhere = self.known.iter().find(|(_, keys)| keys.iter().any(|known| known == key));
        if let Some((other, _)) = elsewhere {
            return format!("unknown key; did you mean `{other}.{key}`?");
        }
        format!("unknown key; the keys of [{block}] are {}", own.join(", "))
    }

    fn fault(&mut self, key: &str, reason: impl Into<String>) {
        self.faults.push(Fault { line: None, key: key.to_owned(), reason: reason.into() });
    }
}

/// The block with one more key set, untyped and typed.
fn fit<T: DeserializeOwned>(
    fields: &Map<String, Value>,
    key: &str,
    given: &toml::Value,
) -> std::result::Result<(Map<String, Value>, T), String> {
    let mut changed = fields.clone();
    changed.insert(key.to_owned(), to_json(given)?);
    let typed = serde_json::from_value(Value::Object(changed.clone()))
        .map_err(|fault| plain_words(&fault.to_string()))?;
    Ok((changed, typed))
}

/// TOML's values are JSON's, but for dates and for infinite numbers, which no key takes.
fn to_json(value: &toml::Value) -> std::result::Result<Value, String> {
    match value {
        toml::Value::Float(number) if !number.is_finite() => Err(format!("must be finite, found {number}")),
        toml::Value::Datetime(date) => Err(format!("found the date {date}: no key takes dates")),
        toml::Value::Array(items) => {
            items.iter().map(to_json).collect::<std::result::Result<_, _>>().map(Value::Array)
        }
        toml::Value::Table(table) => table
            .iter()
            .map(|(key, item)| Ok((key.clone(), to_json(item)?)))
            .collect::<std::result::Result<Map<_, _>, String>>()
            .map(Value::Object),
        other => serde_json::to_value(other).map_err(|fault| fault.to_string()),
    }
}

/// Everything that makes a text no TOML, each with its line.
fn not_toml(path: &Path, text: &str, first: &toml::de::Error) -> Error {
    let all = toml::de::DeTable::parse_recoverable(text).1;
    let all = if all.is_empty() { vec![first.clone()] } else { all };
    let fault = |fault: &toml::de::Error| Fault {
        line: fault.span().map(|span| line_at(text, span.start)),
        key: String::new(),
        reason: format!("not valid TOML: {}", fault.message()),
    };
    Error::Config { path: path.to_owned(), faults: all.iter().map(fault).collect() }
}

/// Sets one `block.key=value`, and returns its name; the value is TOML, or else text.
fn apply_override(blocks: &mut toml::Table, assignment: &str) -> std::result::Result<String, String> {
    const FORM: &str = "write it as block.key=value";
    let (name, text) = assignment.split_once('=').ok_or(FORM)?;
    let (block, key) = name.trim().split_once('.').ok_or(FORM)?;
    if block.is_empty() || key.is_empty() {
        return Err(FORM.to_owned());
    }
    let table = blocks.entry(block).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let table = table.as_table_mut().ok_or_else(|| format!("`{block}` is not a block in the file"))?;
    table.insert(key.to_owned(), parse_value(text.trim()));
    Ok(format!("{block}.{key}"))
}

fn parse_value(text: &str) -> toml::Value {
    let parsed = format!("value = {text}").parse::<toml::Table>().ok();
    let single = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    single.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

/// The nearest of `candidates`, if it is near enough to be a slip of the pen.
fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}
