//! Where a base or a dataset is, on this machine or on the hub, told apart by how it is written.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result, shown};

/// Begins the name of what is on the hub.
const HUB: &str = "hf:";
/// Ends the name of a file that is a base by itself.
const GGUF: &str = ".gguf";

/// A place as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A path of this machine: whatever is not one of the others.
    Local(PathBuf),
    /// `hf:owner/name`: the id `owner/name` of the hub.
    Hub(String),
    /// `hf:owner/name:file.gguf`: one file of it, perhaps in a folder there.
    HubFile {
        /// The id `owner/name`.
        id: String,
        /// The file's path inside the repository.
        file: String,
    },
    /// `owner/name` alone, written by hand or by an older version: a path, or an id of the hub. What is there may
    /// be used; nothing is downloaded for it, since a path that was mistyped, or is asked for in another folder,
    /// would bring whatever a stranger has put on the hub under that name.
    Either(String),
}

impl Place {
    /// Reads a place.
    ///
    /// # Errors
    /// `hf:` before what is no id of the hub, or names no GGUF file of it.
    pub fn parse(text: &str) -> Result<Self> {
        match text.strip_prefix(HUB) {
            Some(name) => of_hub(name).ok_or_else(|| {
                let text = shown(text);
                let forms = format!("{HUB}owner/name, or a GGUF file of it as {HUB}owner/name:file{GGUF}");
                Error::Invalid(format!("`{text}` names nothing of the hub: write it as {forms}"))
            }),
            // The name of a file, as no repository has it.
            None if is_hub_id(text) && !text.ends_with(GGUF) => Ok(Self::Either(text.to_owned())),
            None => Ok(Self::Local(text.into())),
        }
    }

    /// The place in the words of transformers and PEFT: a path, or `owner/name`.
    pub fn for_transformers(&self) -> String {
        match self {
            Self::Local(path) => path.to_string_lossy().into_owned(),
            Self::Hub(id) | Self::HubFile { id, .. } | Self::Either(id) => id.clone(),
        }
    }
}

/// A base as PEFT names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeftBase {
    /// A path or an id of the hub; empty where none is named.
    pub name: String,
    /// Which version of what is on the hub, if another than the newest.
    pub revision: Option<String>,
}

impl PeftBase {
    /// The base at `place`, at `revision` where it is on the hub.
    pub fn new(place: &Place, revision: Option<&str>) -> Self {
        let revision = revision.filter(|_| !matches!(place, Place::Local(_)));
        Self { name: place.for_transformers(), revision: revision.map(str::to_owned) }
    }
}

impl From<&str> for PeftBase {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), revision: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(out, "{}", path.display()),
            Self::Hub(id) => write!(out, "{HUB}{id}"),
            Self::HubFile { id, file } => write!(out, "{HUB}{id}:{file}"),
            Self::Either(text) => out.write_str(text),
        }
    }
}

/// What stands behind `hf:`, if it has the form that it must have.
fn of_hub(name: &str) -> Option<Place> {
    match name.split_once(':') {
        None => is_hub_id(name).then(|| Place::Hub(name.to_owned())),
        Some((id, file)) => {
            let fits = is_hub_id(id) && file.ends_with(GGUF) && file.split('/').all(is_plain);
            fits.then(|| Place::HubFile { id: id.to_owned(), file: file.to_owned() })
        }
    }
}

/// Whether a part of a path on the hub leads nowhere else: letters, digits, `-`, `_` and `.`.
fn is_plain(part: &str) -> bool {
    let chars_fit = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    chars_fit && part.starts_with(|c: char| c.is_ascii_alphanumeric()) && !part.contains("..")
}

/// Whether a text has the form of an id of the hub: `owner/name` of letters, digits, `-`, `_` and `.`.
fn is_hub_id(text: &str) -> bool {
    text.split_once('/').is_some_and(|(owner, name)| is_plain(owner) && is_plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_local_or_of_the_hub_by_its_writing_and_reads_back_as_itself() {
        let (local, hub) = (|p: &str| Place::Local(p.into()), |id: &str| Place::Hub(id.to_owned()));
        let file = |file: &str| Place::HubFile { id: "owner/name".to_owned(), file: file.to_owned() };
        for (text, expected, peft) in [
            ("hf:owner/name", hub("owner/name"), "owner/name"),
            ("hf:owner/name:m-Q4_K_M.gguf", file("m-Q4_K_M.gguf"), "owner/name"),
            ("hf:owner/name:q4/m.gguf", file("q4/m.gguf"), "owner/name"),
            ("owner/name.gguf", local("owner/name.gguf"), "owner/name.gguf"),
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
        let files = ["hf:a/b:c", "hf:a/b:.gguf", "hf:a/b:../c.gguf", "hf:a/b:/c.gguf", "hf:a/b:c:d.gguf"];
        for bad in ["hf:", "hf:name", "hf:../escape", "hf:a/b/c"].into_iter().chain(files) {
            assert!(Place::parse(bad).unwrap_err().to_string().contains("hf:owner/name"), "{bad}");
        }
    }

    #[test]
    fn peft_is_told_the_version_of_what_is_on_the_hub() {
        let of = |place: &str, revision| {
            let base = PeftBase::new(&Place::parse(place).unwrap(), revision);
            (base.name, base.revision)
        };
        let name = || "owner/name".to_owned();
        assert_eq!(of("hf:owner/name", Some("v1")), (name(), Some("v1".to_owned())));
        assert_eq!(of("hf:owner/name", None), (name(), None));
        assert_eq!(of("hf:owner/name:m.gguf", Some("v1")), (name(), Some("v1".to_owned())));
        assert_eq!(of("/a/base", Some("v1")), ("/a/base".to_owned(), None));
    }
}
