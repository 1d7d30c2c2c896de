//! Folders that are written whole or not at all, and that keep what is not perk's.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use tempfile::Builder;

use super::atomic::{readable_by_all, sync};
use super::place::{RANDOM, hidden, is_temporary, parent, place, temporary_prefix};
use crate::{Error, Result};

/// A reader that takes the moment between two renames for a crash can come between so often.
const TRIES: usize = 100;
/// How long a reader waits for the second of two renames before it takes the first for a crash.
const PATIENCE: [Duration; 20] = [Duration::from_millis(10); 20];

/// Writes the folder `path` through `write`, which fills the temporary folder it is given.
///
/// Where a folder of that name exists it is moved aside and replaced; its files of the same names are removed then,
/// and everything else that it holds is moved to the new one. A crash leaves the old folder or the new one whole, in
/// the worst moment with the rest under a name that starts with `.` and ends in `.old`, which the next writer clears.
///
/// # Errors
/// What `write` returns; a symbolic link or a file in the place; a file or folder that cannot be written.
pub fn write_folder(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let path = &place(path)?;
    let replaces = path.exists();
    if replaces && !path.is_dir() {
        return Err(Error::file(path, "is a file, not a folder: name another one"));
    }
    let folder = parent(path);
    let temporary = Builder::new().prefix(&temporary_prefix(path)).rand_bytes(RANDOM).tempdir_in(&folder);
    let temporary = temporary.map_err(|e| Error::io(path, e))?;
    let new = temporary.path();
    write(new).map_err(|fault| fault.moved(new, path))?;
    readable_by_all(new)?;
    let own = names(new)?;
    sync_tree(new).map_err(|fault| fault.moved(new, path))?;
    if replaces {
        clear_old(path, &own)?;
        swap(new, path)?;
    } else {
        fs::rename(new, path).map_err(|e| Error::io(path, e))?;
    }
    sync(&folder)?;
    clear_old(path, &own)
}

/// Brings folder `path` back where a crash came between the two renames of [`write_folder`]. Readers may call this
/// at any time.
///
/// # Errors
/// A folder that cannot be renamed.
pub fn recover(path: &Path) -> Result<()> {
    let old = hidden(path, "old");
    for pause in PATIENCE {
        if path.exists() || !old.is_dir() {
            return Ok(());
        }
        // A writer that lives needs no more than a moment.
        std::thread::sleep(pause);
    }
    match fs::rename(&old, path) {
        Err(_) if path.exists() => Ok(()),
        renamed => renamed.map_err(|source| Error::io(path, source)),
    }
}

/// Puts `new` in the place of `path`, which goes aside.
fn swap(new: &Path, path: &Path) -> Result<()> {
    let old = hidden(path, "old");
    let mut fault = None;
    for _ in 0..TRIES {
        match fs::rename(path, &old) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(path, e)),
            _ => {}
        }
        match fs::rename(new, path) {
            Ok(()) => return Ok(()),
            // A reader has put the old folder back meanwhile.
            Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                fault = Some(e);
            }
            Err(e) => {
                // The old folder goes back; if even that fails, the first error is the one to report.
                let _ = fs::rename(&old, path);
                return Err(Error::io(path, e));
            }
        }
    }
    let fault = fault.unwrap_or_else(|| ErrorKind::DirectoryNotEmpty.into());
    Err(Error::io(path, fault))
}

/// Clears the folder that went aside for `path`: files called as in `own` are removed, everything else goes to
/// `path`. Where a crash left no `path`, the old folder takes its place again.
///
/// # Errors
/// A file that cannot be moved or removed.
pub(crate) fn clear_old(path: &Path, own: &HashSet<OsString>) -> Result<()> {
    let old = hidden(path, "old");
    if !fs::symlink_metadata(&old).is_ok_and(|data| data.is_dir()) {
        return Ok(());
    }
    if !path.exists() {
        return fs::rename(&old, path).map_err(|e| Error::io(path, e));
    }
    for name in names(&old)? {
        let (from, to) = (old.join(&name), path.join(&name));
        if is_own(&from, &name, own) {
            fs::remove_file(&from).map_err(|e| Error::io(&from, e))?;
        } else if fs::symlink_metadata(&to).is_err() {
            fs::rename(&from, &to).map_err(|e| Error::io(&from, e))?;
        }
    }
    match fs::remove_dir(&old) {
        Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => {
            let reason =
                "holds what is not perk's, and cannot be put back, for the names are taken: move it away";
            Err(Error::file(&old, reason))
        }
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(&old, e)),
        _ => Ok(()),
    }
}

/// Removes folder `path` as far as it is perk's: its files called as in `own`, and itself if it is empty then.
/// Returns what it still holds.
///
/// # Errors
/// A file that cannot be removed.
pub(crate) fn remove_own(path: &Path, own: &[&str]) -> Result<Vec<OsString>> {
    let set: HashSet<OsString> = own.iter().map(OsString::from).collect();
    let mut found: Vec<OsString> = names(path)?.into_iter().collect();
    found.sort();
    // In the order of `own`, so that its last file says to the end whose folder it is.
    let place = |name: &OsString| own.iter().position(|own| name == own);
    found.sort_by_key(|name| place(name));
    let mut left = Vec::new();
    for name in found {
        let file = path.join(&name);
        if is_own(&file, &name, &set) {
            fs::remove_file(&file).map_err(|e| Error::io(&file, e))?;
        } else {
            left.push(name);
        }
    }
    if left.is_empty() {
        fs::remove_dir(path).map_err(|e| Error::io(path, e))?;
    }
    Ok(left)
}

