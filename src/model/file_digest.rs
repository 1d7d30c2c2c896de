//! The digest under which a hub keeps a large file: its name in the cache is the SHA-256 of its bytes.

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Whether a name in the cache, or an etag, is a SHA-256. Those of small files are digests of Git, and others may be
/// anything.
pub(super) fn is_sha256(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(path)?, &mut digest)?;
    Ok(format!("{:x}", digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_file_is_the_published_one() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), published);
        assert!(is_sha256(published));
        for other in ["", "6437b3", &published[1..], &published.to_uppercase(), &published.replace('b', "g")]
        {
            assert!(!is_sha256(other), "{other}");
        }
    }
}
