//! Where the files of a dataset come from: a local folder, or a hub with its cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use hf_hub::api::sync::ApiRepo;
use hf_hub::{Cache, Repo, RepoType};

use crate::error::shown;
use crate::model::HubSettings;
use crate::model::source::{FIRST_ANSWER, MAIN, WITHOUT_HUB, client, failed, hub_error, is_hub_id};
use crate::{Error, Result};

/// Folders of a dataset are looked through so deep.
const DEPTH: usize = 4;

/// The files of a dataset.
pub(super) struct Dataset {
    /// The folder or hub id, as it was given.
    name: String,
    /// Their paths in it, with `/`, in order.
    files: Vec<String>,
    place: Place,
}

enum Place {
    Folder(PathBuf),
    Hub(Arc<ApiRepo>),
    /// What the cache has of a hub's dataset, where asking the hub is forbidden.
    Offline(PathBuf),
}

impl Dataset {
    /// Finds the files of a folder, or of the dataset `owner/name` of the hub.
    ///
    /// # Errors
    /// Neither a folder nor a hub id; a hub that cannot be reached or does not have the dataset; an empty cache
    /// when offline.
    pub(super) fn open(name: &str, hub: &HubSettings) -> Result<Self> {
        let folder = Path::new(name);
        let (files, place) = if folder.is_dir() {
            (list(folder)?, Place::Folder(folder.to_owned()))
        } else if folder.exists() {
            return Err(Error::file(folder, "is not a folder"));
        } else if !is_hub_id(name) {
            let reason = "does not exist, and is not a dataset's hub id of the form owner/name";
            return Err(Error::file(folder, reason));
        } else if hub.offline {
            let snapshot = snapshot(name, hub)?;
            (list(&snapshot)?, Place::Offline(snapshot))
        } else {
            let api = client(hub, repo(name)).map_err(|e| failed(name, "the list of files", &e))?;
            let api = Arc::new(api);
            (list_hub(name, &api)?, Place::Hub(api))
        };
        Ok(Self { name: name.to_owned(), files, place })
    }

    /// Paths in the dataset, with `/`, in order. Offline, those in the cache.
    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// The local path of one of the files; it is downloaded if it has to be.
    ///
    /// # Errors
    /// With dataset and file, if it is missing or the hub does not deliver it.
    pub(super) fn get(&self, file: &str) -> Result<PathBuf> {
        match &self.place {
            Place::Folder(folder) | Place::Offline(folder) => Ok(folder.join(file)),
            Place::Hub(api) => {
                let (api, name, file) = (api.clone(), self.name.clone(), file.to_owned());
                answered(&self.name, None, move || api.get(&file).map_err(|e| failed(&name, &file, &e)))
            }
        }
    }

    /// An error about the dataset as a whole.
    pub(super) fn fault(&self, reason: String) -> Error {
        match &self.place {
            Place::Folder(folder) => Error::file(folder, reason),
            Place::Hub(_) => hub_error(&self.name, reason),
            Place::Offline(folder) => {
                let reason = format!("{reason} in the cache {}, and offline mode is on", folder.display());
                hub_error(&self.name, reason)
            }
        }
    }
}

fn repo(name: &str) -> Repo {
    Repo::with_revision(name.to_owned(), RepoType::Dataset, MAIN.to_owned())
}

/// The folder of the cache with the files of the latest revision that was downloaded.
fn snapshot(name: &str, hub: &HubSettings) -> Result<PathBuf> {
    let folder = hub.cache_dir.join(repo(name).folder_name());
    let commit = std::fs::read_to_string(folder.join("refs").join(MAIN)).ok();
    let cache = Cache::new(hub.cache_dir.clone()).repo(repo(name));
    let snapshot = commit.map(|commit| cache.pointer_path(commit.trim())).filter(|path| path.is_dir());
    snapshot.ok_or_else(|| {
        let place = hub.cache_dir.display();
        let reason = format!(
            "nothing of it is in the cache {place}, and offline mode forbids to download it; go online once, or \
             give a local folder"
        );
        hub_error(name, reason)
    })
}

