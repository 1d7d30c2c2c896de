//! Event files of TensorBoard: the numbers of `metrics.jsonl` in the form that its reader takes. A file is a row of
//! records, each its length, the bytes of an event, and a checksum of either (TensorFlow's `TFRecord`; the messages are
//! those of `tensorflow/core/util/event.proto` and `framework/summary.proto`).

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use prost::Message;

use crate::{
    checkpoint::place,
    error::{Error, Result},
};

use super::{EvalRecord, StepRecord};

/// How the names begin by which TensorBoard finds its files.
const PREFIX: &str = "events.out.tfevents.";
/// How the names of those end that perk wrote.
const SUFFIX: &str = ".perk";
/// What the first record of a file says.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`: what was recorded of later steps before counts no more.
const START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    // A number that is 0 is written too: it is one of several forms that a value may have.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An open event file.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a new file in `folder` for a run that has `step` outer steps behind it: what older files hold of later steps
    /// counts no more.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn begin(folder: &Path, step: usize) -> Result<Self> {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // TensorBoard reads the files of a folder in the order of their names.
        let name = format!("{PREFIX}{:010}.{:09}{SUFFIX}", began.as_secs(), began.subsec_nanos());
        let path = place(&folder.join(name))?;
        let file = OpenOptions::new().create_new(true).append(true).open(&path);
        let mut events = Self { file: file.map_err(|fault| Error::io(&path, fault))?, path };
        events.add(Event { file_version: Some(VERSION.to_owned()), ..Event::default() })?;
        if step > 0 {
            let session_log = Some(SessionLog { status: START });
            events.add(Event { step: step as i64 + 1, session_log, ..Event::default() })?;
        }
        Ok(events)
    }

    /// Whether a file of this name is one of those that perk writes.
    pub fn is_own_name(name: &str) -> bool {
        name.starts_with(PREFIX) && name.ends_with(SUFFIX)
    }

    /// Adds an outer step.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn step(&mut self, record: &StepRecord) -> Result<()> {
        let values = [
            ("outer/loss", record.outer_loss),
            ("outer/gradient_norm", record.grad_norm),
            ("outer/lr_factor", record.lr_factor),
            ("inner/loss_first", record.inner_loss_first),
            ("inner/loss_last", record.inner_loss_last),
            ("step/context_tokens", record.context_tokens as f64),
            ("step/secs", record.secs),
        ];
        self.summarise(record.step, &values)
    }

    /// Adds a held-out score.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn eval(&mut self, record: &EvalRecord) -> Result<()> {
        let mut values = vec![("eval/exact_match", record.exact_match), ("eval/secs", record.secs)];
        values.extend(record.support.as_ref().map(|support| ("eval/facts_recalled", support.recall)));
        self.summarise(record.step, &values)
    }

    fn summarise(&mut self, step: usize, values: &[(&str, f64)]) -> Result<()> {
        let value = |(tag, number): &(&str, f64)| Value {
            tag: (*tag).to_owned(),
            simple_value: Some(*number as f32),
        };
        let summary = Some(Summary { values: values.iter().map(value).collect() });
        self.add(Event { step: step as i64, summary, ..Event::default() })
    }

    fn add(&mut self, event: Event) -> Result<()> {
        let wall_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let bytes = record(&Event { wall_time, ..event }.encode_to_vec());
        // One write a record, so that a crash leaves whole records but for the last, which readers pass over.
        self.file.write_all(&bytes).map_err(|fault| Error::io(&self.path, fault))
    }
}

/// Length, checksum of the length, bytes, checksum of the bytes.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked(&length).to_le_bytes(), bytes, &masked(bytes).to_le_bytes()].concat()
}

/// TensorFlow's masked CRC-32C: turned and added to, so that a checksum of checksums is none by chance.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a file, whose checksums must be right.
    fn read(path: &Path) -> Vec<Event> {
        let bytes = std::fs::read(path).unwrap();
        let (mut rest, mut events) = (&bytes[..], vec![]);
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(number(&rest[8..12]), masked(&rest[..8]));
            let event = &rest[12..12 + length];
            assert_eq!(number(&rest[12 + length..16 + length]), masked(event));
            events.push(Event::decode(event).unwrap());
            rest = &rest[16 + length..];
        }
        events
    }

    fn step(step: usize) -> StepRecord {
        StepRecord {
            step,
            lr_factor: 0.0,
            inner_loss_first: 2.0,
            inner_loss_last: 1.0,
            outer_loss: 0.5,
            grad_norm: 0.25,
            context_tokens: 80,
            secs: 0.125,
        }
    }

    #[test]
    fn a_checksum_is_the_one_that_tensorflow_writes() {
        // The length of every file's first record of 24 bytes, as TensorFlow's own files begin.
        assert_eq!(masked(&24u64.to_le_bytes()).to_le_bytes(), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn a_file_holds_its_version_and_every_number_under_its_name() {
        let room = tempfile::tempdir().unwrap();
        let mut events = EventFile::begin(room.path(), 0).unwrap();
        events.step(&step(1)).unwrap();
        events.eval(&EvalRecord { step: 1, exact_match: 0.75, n: 4, support: None, secs: 1.0 }).unwrap();
        let read = read(&events.path);
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].file_version.as_deref(), Some(VERSION));
        let values = |event: &Event| -> Vec<(String, f32)> {
            let values = event.summary.clone().unwrap().values;
            values.into_iter().map(|value| (value.tag, value.simple_value.unwrap())).collect()
        };
        let found = values(&read[1]);
        assert_eq!(found[0], ("outer/loss".to_owned(), 0.5));
        assert_eq!(found[2], ("outer/lr_factor".to_owned(), 0.0));
        assert_eq!((read[2].step, &values(&read[2])[0]), (1, &("eval/exact_match".to_owned(), 0.75)));
        assert!(read.iter().all(|event| event.wall_time > 1e9));
        let name = events.path.file_name().unwrap().to_str().unwrap();
        assert!(EventFile::is_own_name(name) && !EventFile::is_own_name("events.out.tfevents.1.theirs"));
    }

    #[test]
    fn a_run_that_continues_says_from_which_step_on_the_old_numbers_count_no_more() {
        let room = tempfile::tempdir().unwrap();
        let events = EventFile::begin(room.path(), 4).unwrap();
        let read = read(&events.path);
        assert_eq!((read[1].step, read[1].session_log.clone().unwrap().status), (5, START));
    }
}
