//! The right to write a run folder: one process has it at a time, from before anything slow happens.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    checkpoint::{
        LOCK_INSIDE, Lock, Made, PROGRESS_FILE, TENSORS_FILE, load_progress, names, recover, remove_own,
        sweep,
    },
    error::{Error, Result, shown_path},
    model::lora::{ADAPTER_CONFIG_FILE, ADAPTER_FILE},
};

use super::{EventFile, RunFolder};

/// Files of a checkpoint; the last says whose folder it is.
const CHECKPOINT: [&str; 4] = [ADAPTER_FILE, ADAPTER_CONFIG_FILE, TENSORS_FILE, PROGRESS_FILE];

/// A run folder that this process alone writes.
#[derive(Debug)]
pub struct RunWriter {
    folder: RunFolder,
    took_over: bool,
    /// Before the lock, so that an empty folder goes while it is still locked.
    _made: Made,
    _lock: Lock,
}

/// What is in the way of a new run.
enum Found {
    /// Nothing.
    Nothing,
    /// A run that ended before its first outer step: there is nothing of it to keep.
    Unbegun,
    /// Something that is not written over, and the reason.
    Taken(String),
}

impl RunWriter {
    /// Reserves folder `dir` for a new run. A run there that did not finish its first outer step is taken over.
    ///
    /// # Errors
    /// A folder with anything else in it, or that another process writes; a symbolic link.
    pub fn start(dir: &Path) -> Result<Self> {
        let lock = Lock::take(dir)?;
        match look(dir)? {
            Found::Taken(reason) => Err(Error::file(dir, reason)),
            found => Self::new(dir, lock, &found),
        }
    }

    /// As [`start`](Self::start), but a taken name gets the next free number: `runs/a`, `runs/a-2`, …
    ///
    /// # Errors
    /// A folder that cannot be looked into or made.
    pub fn start_numbered(dir: &Path) -> Result<Self> {
        for number in 1usize.. {
            let dir = RunFolder::numbered(dir, number);
            if dir.is_symlink() {
                continue;
            }
            // Who has the lock has the name, even where nothing is there yet.
            let Some(lock) = Lock::try_take(&dir)? else { continue };
            match look(&dir)? {
                Found::Taken(_) => {}
                found => return Self::new(&dir, lock, &found),
            }
        }
        Err(Error::file(dir, "every number of this name is taken"))
    }

    /// The run in `dir`, to be continued.
    ///
    /// # Errors
    /// No run with a checkpoint there, or one that another process writes.
    pub fn resume(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            return Err(Error::file(dir, "there is no run to continue here"));
        }
        let lock = Lock::take(dir)?;
        if let Ok(folder) = RunFolder::open(dir) {
            folder.files().iter().for_each(|path| sweep(path));
            return Ok(Self { folder, took_over: false, _made: Made::default(), _lock: lock });
        }
        let reason = match look(dir)? {
            Found::Taken(_) => "is no run of perk meta-train or perk finetune: there is nothing to continue",
            Found::Nothing | Found::Unbegun => {
                "has no checkpoint yet, so there is nothing to continue: start the run again, without --resume; it takes the folder over"
            }
        };
        Err(Error::file(dir, reason))
    }

    /// The newest of `dir`, `dir-2`, `dir-3`, … that has a checkpoint, to be continued.
    ///
    /// # Errors
    /// No checkpoint in any of them, or one that another process writes.
    pub fn resume_newest(dir: &Path) -> Result<Self> {
        Self::resume(RunFolder::open_newest(dir)?.dir())
    }

    /// The folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Whether a run that did not finish its first outer step was in the folder.
    pub fn took_over(&self) -> bool {
        self.took_over
    }

    fn new(dir: &Path, lock: Lock, found: &Found) -> Result<Self> {
        let folder = RunFolder::at(dir);
        let took_over = matches!(found, Found::Unbegun);
        if took_over {
            clear(&folder)?;
        }
        let mut made = Made::default();
        made.make(dir)?;
        Ok(Self { folder, took_over, _made: made, _lock: lock })
    }
}

