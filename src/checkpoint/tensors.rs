//! Safetensors files, mapped into memory.

use std::path::Path;

use candle_core::safetensors::MmapedSafetensors;

use crate::files::require_itself;
use crate::{Error, Result};

/// Maps a safetensors file and checks its header: lengths, types and offsets, down to the last byte.
///
/// # Errors
/// A file that cannot be read, is cut short or is no safetensors file.
#[allow(unsafe_code)]
pub fn map_tensors(path: &Path) -> Result<MmapedSafetensors> {
    require_itself(path)?;
    // SAFETY: the map is only read. As for every reader of mapped files, another process must not cut the
    // file short meanwhile; this one never writes to a file in place (see `atomic`).
    let file = unsafe { MmapedSafetensors::new(path) };
    file.map_err(|e| Error::file(path, format!("is not a whole safetensors file: {}", innermost(&e))))
}

/// The cause under Candle's wrappers, which repeat the path.
fn innermost(error: &candle_core::Error) -> String {
    use candle_core::Error as E;
    match error {
        E::WithPath { inner, .. } | E::WithBacktrace { inner, .. } => innermost(inner),
        other => other.to_string(),
    }
}
