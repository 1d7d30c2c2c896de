//! Where the files of a dataset come from: a local folder, or a hub with its cache.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use hf_hub::api::sync::ApiError;
use hf_hub::{Repo, RepoType};

use crate::config;
use crate::error::shown;
use crate::model::HubSettings;
use crate::model::hub::HubRepo;
use crate::model::hub_cache::CachedRepo;
use crate::model::source::{FIRST_ANSWER, MAIN, WITHOUT_HUB, failed, hub_error, is_silence};
use crate::panics::caught;
use crate::{Error, Result};

/// Folders of a dataset are looked through so deep.
const DEPTH: usize = 4;

/// The files of a dataset.
pub(super) struct Dataset {
    /// The folder or hub id.
    name: String,
    /// Their paths in it, with `/`, in order.
    files: Vec<String>,
    place: Place,
}

enum Place {
    Folder(PathBuf),
    Hub(Arc<HubRepo>),
    /// What the cache has of a hub's dataset, where the hub may not be asked or does not answer.
    Cached {
        folder: PathBuf,
        /// Why there is no more: a clause.
        why: &'static str,
    },
}

impl Dataset {
    /// Finds the files of a folder, or of the dataset `hf:owner/name` of the hub. Without `hf:` an id is looked
    /// for in the cache, where there is no such folder. A hub that does not answer is done without, where the cache
    /// has some of the dataset.
    ///
    /// # Errors
    /// Neither a folder nor a hub id; a hub that cannot be reached or does not have the dataset; an empty cache
    /// when nothing may be downloaded.
    pub(super) fn open(name: &str, hub: &HubSettings) -> Result<Self> {
        let (name, files, place) = match config::Place::parse(name)? {
            config::Place::Local(folder) => local(&folder)?,
            config::Place::Either(path) if Path::new(&path).exists() => local(Path::new(&path))?,
            config::Place::Either(id) => match cached(&id, hub, "its name is not written hf:owner/name") {
                Some(found) => found?,
                None => return Err(neither(&id, hub)),
            },
            config::Place::Hub(id) => of_hub(id, hub)?,
            config::Place::HubFile { id, file } => {
                return Err(hub_error(&id, format!("`{file}` is a base, and a dataset was asked for")));
            }
        };
        Ok(Self { name, files, place })
    }

    /// Paths in the dataset, with `/`, in order. Without the hub, those in the cache.
    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// The local path of one of the files; it is downloaded if it has to be.
    ///
    /// # Errors
    /// With dataset and file, if it is missing or the hub does not deliver it.
    pub(super) fn get(&self, file: &str) -> Result<PathBuf> {
        match &self.place {
            Place::Folder(folder) | Place::Cached { folder, .. } => Ok(folder.join(file)),
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
            Place::Cached { folder, why } => {
                hub_error(&self.name, format!("{reason} in the cache {}, and {why}", folder.display()))
            }
        }
    }
}

/// Name, files and place of a dataset.
type Found = (String, Vec<String>, Place);

fn local(folder: &Path) -> Result<Found> {
    if folder.is_dir() {
        return Ok((folder.display().to_string(), list(folder)?, Place::Folder(folder.to_owned())));
    }
    let reason = match folder.exists() {
        true => "is not a folder",
        false => "does not exist; a dataset of the hub is written hf:owner/name",
    };
    Err(Error::file(folder, reason))
}

fn of_hub(id: String, hub: &HubSettings) -> Result<Found> {
    if hub.offline {
        return cached(&id, hub, "offline mode is on").unwrap_or_else(|| Err(not_cached(&id, hub)));
    }
    let api = Arc::new(HubRepo::new(hub, repo(&id)));
    match list_hub(&id, &api) {
        Ok(files) => Ok((id, files, Place::Hub(api))),
        Err(Refused::Silence(fault)) => cached(&id, hub, "the hub cannot be reached").unwrap_or(Err(fault)),
        Err(Refused::Answer(fault)) => Err(fault),
    }
}

fn repo(name: &str) -> Repo {
    Repo::with_revision(name.to_owned(), RepoType::Dataset, MAIN.to_owned())
}