fn list_hub(name: &str, api: &Arc<ApiRepo>) -> Result<Vec<String>> {
    let (api, owned) = (api.clone(), name.to_owned());
    let work = move || api.info().map_err(|e| failed(&owned, "the list of files", &e));
    let mut files: Vec<String> =
        answered(name, Some(FIRST_ANSWER), work)?.siblings.into_iter().map(|file| file.rfilename).collect();
    if let Some(file) = files.iter().find(|file| !stays_inside(file)) {
        return Err(hub_error(name, format!("lists a file that leads out of its folder: `{}`", shown(file))));
    }
    files.sort();
    Ok(files)
}

/// Whether a file of a list is in the folder of the list, for its name becomes part of a path.
fn stays_inside(file: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    file.split('/').all(plain) && !file.contains('\\') && !file.chars().any(char::is_control)
}

/// What `work` gives on a thread of its own: the client has no time limit and its own assertions on what a hub
/// answers, so the wait can be given up here, and a panic there is an error here.
fn answered<T: Send + 'static>(
    name: &str,
    limit: Option<Duration>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // A receiver that is gone has given up the wait.
        let _ = sender.send(work());
    });
    let answer = match limit {
        Some(limit) => receiver.recv_timeout(limit),
        None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match (answer, limit) {
        (Ok(result), _) => result,
        (Err(RecvTimeoutError::Timeout), Some(limit)) => {
            let secs = limit.as_secs();
            Err(hub_error(name, format!("the hub did not answer within {secs} s; {WITHOUT_HUB}")))
        }
        _ => Err(hub_error(name, format!("the hub's answer makes no sense; {WITHOUT_HUB}"))),
    }
}

/// Paths of the files below a folder, with `/`, in order.
fn list(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    collect(folder, "", DEPTH, &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_file() {
            files.push(name);
        } else if path.is_dir() && depth > 1 {
            collect(&path, &format!("{name}/"), depth - 1, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_leads_out_of_its_folder_is_told_from_one_that_does_not() {
        for file in ["README.md", "data/qa1/4k.json", "a..b", "..a/b"] {
            assert!(stays_inside(file), "{file}");
        }
        for file in
            ["", "/etc/passwd", "..", "../a", "a/../b", "a//b", "a/", "./a", "a\\..\\b", "a\0", "a\nb"]
        {
            assert!(!stays_inside(file), "{file:?}");
        }
    }

    fn hub(folder: &Path, offline: bool) -> HubSettings {
        // Nothing listens on the discard port.
        let endpoint = Some("http://127.0.0.1:9".to_owned());
        HubSettings { cache_dir: folder.to_owned(), offline, endpoint, ..HubSettings::default() }
    }

    fn message(name: &str, hub: &HubSettings) -> String {
        Dataset::open(name, hub).err().unwrap().to_string()
    }

    #[test]
    fn a_dataset_is_a_folder_or_a_hub_id_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data/qa1")).unwrap();
        std::fs::write(folder.path().join("data/qa1/4k.json"), "[]").unwrap();
        let settings = hub(folder.path(), true);
        let dataset = Dataset::open(folder.path().to_str().unwrap(), &settings).unwrap();
        assert_eq!(dataset.files(), ["data/qa1/4k.json"]);
        assert!(dataset.get("data/qa1/4k.json").unwrap().is_file());
        assert!(message("./missing", &settings).contains("does not exist"));
        assert!(message("Cargo.toml", &settings).contains("not a folder"));
    }

    #[test]
    fn offline_the_cache_is_all_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let settings = hub(folder.path(), true);
        let error = message("owner/rows", &settings);
        assert!(error.contains("owner/rows") && error.contains("offline mode"), "{error}");
        let cached = folder.path().join("datasets--owner--rows");
        std::fs::create_dir_all(cached.join("refs")).unwrap();
        std::fs::create_dir_all(cached.join("snapshots/abc/data/qa1")).unwrap();
        std::fs::write(cached.join("refs/main"), "abc").unwrap();
        std::fs::write(cached.join("snapshots/abc/data/qa1/4k.json"), "[]").unwrap();
        let dataset = Dataset::open("owner/rows", &settings).unwrap();
        assert_eq!(dataset.files(), ["data/qa1/4k.json"]);
        assert!(dataset.get("data/qa1/4k.json").unwrap().is_file());
        let fault = dataset.fault("no such rows".into()).to_string();
        assert!(fault.contains("owner/rows") && fault.contains("offline"), "{fault}");
    }

    #[test]
    fn a_hub_that_cannot_be_reached_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = message("owner/rows", &hub(folder.path(), false));
        assert!(error.contains("owner/rows") && error.contains("local folder"), "{error}");
    }
}