/// Whether something in a folder of perk's was written by perk: a file, no link, of one of its names or of a
/// temporary one.
fn is_own(path: &Path, name: &OsString, own: &HashSet<OsString>) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|data| data.is_file());
    let is_half = |own: &OsString| {
        let prefix = temporary_prefix(Path::new(own));
        name.to_str().is_some_and(|name| is_temporary(name, &prefix))
    };
    is_file && (own.contains(name) || own.iter().any(is_half))
}

pub(crate) fn names(folder: &Path) -> Result<HashSet<OsString>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    entries.map(|entry| entry.map(|e| e.file_name()).map_err(|e| Error::io(folder, e))).collect()
}

fn sync_tree(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.is_dir() { sync_tree(&path)? } else { sync(&path)? }
    }
    sync(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = names(folder).unwrap().into_iter().collect();
        names.sort();
        names
    }

    fn fill(text: &'static str) -> impl FnOnce(&Path) -> Result<()> {
        move |to| {
            let write = |name| fs::write(to.join(name), text).map_err(|e| Error::io(to, e));
            write("a").and_then(|()| write("b"))
        }
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("last");
        write_folder(&path, fill("first")).unwrap();
        write_folder(&path, fill("second")).unwrap();
        assert_eq!((read(&path, "a"), read(&path, "b")), ("second".to_owned(), "second".to_owned()));
        assert!(write_folder(&path, |_| Err(Error::Invalid("stopped".to_owned()))).is_err());
        assert_eq!(listed(&path), ["a", "b"]);
        assert_eq!(listed(room.path()), ["last"]);
    }

    #[test]
    fn what_is_not_perks_stays_in_a_folder_that_is_replaced() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("last");
        write_folder(&path, fill("first")).unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        fs::create_dir_all(path.join("more/b")).unwrap();
        fs::write(path.join(".a.tmp-x1Y2z3"), "half").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("nowhere", path.join("link")).unwrap();
        write_folder(&path, fill("second")).unwrap();
        assert_eq!((read(&path, "a"), read(&path, "notes.txt")), ("second".to_owned(), "mine".to_owned()));
        #[cfg(unix)]
        assert_eq!(listed(&path), ["a", "b", "link", "more", "notes.txt"]);
        assert!(path.join("more/b").is_dir());
        assert_eq!(listed(room.path()), ["last"]);
    }

    #[test]
    fn a_crash_at_any_moment_of_a_replacement_loses_nothing() {
        let room = tempfile::tempdir().unwrap();
        let (path, old) = (room.path().join("last"), room.path().join(".last.old"));
        write_folder(&path, fill("first")).unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        // Between the two renames: a reader puts the old one back.
        fs::rename(&path, &old).unwrap();
        recover(&path).unwrap();
        assert_eq!(read(&path, "a"), "first");
        // Between the two renames, and the next to come is a writer.
        fs::rename(&path, &old).unwrap();
        write_folder(&path, fill("second")).unwrap();
        assert_eq!((read(&path, "a"), read(&path, "notes.txt")), ("second".to_owned(), "mine".to_owned()));
        // After them, before the old folder is cleared.
        fs::create_dir(&old).unwrap();
        fill("first")(&old).unwrap();
        fs::write(old.join("more.txt"), "mine").unwrap();
        write_folder(&path, fill("third")).unwrap();
        assert_eq!((read(&path, "a"), read(&path, "more.txt")), ("third".to_owned(), "mine".to_owned()));
        assert_eq!(listed(&path), ["a", "b", "more.txt", "notes.txt"]);
        assert_eq!(listed(room.path()), ["last"]);
    }

    #[test]
    fn two_files_of_one_name_are_both_kept() {
        let room = tempfile::tempdir().unwrap();
        let (path, old) = (room.path().join("last"), room.path().join(".last.old"));
        for (folder, text) in [(&path, "newer"), (&old, "older")] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("notes.txt"), text).unwrap();
        }
        let message = write_folder(&path, fill("x")).unwrap_err().to_string();
        assert!(message.contains(".last.old") && message.contains("move it away"), "{message}");
        assert_eq!((read(&path, "notes.txt"), read(&old, "notes.txt")), ("newer".into(), "older".into()));
    }

    #[test]
    fn a_file_or_a_link_in_the_place_is_not_replaced() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("file");
        fs::write(&path, "mine").unwrap();
        assert!(write_folder(&path, fill("x")).unwrap_err().to_string().contains("is a file"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        #[cfg(unix)]
        {
            let link = room.path().join("link");
            fs::create_dir(room.path().join("real")).unwrap();
            std::os::unix::fs::symlink("real", &link).unwrap();
            assert!(write_folder(&link, fill("x")).unwrap_err().to_string().contains("symbolic link"));
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && listed(&link).is_empty());
        }
    }

    #[test]
    fn readers_who_recover_do_not_stop_a_writer() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("last");
        write_folder(&path, fill("first")).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(order) {
                    // As `recover`, without its patience.
                    if !path.exists() {
                        let _ = fs::rename(hidden(&path, "old"), &path);
                    }
                }
            });
            for _ in 0..100 {
                write_folder(&path, fill("again")).unwrap();
            }
            done.store(true, order);
        });
        assert_eq!(read(&path, "a"), "again");
    }
}