/// What the cache has of a dataset; `None` if nothing.
fn cached(id: &str, hub: &HubSettings, why: &'static str) -> Option<Result<Found>> {
    let folder = CachedRepo::new(&hub.cache_dir, &repo(id)).snapshot()?;
    Some(list(&folder).map(|files| (id.to_owned(), files, Place::Cached { folder, why })))
}

fn not_cached(id: &str, hub: &HubSettings) -> Error {
    let (place, what) = (hub.cache_dir.display(), CachedRepo::new(&hub.cache_dir, &repo(id)).describe());
    let reason = format!(
        "it cannot be taken from the cache {place} ({what}), and offline mode forbids to download it; go online \
         once, or give a local folder"
    );
    hub_error(id, reason)
}

fn neither(id: &str, hub: &HubSettings) -> Error {
    let (place, what) = (hub.cache_dir.display(), CachedRepo::new(&hub.cache_dir, &repo(id)).describe());
    let reason = format!(
        "is no folder here, and as a dataset of the hub it is not in the cache {place} ({what}): check the path, or \
         write hf:{id} to fetch it from the hub"
    );
    Error::file(id, reason)
}

/// Why the hub did not list the files of a dataset.
enum Refused {
    /// It cannot be reached, or fails.
    Silence(Error),
    /// It says that there is no such dataset, or that it may not be read.
    Answer(Error),
}

fn list_hub(name: &str, api: &Arc<HubRepo>) -> std::result::Result<Vec<String>, Refused> {
    let api = api.clone();
    let refused = |fault: ApiError| {
        let told = failed(name, "the list of files", &fault);
        if is_silence(&fault) { Refused::Silence(told) } else { Refused::Answer(told) }
    };
    let answer = answered(name, Some(FIRST_ANSWER), move || Ok(api.info())).map_err(Refused::Silence)?;
    let mut files: Vec<String> =
        answer.map_err(refused)?.siblings.into_iter().map(|file| file.rfilename).collect();
    if let Some(file) = files.iter().find(|file| !stays_inside(file)) {
        let reason = format!("lists a file that leads out of its folder: `{}`", shown(file));
        return Err(Refused::Answer(hub_error(name, reason)));
    }
    files.sort();
    Ok(files)
}

/// Whether a file of a list is in the folder of the list, for its name becomes part of a path.
fn stays_inside(file: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    file.split('/').all(plain) && !file.contains('\\') && !file.chars().any(char::is_control)
}

/// What `work` gives on a thread of its own: the client has no time limit, so the wait can be given up here, and a panic
/// there is an error here.
fn answered<T: Send + 'static>(
    name: &str,
    limit: Option<Duration>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // A panic drops the sender, which the receiver sees; a receiver that is gone has given up the wait.
        let _ = caught(|| sender.send(work()));
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
        // A link that leads nowhere is listed too, so that reading it says so.
        if path.is_file() || (path.is_symlink() && !path.exists()) {
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
        let error = message("hf:owner/rows", &settings);
        assert!(error.contains("owner/rows") && error.contains("offline mode"), "{error}");
        let error = message("owner/rows", &settings);
        assert!(error.contains("no folder") && error.contains("hf:owner/rows"), "{error}");
        let cached = folder.path().join("datasets--owner--rows");
        std::fs::create_dir_all(cached.join("refs")).unwrap();
        std::fs::create_dir_all(cached.join("snapshots/abc/data/qa1")).unwrap();
        std::fs::write(cached.join("refs/main"), "abc").unwrap();
        std::fs::write(cached.join("snapshots/abc/data/qa1/4k.json"), "[]").unwrap();
        for (name, settings, why) in [
            ("hf:owner/rows", &settings, "offline"),
            ("owner/rows", &settings, "hf:owner/name"),
            ("hf:owner/rows", &hub(folder.path(), false), "cannot be reached"),
        ] {
            let dataset = Dataset::open(name, settings).unwrap();
            assert_eq!(dataset.files(), ["data/qa1/4k.json"]);
            assert!(dataset.get("data/qa1/4k.json").unwrap().is_file());
            let fault = dataset.fault("no such rows".into()).to_string();
            assert!(fault.contains("owner/rows") && fault.contains(why), "{fault}");
        }
    }

    #[test]
    fn a_hub_that_cannot_be_reached_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = message("hf:owner/rows", &hub(folder.path(), false));
        assert!(error.contains("owner/rows") && error.contains("local folder"), "{error}");
    }
}