/// What a new run would find in `dir`.
fn look(dir: &Path) -> Result<Found> {
    if !dir.exists() {
        return Ok(Found::Nothing);
    }
    let folder = RunFolder::at(dir);
    folder.files().iter().for_each(|path| sweep(path));
    recover(&folder.last())?;
    let found = names(dir)?;
    let Some(first) = found.iter().filter(|name| *name != LOCK_INSIDE).min() else {
        return Ok(Found::Nothing);
    };
    let is_run = folder.config().is_file() || folder.last().is_dir();
    if !is_run {
        let reason = format!("holds {}: name another folder with --out", shown_path(Path::new(first)));
        return Ok(Found::Taken(reason));
    }
    if folder.last().is_dir() {
        return Ok(match load_progress(&folder.last()) {
            Ok(progress) if progress.step == 0 => unbegun(&folder)?,
            Ok(progress) => Found::Taken(format!(
                "holds a run of {} outer steps: continue it with --resume {}, or name another folder with --out",
                progress.step,
                shown_path(dir)
            )),
            Err(fault) => {
                Found::Taken(format!("holds a run that is damaged ({fault}): name another folder with --out"))
            }
        });
    }
    unbegun(&folder)
}

/// A run without an outer step, unless something else lies beside it.
fn unbegun(folder: &RunFolder) -> Result<Found> {
    let checkpoints = folder.checkpoints();
    let mut own: Vec<PathBuf> = vec![folder.config(), folder.metrics(), checkpoints.clone()];
    let mut folders = vec![folder.dir().to_owned()];
    if checkpoints.is_dir() {
        folders.push(checkpoints);
    }
    for checkpoint in [folder.last(), folder.best()] {
        if checkpoint.is_dir() {
            own.extend(CHECKPOINT.map(|name| checkpoint.join(name)));
            folders.push(checkpoint.clone());
        }
        own.push(checkpoint);
    }
    for dir in folders {
        let is_run = dir == folder.dir();
        let found = names(&dir)?.into_iter().filter(|name| name != LOCK_INSIDE);
        let found = found.filter(|name| !(is_run && is_events(name)));
        let stranger = found.map(|name| dir.join(name)).find(|path| {
            let is_link = path.is_symlink();
            is_link || !own.contains(path)
        });
        if let Some(path) = stranger {
            let path = shown_path(&path);
            return Ok(Found::Taken(format!("holds {path}: name another folder with --out")));
        }
    }
    Ok(Found::Unbegun)
}

/// Whether a name in a run folder is that of an event file for TensorBoard that perk wrote.
fn is_events(name: &OsStr) -> bool {
    name.to_str().is_some_and(EventFile::is_own_name)
}

