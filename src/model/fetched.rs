//! The files of a base in the hub's cache, checked.

use std::path::{Path, PathBuf};

use super::file_digest::{is_sha256, sha256};
use super::weights::weight_files;
use super::{BaseFiles, CONFIG_FILE, GENERATION_CONFIG_FILE};
use crate::text::{CHAT_TEMPLATE_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE};
use crate::{Error, Result};

/// A file of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedFile {
    /// Its name.
    pub name: String,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Whether its bytes are those whose SHA-256 the hub named; small files come without one.
    pub has_digest: bool,
}

/// The files of a base that perk reads. Those that the cache keeps under their SHA-256, as it does with all
/// large files, are read whole and compared with it.
///
/// # Errors
/// A file that is missing, or is not what the hub announced.
pub fn checked_files(base: &BaseFiles) -> Result<Vec<CheckedFile>> {
    let folder = match base {
        BaseFiles::Folder(folder) => folder,
        BaseFiles::Gguf(file) => return Ok(vec![checked(file)?]),
    };
    let small =
        [CONFIG_FILE, GENERATION_CONFIG_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, CHAT_TEMPLATE_FILE];
    let mut paths: Vec<PathBuf> = small.map(|name| folder.join(name)).to_vec();
    paths.retain(|path| path.exists());
    let (list, weights) = weight_files(folder)?;
    if !weights.contains(&list) {
        paths.push(list);
    }
    paths.extend(weights);
    paths.iter().map(|path| checked(path)).collect()
}

fn checked(path: &Path) -> Result<CheckedFile> {
    let fault = |fault| Error::io(path, fault);
    // In the cache a file of a base is a link to one that has its digest for a name.
    let blob = std::fs::canonicalize(path).map_err(fault)?;
    let bytes = std::fs::metadata(&blob).map_err(fault)?.len();
    let digest = blob.file_name().and_then(|name| name.to_str()).filter(|name| is_sha256(name));
    if let Some(digest) = digest {
        let found = sha256(&blob).map_err(fault)?;
        if found != digest {
            let reason = format!(
                "is damaged: its SHA-256 is {found}, and the hub named {digest}; remove {} and fetch it again",
                blob.display()
            );
            return Err(Error::file(path, reason));
        }
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(CheckedFile { name, bytes, has_digest: digest.is_some() })
}
