//! The real data that some tests read and that is not part of this repository.

use std::path::{Path, PathBuf};

/// A file or folder of it. Its place is the folder `shared` beside the repository, or what the environment variable
/// `PERK_SHARED_DIR` names.
pub fn shared(path: &str) -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let found = std::env::var_os("PERK_SHARED_DIR").map_or(beside, PathBuf::from).join(path);
    assert!(found.exists(), "{} is missing, which this test reads", found.display());
    found
}
