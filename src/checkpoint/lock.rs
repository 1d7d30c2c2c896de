//! One writer at a time: a lock on a name, which ends with the process that holds it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::place::{Made, hidden, parent, place, sweep};
use crate::{Error, Result};

/// Another process may remove the lock file between our opening and locking it; then we try again.
const TRIES: usize = 100;

/// Name of a lock that is in the folder itself.
pub(crate) const INSIDE: &str = ".perk.lock";

/// The right to write one file or folder, as long as it lives.
///
/// It is a lock on the empty file `.NAME.lock` beside it, or on `.perk.lock` in a folder whose parent cannot be written,
/// as that of a mounted one. A process that is killed leaves that file, but not the lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    _made: Made,
}

impl Lock {
    /// Takes the lock of `target`, whose parent folder is made if it is missing, and sweeps away what a writer
    /// that was killed left beside it.
    ///
    /// # Errors
    /// Another process holds it, `target` is a symbolic link, or its folder cannot be written.
    pub fn take(target: &Path) -> Result<Self> {
        Self::try_take(target)?.ok_or_else(|| {
            let reason = "another process is writing here: wait for it to end, or name another folder";
            Error::file(target, reason)
        })
    }

    /// As [`take`](Self::take); `None` where another process holds it.
    ///
    /// # Errors
    /// `target` is a symbolic link, or its folder cannot be written.
    pub fn try_take(target: &Path) -> Result<Option<Self>> {
        let target = place(target)?;
        let (mut path, mut made) = (place(&hidden(&target, "lock"))?, Made::default());
        let inside = target.join(INSIDE);
        for _ in 0..TRIES {
            made.make(&parent(&target))?;
            let file = match OpenOptions::new().create(true).truncate(false).write(true).open(&path) {
                // Who made the folder has just removed it again.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) if is_closed(&e) && path != inside && target.is_dir() => {
                    path = place(&inside)?;
                    continue;
                }
                file => file.map_err(|e| Error::io(&path, e))?,
            };
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    require_empty(&file, &path)?;
                    sweep(&target);
                    return Ok(Some(Self { file, path, _made: made }));
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(Error::io(&path, e)),
            }
        }
        Err(Error::file(
            &path,
            "cannot be locked: its folder is missing, or other processes keep replacing it",
        ))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still locked; who opened it before sees that it is gone and tries again.
        drop(fs::remove_file(&self.path));
        drop(self.file.unlock());
    }
}

/// Whether a folder takes no new files from us.
fn is_closed(fault: &std::io::Error) -> bool {
    matches!(fault.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// A file that holds something is not perk's, and must not be removed.
fn require_empty(file: &File, path: &Path) -> Result<()> {
    match file.metadata().map_err(|e| Error::io(path, e))?.len() {
        0 => Ok(()),
        _ => Err(Error::file(path, "is in the place of perk's lock, but holds something: move it away")),
    }
}

/// Whether the open file is the one that the path names now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |data: fs::Metadata| (data.dev(), data.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => identity(open) == identity(named),
        _ => false,
    }
}

/// Elsewhere an open file cannot be removed.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_locked_until_its_lock_is_dropped() {
        let room = tempfile::tempdir().unwrap();
        let target = room.path().join("store/story");
        let lock = Lock::take(&target).unwrap();
        let message = Lock::take(&target).unwrap_err().to_string();
        assert!(message.contains("another process") && message.contains("story"), "{message}");
        assert!(Lock::try_take(&target.join("")).unwrap().is_none(), "the same folder in another spelling");
        Lock::take(&room.path().join("store/other")).unwrap();
        drop(lock);
        drop(Lock::take(&target).unwrap());
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 0, "nothing is left, the folder neither");
    }

    #[test]
    fn a_file_in_the_place_of_a_lock_is_left_alone() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join(".story.lock");
        fs::write(&path, "mine").unwrap();
        let message = Lock::take(&room.path().join("story")).unwrap_err().to_string();
        assert!(message.contains("move it away"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&path, room.path().join(".link.lock")).unwrap();
            assert!(Lock::take(&room.path().join("link")).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_whose_parent_is_closed_has_its_lock_inside() {
        use std::os::unix::fs::PermissionsExt;
        let room = tempfile::tempdir().unwrap();
        let target = room.path().join("mounted");
        fs::create_dir(&target).unwrap();
        fs::set_permissions(room.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let lock = Lock::take(&target).unwrap();
        assert!(Lock::try_take(&target).unwrap().is_none());
        // Who may do everything is not kept from writing the parent.
        let inside = target.join(INSIDE).exists();
        assert_ne!(inside, room.path().join(".mounted.lock").exists());
        drop(lock);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        fs::set_permissions(room.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn only_one_of_many_threads_holds_a_lock() {
        let room = tempfile::tempdir().unwrap();
        let target = room.path().join("made/story");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let taken = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let Ok(lock) = Lock::take(&target) else { continue };
                        assert_eq!(inside.fetch_add(1, order), 0);
                        taken.fetch_add(1, order);
                        inside.fetch_sub(1, order);
                        drop(lock);
                    }
                });
            }
        });
        assert!(taken.load(order) > 0);
    }
}
