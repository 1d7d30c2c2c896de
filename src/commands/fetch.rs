//! Fetching: a base of the hub is brought into the cache, and every file of it checked.

use std::path::Path;

use crate::config::Place;
use crate::error::{Error, Result};
use crate::model::{CheckedFile, HubSettings, Located, checked_files, resolve};

/// A base that is whole in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it lies.
    pub base: Located,
    /// The files that perk reads of it.
    pub files: Vec<CheckedFile>,
}

/// Brings `base`, `hf:owner/name`, at `revision` into the cache, as every command does that needs it, and checks what lies
/// there. Files that are there are not fetched again; a download that was broken off goes on where it was.
///
/// # Errors
/// A folder of this machine; a hub that cannot be reached, may not be asked, or does not have the base; a file that is
/// not what the hub announced.
pub fn fetch(base: &str, revision: Option<&str>, hub: &HubSettings) -> Result<Fetched> {
    let is_local = match Place::parse(base)? {
        Place::Hub(_) | Place::HubFile { .. } => false,
        Place::Local(path) => path.exists(),
        Place::Either(path) => Path::new(&path).exists(),
    };
    if is_local {
        let reason = "is on this machine already, so there is nothing to fetch: a model of the hub is written \
                      hf:owner/name";
        return Err(Error::file(base, reason));
    }
    let base = resolve(base, revision, false, hub)?;
    let files = checked_files(&base.files)?;
    Ok(Fetched { base, files })
}
