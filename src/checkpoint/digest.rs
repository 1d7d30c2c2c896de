//! Digests that tell whether a base, a checkpoint, a context or an adapter is the same as another.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A BLAKE3 digest, written `blake3:` and 64 hexadecimal digits, as `b3sum` prints them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Of a file's bytes.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of_file(path: &Path) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        // All cores read the file: a base has gigabytes.
        hasher.update_mmap_rayon(path).map_err(|e| Error::io(path, e))?;
        Ok(Self::from(&hasher))
    }

    /// Of named parts, each a name and the digest of what it names.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = (&'a str, Digest)>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for (name, Self(digest)) in parts {
            update(&mut hasher, name.as_bytes());
            update(&mut hasher, digest.as_bytes());
        }
        Self::from(&hasher)
    }

    /// Of a list of texts; where one ends and the next begins counts.
    pub fn of_texts<T: AsRef<str>>(texts: &[T]) -> Self {
        let mut hasher = blake3::Hasher::new();
        texts.iter().for_each(|text| update(&mut hasher, text.as_ref().as_bytes()));
        Self::from(&hasher)
    }

    /// The first 12 hexadecimal digits: enough to tell the folders of a store apart.
    pub fn short(&self) -> &str {
        let digits = self.0.strip_prefix(PREFIX).unwrap_or(&self.0);
        digits.get(..12).unwrap_or(digits)
    }
}

const PREFIX: &str = "blake3:";

/// Lengths go first, so that no two lists of parts look alike.
fn update(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

impl From<&blake3::Hasher> for Digest {
    fn from(hasher: &blake3::Hasher) -> Self {
        Self(format!("{PREFIX}{}", hasher.finalize().to_hex()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_published_digest_of_its_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let digest = Digest::of_file(file.path()).unwrap();
        assert_eq!(
            digest.to_string(),
            "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
        assert_eq!(digest.short(), "6437b3ac3846");
    }

    #[test]
    fn texts_cut_elsewhere_have_another_digest() {
        assert_eq!(Digest::of_texts(&["ab", "c"]), Digest::of_texts(&["ab", "c"]));
        assert_ne!(Digest::of_texts(&["ab", "c"]), Digest::of_texts(&["a", "bc"]));
        assert_ne!(Digest::of_texts(&["abc"]), Digest::of_texts(&["abc", ""]));
    }
}
