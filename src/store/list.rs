//! A folder of encoded contexts, by name.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::checkpoint::{Digest, Lock, clear_old, remove_own};
use crate::error::{Error, Result, shown, shown_path};

use super::stored::FILES;
use super::{RECORD_FILE, StoredAdapter};

/// A folder whose subfolders are encoded contexts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store in `dir`, which need not exist yet.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether its folder is there; a store that is not holds nothing yet.
    pub fn is_there(&self) -> bool {
        self.dir.is_dir()
    }

    /// The adapters by name, each as it opens; other folders are left out.
    ///
    /// # Errors
    /// A store that is not there, or that cannot be read.
    pub fn list(&self) -> Result<Vec<(String, Result<StoredAdapter>)>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(self.missing()),
            entries => entries.map_err(|e| Error::io(&self.dir, e))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| Error::io(&self.dir, e))?.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            if self.dir.join(name).join(RECORD_FILE).is_file() {
                found.push((name.to_owned(), self.open(name)));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Whether there is an adapter called `name`, whole or damaged.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).is_ok_and(|path| path.join(RECORD_FILE).is_file())
    }

    /// The adapter called `name`.
    ///
    /// # Errors
    /// A store that is not there, a name that leads out of it, or as [`StoredAdapter::open`].
    pub fn open(&self, name: &str) -> Result<StoredAdapter> {
        let path = self.path(name)?;
        if self.is_there() { StoredAdapter::open(&path) } else { Err(self.missing()) }
    }

    /// The adapter of `key`, if the store has it.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn with_key(&self, key: &Digest) -> Result<Option<StoredAdapter>> {
        let stored = if self.is_there() { self.list()? } else { Vec::new() };
        let mut readable = stored.into_iter().filter_map(|(_, stored)| stored.ok());
        Ok(readable.find(|stored| stored.record.key == *key))
    }

    /// The adapter that a person means by `name`: a folder anywhere, or else a name in the store.
    ///
    /// # Errors
    /// Neither is there, or as [`StoredAdapter::open`].
    pub fn find(&self, name: &Path) -> Result<StoredAdapter> {
        match name.to_str() {
            Some(plain) if !name.exists() && self.path(plain).is_ok_and(|path| path.exists()) => {
                self.open(plain)
            }
            _ => StoredAdapter::open(name),
        }
    }

    fn missing(&self) -> Error {
        let reason = "there is no store here: perk encode makes one, or name another with --store";
        Error::file(&self.dir, reason)
    }

    /// Removes the adapter called `name`: its own files, and the folder if that holds nothing else. Returns the
    /// folder, and what stays in it.
    ///
    /// # Errors
    /// As [`open`](Self::open), but a damaged adapter can be removed; a folder that is no adapter cannot,
    /// nor one that is being written.
    pub fn remove(&self, name: &str) -> Result<(PathBuf, Vec<OsString>)> {
        let path = self.path(name)?;
        if !self.is_there() {
            return Err(self.missing());
        }
        if !path.is_dir() {
            return Err(Error::file(&path, "there is no such adapter"));
        }
        if !path.join(RECORD_FILE).is_file() {
            let reason = format!("holds no {RECORD_FILE}, so it is not removed: it may be something else");
            return Err(Error::file(&path, reason));
        }
        let _lock = Lock::take(&path)?;
        clear_old(&path, &FILES.iter().map(OsString::from).collect())?;
        let left = remove_own(&path, &FILES)?;
        Ok((path, left))
    }

    /// The folder of `name`, which must be a plain name that stays in the store.
    fn path(&self, name: &str) -> Result<PathBuf> {
        let mut parts = Path::new(name).components();
        let plain = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(part)), None) if part == OsStr::new(name) && !name.starts_with('.')
        );
        let dir = shown_path(&self.dir);
        let leaves = || Error::Invalid(format!("`{}` leads out of the store {dir}", shown(name)));
        if !plain || name.contains(['\\', '\0']) {
            return Err(leaves());
        }
        let path = self.dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(data) if data.is_symlink() => Err(leaves()),
            _ => Ok(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_the_store_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let store = Store::new(&room.path().join("store"));
        fs::create_dir_all(store.dir().join("fine")).unwrap();
        fs::create_dir(room.path().join("outside")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(room.path().join("outside"), store.dir().join("link")).unwrap();
        for name in ["..", "../outside", "/etc", "a/b", "", ".", ".hidden", "fine/", "a\\b", "link"] {
            for message in [store.open(name).map(drop), store.remove(name).map(drop)] {
                let message = message.unwrap_err().to_string();
                assert!(message.contains("leads out of the store"), "{name}: {message}");
            }
        }
        assert!(room.path().join("outside").is_dir());
    }

    #[test]
    fn a_folder_that_is_no_adapter_is_neither_listed_nor_removed() {
        let room = tempfile::tempdir().unwrap();
        let store = Store::new(room.path());
        fs::create_dir(room.path().join("thesis")).unwrap();
        assert!(store.list().unwrap().is_empty());
        assert!(store.remove("thesis").unwrap_err().to_string().contains("perk.json"));
        assert!(store.remove("nothing").unwrap_err().to_string().contains("no such adapter"));
        let missing = Store::new(&room.path().join("missing"));
        let failed = [missing.list().map(drop), missing.remove("thesis").map(drop)];
        for message in failed.map(|failed| failed.unwrap_err().to_string()) {
            assert!(message.contains("there is no store here"), "{message}");
        }
    }

    #[test]
    fn a_damaged_record_is_listed_as_damaged_and_can_be_removed() {
        let room = tempfile::tempdir().unwrap();
        let store = Store::new(room.path());
        let write = |text: &str| {
            fs::create_dir_all(room.path().join("story")).unwrap();
            fs::write(room.path().join("story").join(RECORD_FILE), text).unwrap();
            store.list().unwrap().remove(0).1.unwrap_err().to_string()
        };
        for (text, expected) in
            [("{", "perk.json:1"), ("{}", "no `format`"), ("{\"format\": 99}", "format 99")]
        {
            let message = write(text);
            assert!(message.contains(expected), "{message}");
        }
        store.remove("story").unwrap();
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_perks_own_files_are_removed() {
        let room = tempfile::tempdir().unwrap();
        let (store, story) = (Store::new(room.path()), room.path().join("story"));
        fs::create_dir_all(story.join("adapter_config.json")).unwrap();
        fs::write(story.join("notes.txt"), "mine").unwrap();
        fs::write(story.join(RECORD_FILE), "{}").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("notes.txt", story.join("adapter_model.safetensors")).unwrap();
        let (path, left) = store.remove("story").unwrap();
        assert_eq!(path, story);
        #[cfg(unix)]
        assert_eq!(left, ["notes.txt", "adapter_model.safetensors", "adapter_config.json"]);
        assert_eq!(fs::read_to_string(story.join("notes.txt")).unwrap(), "mine");
        assert!(store.list().unwrap().is_empty() && !story.join(RECORD_FILE).exists());
    }
}