/// Takes away what a run without an outer step has left; the configuration last, for it says whose folder it is.
fn clear(folder: &RunFolder) -> Result<()> {
    for checkpoint in [folder.best(), folder.last()].iter().filter(|path| path.is_dir()) {
        remove_own(checkpoint, &CHECKPOINT)?;
    }
    let checkpoints = folder.checkpoints();
    if checkpoints.is_dir() {
        fs::remove_dir(&checkpoints).map_err(|fault| Error::io(&checkpoints, fault))?;
    }
    let events = names(folder.dir())?.into_iter().filter(|name| is_events(name));
    let events: Vec<PathBuf> = events.map(|name| folder.dir().join(name)).collect();
    for path in events.iter().chain(&[folder.metrics(), folder.config()]).filter(|path| path.is_file()) {
        fs::remove_file(path).map_err(|fault| Error::io(path, fault))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Progress, save_run};

    fn save(folder: &RunFolder, step: usize) {
        let progress = Progress {
            step,
            next_episode: 0,
            seed: 0,
            best_score: None,
            train_secs: 0.0,
            eval_secs: 0.0,
            last_eval_step: 0,
            config: String::new(),
            base: None,
            batching: None,
        };
        fs::write(folder.config(), "").unwrap();
        save_run(&folder.last(), &progress, &[], |_| Ok(())).unwrap();
    }

    #[test]
    fn a_taken_name_gets_the_next_number_and_the_newest_is_continued() {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path().join("run");
        for expected in ["run", "run-2", "run-3"] {
            let made = RunWriter::start_numbered(&dir).unwrap();
            assert_eq!(made.folder().dir(), room.path().join(expected));
            save(made.folder(), 3);
        }
        fs::remove_dir_all(room.path().join("run-3/checkpoints")).unwrap();
        assert_eq!(RunWriter::resume_newest(&dir).unwrap().folder().dir(), room.path().join("run-2"));
    }

    #[test]
    fn a_name_that_is_being_written_is_taken_for_every_other_writer() {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path().join("runs/run");
        let first = RunWriter::start_numbered(&dir).unwrap();
        assert!(RunWriter::start(&dir).unwrap_err().to_string().contains("another process"));
        let second = RunWriter::start_numbered(&dir).unwrap();
        assert_eq!(second.folder().dir(), room.path().join("runs/run-2"));
        save(first.folder(), 1);
        assert!(RunWriter::resume(&dir).unwrap_err().to_string().contains("another process"));
        drop(first);
        drop(RunWriter::resume(&dir).unwrap());
        drop(second);
        assert!(!room.path().join("runs/run-2").exists(), "a run that never began leaves no folder");
    }

    #[test]
    fn a_folder_that_holds_something_is_not_written_over() {
        let room = tempfile::tempdir().unwrap();
        let (thesis, run) = (room.path().join("thesis"), room.path().join("run"));
        fs::create_dir(&thesis).unwrap();
        fs::write(thesis.join("chapter.txt"), "").unwrap();
        let message = RunWriter::start(&thesis).unwrap_err().to_string();
        assert!(message.contains("chapter.txt") && message.contains("--out"), "{message}");
        assert!(!message.contains("--resume"), "there is nothing to continue: {message}");
        save(RunWriter::start(&run).unwrap().folder(), 2);
        let message = RunWriter::start(&run).unwrap_err().to_string();
        assert!(message.contains("--resume") && message.contains("2 outer steps"), "{message}");
    }

    #[test]
    fn a_run_that_ended_before_its_first_step_is_taken_over_but_for_what_is_not_perks() {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path().join("run");
        for (checkpoint, stranger) in [(false, "notes.txt"), (true, "checkpoints/last/notes.txt")] {
            let first = RunWriter::start(&dir).unwrap();
            fs::write(first.folder().config(), "old").unwrap();
            fs::write(first.folder().metrics(), "old").unwrap();
            EventFile::begin(&dir, 0).unwrap();
            if checkpoint {
                save(first.folder(), 0);
            }
            drop(first);
            let continued = RunWriter::resume(&dir).map(drop).map_err(|fault| fault.to_string());
            let advice = continued.err().filter(|message| message.contains("start the run again"));
            assert_eq!(advice.is_none(), checkpoint);
            fs::write(dir.join(stranger), "mine").unwrap();
            let message = RunWriter::start(&dir).unwrap_err().to_string();
            assert!(message.contains("notes.txt"), "{message}");
            assert_eq!(fs::read_to_string(dir.join(stranger)).unwrap(), "mine");
            fs::remove_file(dir.join(stranger)).unwrap();
            let second = RunWriter::start(&dir).unwrap();
            assert!(second.took_over() && !second.folder().config().exists());
            assert!(!second.folder().metrics().exists() && !second.folder().last().exists());
            assert!(!names(&dir).unwrap().iter().any(|name| is_events(name)));
        }
    }
}
