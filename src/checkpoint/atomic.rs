//! A file is either the old one or the new one, whole, whatever happens while it is written.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use crate::error::{Error, Result};

/// Writes `path` through a temporary neighbour that is synced, then renamed.
pub fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let attempt = || -> io::Result<()> {
        let temporary = tempfile::NamedTempFile::new_in(folder)?;
        let mut out = BufWriter::new(temporary);
        write(&mut out)?;
        let temporary = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|failure| failure.error)?;
        File::open(folder)?.sync_all()
    };
    attempt().map_err(|source| Error::io(path, source))
}
