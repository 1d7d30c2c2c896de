//! Where a base or a dataset is, on this machine or on the hub, told apart by how it is written.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result, shown};

/// Begins the name of what is on the hub.
const HUB: &str = "hf:";

/// A place as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A path of this machine: whatever is not one of the others.
    Local(PathBuf),
    /// `hf:owner/name`: the id `owner/name` of the hub.
    Hub(String),
    /// `owner/name` alone, written by hand or by an older version: a path, or an id of the hub. What is there may
    /// be used; nothing is downloaded for it, since a path that was mistyped, or is asked for in another folder,
    /// would bring whatever a stranger has put on the hub under that name.
    Either(String),
}

impl Place {
    /// Reads a place.
    ///
    /// # Errors
    /// `hf:` before what is no id of the hub.
    pub fn parse(text: &str) -> Result<Self> {
        match text.strip_prefix(HUB) {
            Some(id) if is_hub_id(id) => Ok(Self::Hub(id.to_owned())),
            Some(_) => {
                let text = shown(text);
                let reason = format!("`{text}` names nothing of the hub: write it as {HUB}owner/name");
                Err(Error::Invalid(reason))
            }
            None if is_hub_id(text) => Ok(Self::Either(text.to_owned())),
            None => Ok(Self::Local(text.into())),
        }
    }

    /// The place in the words of transformers and PEFT: a path, or `owner/name`.
    pub fn for_transformers(&self) -> String {
        match self {
            Self::Local(path) => path.to_string_lossy().into_owned(),
            Self::Hub(id) | Self::Either(id) => id.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(out, "{}", path.display()),
            Self::Hub(id) => write!(out, "{HUB}{id}"),
            Self::Either(text) => out.write_str(text),
        }
    }
}

/// Whether a text has the form of an id of the hub: `owner/name` of letters, digits, `-`, `_` and `.`.
fn is_hub_id(text: &str) -> bool {
    let plain = |part: &str| {
        let chars_fit = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        chars_fit && part.starts_with(|c: char| c.is_ascii_alphanumeric()) && !part.contains("..")
    };
    text.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_local_or_of_the_hub_by_its_writing_and_reads_back_as_itself() {
        let (local, hub) = (|p: &str| Place::Local(p.into()), |id: &str| Place::Hub(id.to_owned()));
        for (text, expected, peft) in [
            ("hf:owner/name", hub("owner/name"), "owner/name"),
            ("owner/name", Place::Either("owner/name".to_owned()), "owner/name"),
            ("base", local("base"), "base"),
            ("./owner/name", local("./owner/name"), "./owner/name"),
            ("/owner/name", local("/owner/name"), "/owner/name"),
            ("a/b/c", local("a/b/c"), "a/b/c"),
            ("owner/..x", local("owner/..x"), "owner/..x"),
        ] {
            let place = Place::parse(text).unwrap();
            assert_eq!(place, expected);
            assert_eq!(place.to_string(), text);
            assert_eq!(place.for_transformers(), peft);
        }
        for bad in ["hf:", "hf:name", "hf:../escape", "hf:a/b/c"] {
            assert!(Place::parse(bad).unwrap_err().to_string().contains("hf:owner/name"), "{bad}");
        }
    }
}
