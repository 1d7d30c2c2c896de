//! Files that are written whole or not at all: a temporary name in the same folder, synced, renamed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::Tensor;
use safetensors::SafeTensorError;
use serde_json::Value;
use tempfile::{Builder, TempPath};

use super::place::{RANDOM, parent, place, temporary_prefix};
use crate::{Error, Result};

/// Writes `path` through `write`; a failure or a crash leaves the file that was there before.
///
/// # Errors
/// What `write` returns, a symbolic link in the place, or a file or folder that cannot be written.
pub fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    write_at(path, |temporary| {
        let file = File::create(temporary).map_err(|e| Error::io(temporary, e))?;
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        writer.flush().map_err(|e| Error::io(temporary, e))
    })
}

/// As [`write_file`], for writers that take a path: `write` fills the temporary file it is given.
///
/// # Errors
/// As [`write_file`].
pub fn write_at(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    filled(path, write, |temporary, path| temporary.persist(path).map_err(|e| e.error))
}

/// As [`write_at`], for a file that must not be there yet: one that appears meanwhile is not replaced.
///
/// # Errors
/// As [`write_file`], and a file of that name.
pub fn write_new_at(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    filled(path, write, |temporary, path| temporary.persist_noclobber(path).map_err(|e| e.error))
}

/// A temporary file, filled by `write`, synced, and given its name by `persist`.
fn filled(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<()>,
    persist: impl FnOnce(TempPath, &Path) -> std::io::Result<()>,
) -> Result<()> {
    let path = &place(path)?;
    let folder = parent(path);
    let temporary = Builder::new().prefix(&temporary_prefix(path)).rand_bytes(RANDOM).tempfile_in(&folder);
    let temporary = temporary.map_err(|e| Error::io(path, e))?.into_temp_path();
    let named = |fault: Error| fault.moved(&temporary, path);
    write(&temporary).map_err(named)?;
    readable_by_all(&temporary).map_err(named)?;
    sync(&temporary).map_err(named)?;
    persist(temporary, path).map_err(|e| Error::io(path, e))?;
    sync(&folder)
}

/// Writes tensors to a safetensors file, whole or not at all.
///
/// # Errors
/// A file or folder that cannot be written.
pub fn write_tensors(path: &Path, tensors: Vec<(String, Tensor)>) -> Result<()> {
    // transformers refuses a file that does not say which framework's layout its tensors have.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_at(path, |temporary| {
        safetensors::serialize_to_file(tensors, Some(metadata), temporary).map_err(|e| match e {
            SafeTensorError::IoError(e) => Error::io(path, e),
            other => Error::file(path, format!("cannot be written: {other}")),
        })
    })
}

/// Writes a JSON document, indented, whole or not at all.
///
/// # Errors
/// A file or folder that cannot be written.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_file(path, |writer| writeln!(writer, "{value:#}").map_err(|e| Error::io(path, e)))
}

/// Temporary files are made private to their owner; results are ordinary files.
pub(super) fn readable_by_all(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| Error::io(path, e))?;
    }
    Ok(())
}

pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_file(&path, |w| w.write_all(b"old").map_err(|e| Error::io("state.json", e))).unwrap();
        let failed = write_file(&path, |w| {
            w.write_all(b"half of the n").map_err(|e| Error::io("state.json", e))?;
            Err(Error::Invalid("stopped".to_owned()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["state.json"]);
    }

    #[test]
    fn a_link_in_the_place_is_neither_replaced_nor_written_through() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "mine").unwrap();
        let path = folder.path().join("link");
        #[cfg(unix)]
        std::os::unix::fs::symlink("mine", &path).unwrap();
        #[cfg(unix)]
        for refused in [write_at(&path, |_| Ok(())), write_new_at(&path, |_| Ok(()))] {
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("symbolic link"), "{message}");
        }
        assert_eq!(fs::read(folder.path().join("mine")).unwrap(), b"mine");
    }

    #[test]
    fn a_file_that_appears_while_a_new_one_is_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let appear = |_: &Path| fs::write(&path, "mine").map_err(|e| Error::io(&path, e));
        assert!(write_new_at(&path, appear).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert_eq!(names(folder.path()), ["new"]);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/file");
        let error = write_file(&path, |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("missing/file"), "{error}");
    }
}
