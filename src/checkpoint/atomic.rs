//! Files that are written whole or not at all: a temporary name in the same folder, synced, renamed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use safetensors::SafeTensorError;
use serde_json::Value;
use tempfile::Builder;

use crate::{Error, Result};

/// Writes `path` through `write`; a failure or a crash leaves the file that was there before.
///
/// # Errors
/// What `write` returns, or a file or folder that cannot be written.
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
    let folder = parent(path);
    let temporary = Builder::new().prefix(&temporary_prefix(path)).tempfile_in(&folder);
    let temporary = temporary.map_err(|e| Error::io(path, e))?.into_temp_path();
    write(&temporary)?;
    readable_by_all(&temporary)?;
    sync(&temporary)?;
    temporary.persist(path).map_err(|e| Error::io(path, e.error))?;
    sync(&folder)
}

/// Writes the folder `path` through `write`, which fills the temporary folder it is given.
///
/// Where a folder of that name exists it is moved aside, replaced and then removed, so that a crash leaves
/// the old one or the new one whole, in the worst moment under a name that starts with `.` and ends in
/// `.old`.
///
/// # Errors
/// What `write` returns, or a file or folder that cannot be written.
pub fn write_folder(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let folder = parent(path);
    let temporary = Builder::new().prefix(&temporary_prefix(path)).tempdir_in(&folder);
    let temporary = temporary.map_err(|e| Error::io(path, e))?;
    write(temporary.path()).map_err(|fault| fault.moved(temporary.path(), path))?;
    readable_by_all(temporary.path())?;
    sync_tree(temporary.path())?;
    let aside = with_suffix(path, "old");
    let replaces = path.exists();
    if replaces {
        remove_folder(&aside)?;
        fs::rename(path, &aside).map_err(|e| Error::io(path, e))?;
    }
    if let Err(error) = fs::rename(temporary.path(), path) {
        if replaces {
            // The old folder goes back; if even that fails, the first error is the one to report.
            let _ = fs::rename(&aside, path);
        }
        return Err(Error::io(path, error));
    }
    sync(&folder)?;
    if replaces { remove_folder(&aside) } else { Ok(()) }
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

pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn temporary_prefix(path: &Path) -> String {
    format!(".{}.tmp-", file_name(path))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    parent(path).join(format!(".{}.{suffix}", file_name(path)))
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, e)),
        _ => Ok(()),
    }
}

/// Temporary files are made private to their owner; results are ordinary files.
fn readable_by_all(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| Error::io(path, e))?;
    }
    Ok(())
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| Error::io(path, e))
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
    fn a_folder_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last");
        let fill = |name: &'static str| {
            move |to: &Path| fs::write(to.join(name), name).map_err(|e| Error::io(to, e))
        };
        write_folder(&path, fill("first")).unwrap();
        write_folder(&path, fill("second")).unwrap();
        assert_eq!(names(&path), ["second"]);
        assert!(write_folder(&path, |_| Err(Error::Invalid("stopped".to_owned()))).is_err());
        assert_eq!(names(&path), ["second"]);
        assert_eq!(names(folder.path()), ["last"]);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/file");
        let error = write_file(&path, |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("missing/file"), "{error}");
    }
}
