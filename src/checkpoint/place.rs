//! Where something is written: its plain path, which is no link, and the hidden names beside it.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::shown_path;
use crate::{Error, Result};

/// Random letters at the end of a temporary name.
pub(super) const RANDOM: usize = 6;

/// The path of something to write, without `.` and a trailing `/`.
///
/// Perk writes through no symbolic link: what it points to is not perk's, and to replace the link would take it away
/// from who made it. Links in the folders above are followed, as everywhere.
///
/// # Errors
/// A symbolic link there; a path without a name of its own.
pub fn place(path: &Path) -> Result<PathBuf> {
    // With a `/` at its end the system would look behind a link.
    let path: PathBuf = path.components().collect();
    if path.file_name().is_none() {
        return match fs::canonicalize(&path) {
            Ok(real) if real.file_name().is_some() => Ok(real),
            _ => Err(Error::file(&path, "is no name to write to: name a file or a folder")),
        };
    }
    match fs::read_link(&path) {
        Ok(target) => {
            let target = shown_path(&target);
            let reason = format!(
                "is a symbolic link, and perk writes through none: name what it points to ({target}), or \
                 another place"
            );
            Err(Error::file(&path, reason))
        }
        Err(_) => Ok(path),
    }
}

/// Folders that were made here; those that are empty in the end go again.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<PathBuf>);

impl Made {
    /// Makes `folder` and those above it, where they are missing. A folder that somebody removes meanwhile is not
    /// made again.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn make(&mut self, folder: &Path) -> Result<()> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
        for path in missing.into_iter().rev() {
            match DirBuilder::new().create(path) {
                Ok(()) => self.0.push(path.to_owned()),
                Err(e) if matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
                Err(e) => return Err(Error::io(path, e)),
            }
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Only an empty folder can be removed so.
        self.0.iter().rev().for_each(|path| drop(fs::remove_dir(path)));
    }
}

pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// `.NAME.tmp-`, before [`RANDOM`] letters.
pub(super) fn temporary_prefix(path: &Path) -> String {
    format!(".{}.tmp-", file_name(path))
}

/// `.NAME.SUFFIX` beside `path`.
pub(super) fn hidden(path: &Path, suffix: &str) -> PathBuf {
    parent(path).join(format!(".{}.{suffix}", file_name(path)))
}

/// Removes what a process that was killed has left under temporary names of `path`. Only who alone may write `path`
/// may call this.
pub(crate) fn sweep(path: &Path) {
    let prefix = temporary_prefix(path);
    for entry in fs::read_dir(parent(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| is_temporary(name, &prefix)) {
            continue;
        }
        // What cannot be removed is in nobody's way.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => drop(fs::remove_dir_all(entry.path())),
            Ok(kind) if kind.is_file() => drop(fs::remove_file(entry.path())),
            _ => {}
        }
    }
}

pub(super) fn is_temporary(name: &str, prefix: &str) -> bool {
    let random = name.strip_prefix(prefix);
    random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_plain_and_no_link() {
        let room = tempfile::tempdir().unwrap();
        fs::create_dir(room.path().join("real")).unwrap();
        assert_eq!(place(&room.path().join("./real/")).unwrap(), room.path().join("real"));
        assert_eq!(place(&room.path().join("new")).unwrap(), room.path().join("new"));
        assert!(place(Path::new(".")).unwrap().is_absolute());
        assert!(place(Path::new("/")).is_err() && place(Path::new("")).is_err());
        #[cfg(unix)]
        for (name, target) in [("to-folder", "real"), ("to-nothing", "nothing")] {
            let link = room.path().join(name);
            std::os::unix::fs::symlink(target, &link).unwrap();
            for link in [link.clone(), link.join("")] {
                let message = place(&link).unwrap_err().to_string();
                assert!(message.contains("symbolic link") && message.contains(target), "{message}");
            }
        }
    }

    #[test]
    fn folders_that_were_made_and_stay_empty_go_again() {
        let room = tempfile::tempdir().unwrap();
        let mut made = Made::default();
        made.make(&room.path().join("a/b")).unwrap();
        made.make(&room.path().join("c/d")).unwrap();
        fs::write(room.path().join("c/mine"), "").unwrap();
        drop(made);
        assert!(!room.path().join("a").exists());
        assert!(room.path().join("c").exists() && !room.path().join("c/d").exists());
    }

    #[test]
    fn only_temporary_names_of_its_own_are_swept() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("last");
        fs::create_dir_all(room.path().join(".last.tmp-a1B2c3/x")).unwrap();
        let stay = [".last.tmp-mine", ".other.tmp-a1B2c3", "last.tmp-a1B2c3"];
        for name in [".last.tmp-Z9z9z9", stay[0], stay[1], stay[2]] {
            fs::write(room.path().join(name), "").unwrap();
        }
        sweep(&path);
        let mut left: Vec<_> =
            fs::read_dir(room.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, stay);
    }
}
