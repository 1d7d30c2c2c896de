//! One writer at a time: a lock on a name, which ends with the process that holds it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Another process may remove the lock file between our opening and locking it; then we try again.
const TRIES: usize = 100;

/// The right to write one file or folder, as long as it lives.
///
/// It is a lock on the empty file `.NAME.lock` beside it. A process that is killed leaves that file, but not
/// the lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of `target`, whose parent folder is made if it is missing.
    ///
    /// # Errors
    /// Another process holds it, or the folder cannot be written.
    pub fn take(target: &Path) -> Result<Self> {
        let path = super::atomic::with_suffix(target, "lock");
        let parent = super::atomic::parent(target);
        fs::create_dir_all(&parent).map_err(|e| Error::io(&parent, e))?;
        for _ in 0..TRIES {
            let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => return Ok(Self { file, path }),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let reason =
                        "another process is writing here: wait for it to end, or name another folder";
                    return Err(Error::file(target, reason));
                }
                Err(TryLockError::Error(e)) => return Err(Error::io(&path, e)),
            }
        }
        Err(Error::file(&path, "cannot be locked: other processes keep replacing it"))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still locked; who opened it before sees that it is gone and tries again.
        drop(fs::remove_file(&self.path));
        drop(self.file.unlock());
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
        Lock::take(&room.path().join("store/other")).unwrap();
        drop(lock);
        drop(Lock::take(&target).unwrap());
        assert_eq!(fs::read_dir(room.path().join("store")).unwrap().count(), 0);
    }

    #[test]
    fn only_one_of_many_threads_holds_a_lock() {
        let room = tempfile::tempdir().unwrap();
        let target = room.path().join("story");
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
