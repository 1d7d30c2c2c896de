//! A journal of records, one JSON line each, that outlives the process which writes it.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    checkpoint::place,
    error::{Error, Result},
};

/// An open journal; lines may be added from several threads.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// Opens `path` and returns what it holds. A last line that was cut off is taken away.
    ///
    /// # Errors
    /// A line that is no such record, with its number; a symbolic link in the place; a file that cannot be written.
    pub fn open<T: DeserializeOwned>(path: &Path) -> Result<(Self, Vec<T>)> {
        let path = place(path)?;
        let io = |fault| Error::io(&path, fault);
        let options = OpenOptions::new().create(true).truncate(false).read(true).write(true).clone();
        let mut file = options.open(&path).map_err(io)?;
        let (records, whole) = whole_lines(&path, &mut file)?;
        file.set_len(whole).and_then(|()| file.seek(SeekFrom::End(0))).map_err(io)?;
        Ok((Self { path, file: Mutex::new(file) }, records))
    }

    /// What `path` holds, as [`open`](Self::open) returns it; nothing is written.
    ///
    /// # Errors
    /// No such file; a line that is no such record, with its number.
    pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
        let mut file = File::open(path).map_err(|fault| Error::io(path, fault))?;
        Ok(whole_lines(path, &mut file)?.0)
    }

    /// Adds a record. Once this has returned, the end of this process does not lose it, and after
    /// [`sync`](Self::sync) not even the end of the machine does.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&self, record: &impl Serialize) -> Result<()> {
        let attempt = serde_json::to_string(record).map_err(io::Error::from);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // One write a line, so that a crash leaves whole lines but for the last.
        let written = attempt.and_then(|text| file.write_all(format!("{text}\n").as_bytes()));
        written.map_err(|fault| Error::io(&self.path, fault))
    }

    /// Waits until all records are on the disk.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn sync(&self) -> Result<()> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.sync_data().map_err(|fault| Error::io(&self.path, fault))
    }
}

/// The records of a journal, and the bytes of its whole lines.
fn whole_lines<T: DeserializeOwned>(path: &Path, file: &mut File) -> Result<(Vec<T>, u64)> {
    let (mut records, mut whole, mut line) = (Vec::new(), 0, Vec::new());
    let mut reader = BufReader::new(file);
    while reader.read_until(b'\n', &mut line).map_err(|fault| Error::io(path, fault))? > 0 {
        let number = records.len() + 1;
        let stranger = |fault: serde_json::Error| {
            Error::data(path, number, format!("is no line of this file's kind: {fault}"))
        };
        if !line.ends_with(b"\n") {
            require_cut_off(&line).map_err(stranger)?;
            break;
        }
        records.push(serde_json::from_slice(&line).map_err(stranger)?);
        whole += line.len() as u64;
        line.clear();
    }
    Ok((records, whole))
}

/// A last line without its end may be taken away if it is the beginning of a JSON object, as a writer leaves it that
/// was stopped, perhaps with zeros behind it, as a machine leaves it that was. Anything else is somebody's text.
fn require_cut_off(line: &[u8]) -> serde_json::Result<()> {
    let written = line.split(|&byte| byte == 0).next().unwrap_or_default();
    let begun = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(written);
    match begun {
        Err(fault) if !fault.is_eof() || !matches!(written, [] | [b'{', ..]) => Err(fault),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn whole_lines_stay_and_a_line_cut_off_is_written_again() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("j.jsonl");
        let (journal, old) = Journal::open::<[usize; 2]>(&path).unwrap();
        assert!(old.is_empty());
        journal.add(&[1, 2]).unwrap();
        journal.add(&[3, 4]).unwrap();
        for cut in [&b"{\"a\": [5,"[..], b"{\"a\": 5}", b"{\0\0", b"\0\0\0", b"{\"a\": \"\xc3"] {
            let whole = b"[1,2]\n[3,4]\n".as_slice();
            fs::write(&path, [whole, cut].concat()).unwrap();
            let (_, old) = Journal::open::<[usize; 2]>(&path).unwrap();
            assert_eq!(old, [[1, 2], [3, 4]]);
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
        let (journal, _) = Journal::open::<[usize; 2]>(&path).unwrap();
        journal.add(&[5, 6]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[1,2]\n[3,4]\n[5,6]\n");
    }

    #[test]
    fn a_line_of_something_else_is_named() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("j.jsonl");
        for text in ["[1,2]\nnotes\n", "[1,2]\nnotes without an end", "notes", "[1,2]\n\"a te"] {
            fs::write(&path, text).unwrap();
            let message = Journal::open::<[usize; 2]>(&path).unwrap_err().to_string();
            let line = 1 + text.matches("[1,2]").count();
            assert!(message.contains(&format!("j.jsonl:{line}: ")), "{message}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "it is somebody's");
        }
    }
}
