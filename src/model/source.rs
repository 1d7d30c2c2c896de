//! Where a base model comes from: a local folder or file, or a model hub with its cache.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvError, RecvTimeoutError};
use std::time::Duration;

use hf_hub::api::sync::ApiError;
use hf_hub::{Repo, RepoType};

use super::hub::HubRepo;
use super::hub_cache::CachedRepo;
use super::weights::{INDEX_FILE, WEIGHTS_FILE, shard_names};
use super::{BaseFiles, CONFIG_FILE, FetchWatch, GENERATION_CONFIG_FILE};
use crate::config::Place;
use crate::error::shown;
use crate::files::read_text;
use crate::panics::caught;
use crate::text::CHAT_TEMPLATE_FILE;
use crate::{Error, Result};

/// How long the hub may take for its first answer.
pub(crate) const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// Files a base may do without.
const OPTIONAL: [&str; 3] = ["tokenizer_config.json", GENERATION_CONFIG_FILE, CHAT_TEMPLATE_FILE];
const TOKENIZER: &str = "tokenizer.json";
pub(crate) const MAIN: &str = "main";

/// How to reach a hub; the command line fills it from the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HubSettings {
    /// Folder of downloaded models, in the layout of `huggingface_hub`.
    pub cache_dir: PathBuf,
    /// Token for private and gated models.
    pub token: Option<String>,
    /// Address of the hub; `None` for <https://huggingface.co>.
    pub endpoint: Option<String>,
    /// Use the cache only.
    pub offline: bool,
    /// Who is told how downloads go on.
    pub watch: FetchWatch,
}

impl std::fmt::Debug for HubSettings {
    /// Leaves the token out: settings end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSettings")
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("endpoint", &self.endpoint)
            .field("offline", &self.offline)
            .field("watch", &self.watch)
            .finish()
    }
}

/// A base that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Its files.
    pub files: BaseFiles,
    /// How it is written down so that it is found again from any folder: the whole path, or the hub's id.
    pub place: Place,
}

/// Finds `base`: a local folder or GGUF file, or at `revision` (`None` for `main`) the cached or downloaded files of an
/// id `hf:owner/name` of the hub, or the one file of `hf:owner/name:file.gguf`. An id without `hf:` is looked for in the
/// cache, where there is no such folder, and never downloaded.
///
/// # Errors
/// Neither a base nor a hub id; a hub that cannot be reached or does not have the model; an incomplete
/// cache where nothing may be downloaded, as `offline` (here or in the settings) says.
pub fn resolve(base: &str, revision: Option<&str>, offline: bool, hub: &HubSettings) -> Result<Located> {
    let revision = revision.unwrap_or(MAIN);
    match Place::parse(base)? {
        Place::Local(folder) => local(&folder),
        Place::Either(path) if Path::new(&path).exists() => local(Path::new(&path)),
        Place::Either(id) => {
            Wanted::new(&id, None, revision, hub)?.cached()?.map_err(|lack| neither(&id, &lack, hub))
        }
        Place::Hub(id) => {
            Wanted::new(&id, None, revision, hub)?.cached_or_fetched(offline || hub.offline, hub)
        }
        Place::HubFile { id, file } => {
            Wanted::new(&id, Some(&file), revision, hub)?.cached_or_fetched(offline || hub.offline, hub)
        }
    }
}

/// `base` as it stands in a file of `folder`. Older versions wrote a relative path, from the folder in which they were
/// started: where it is not found from here, it is looked for from the folders above the file.
pub fn base_written_in(folder: &Path, base: &str) -> String {
    let relative = Path::new(base);
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut above = folder.ancestors().map(|above| above.join(relative));
    let found = above.find(|path| BaseFiles::is_at(path)).filter(|_| !relative.exists());
    found.map_or_else(|| base.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// The error of `owner/name` that may be a folder or a model of the hub, and is there as neither.
fn neither(id: &str, lack: &str, hub: &HubSettings) -> Error {
    let reason = format!(
        "is no folder here, and as a model of the hub it is not in the cache {} ({lack}): say where the folder is \
         (--base, or model.base), or write hf:{id} to fetch it from the hub",
        hub.cache_dir.display()
    );
    Error::file(id, reason)
}

fn local(path: &Path) -> Result<Located> {
    let Some(files) = BaseFiles::at(path)? else {
        let reason = "does not exist: if the base was moved, say where it is with --base; a model of the hub is \
                      written hf:owner/name, and a GGUF file of it hf:owner/name:file.gguf";
        return Err(Error::file(path, reason));
    };
    let whole = std::fs::canonicalize(path).map_err(|fault| Error::io(path, fault))?;
    Ok(Located { files, place: Place::Local(whole) })
}

/// A model of the hub.
struct Wanted<'a> {
    id: &'a str,
    /// The one file that is wanted; else all that a base needs.
    file: Option<&'a str>,
    repo: Repo,
    cache: CachedRepo,
}

impl<'a> Wanted<'a> {
    fn new(id: &'a str, file: Option<&'a str>, revision: &str, hub: &HubSettings) -> Result<Self> {
        if !is_revision(revision) {
            return Err(hub_error(id, format!("`{}` is not a branch, tag or commit", shown(revision))));
        }
        let repo = Repo::with_revision(id.to_owned(), RepoType::Model, revision.to_owned());
        Ok(Self { id, file, cache: CachedRepo::new(&hub.cache_dir, &repo), repo })
    }

    /// The base in `folder`, a snapshot of the repository.
    fn at(&self, folder: PathBuf) -> Located {
        let id = self.id.to_owned();
        match self.file {
            None => Located { files: BaseFiles::Folder(folder), place: Place::Hub(id) },
            Some(file) => {
                let place = Place::HubFile { id, file: file.to_owned() };
                Located { files: BaseFiles::Gguf(folder.join(file)), place }
            }
        }
    }

    fn cached_or_fetched(&self, offline: bool, hub: &HubSettings) -> Result<Located> {
        match (self.cached()?, offline) {
            (Ok(found), _) => Ok(found),
            (Err(_), false) => Ok(self.at(download(self.id, self.file, self.repo.clone(), hub)?)),
            (Err(lack), true) => {
                let (revision, place) = (self.repo.revision(), hub.cache_dir.display());
                let reason = format!(
                    "revision {revision} is not complete in the cache {place} ({lack}), and offline mode forbids \
                     to download it; go online once, or give a local folder"
                );
                Err(hub_error(self.id, reason))
            }
        }
    }

    /// The snapshot in the cache if it has everything that a base needs, else what it lacks.
    fn cached(&self) -> Result<std::result::Result<Located, String>> {
        let Some(folder) = self.cache.snapshot() else { return Ok(Err(self.cache.describe())) };
        let lack = match self.file {
            Some(file) => lacks(&folder, file),
            None => lacking(&folder)?,
        };
        Ok(match lack {
            None => Ok(self.at(folder)),
            Some(lack) => Err(lack),
        })
    }
}

/// The first file of a base that a folder does not have, if any, in words.
fn lacking(folder: &Path) -> Result<Option<String>> {
    let lack = |name: &str| lacks(folder, name);
    let base = [CONFIG_FILE, TOKENIZER].into_iter().find_map(lack);
    if base.is_some() || folder.join(WEIGHTS_FILE).exists() {
        return Ok(base);
    }
    let index = folder.join(INDEX_FILE);
    if !index.exists() {
        return Ok(lack(WEIGHTS_FILE));
    }
    Ok(read_shards(&index)?.iter().find_map(|name| lack(name)))
}

/// What is wrong with a file of a folder that is not there, in words.
fn lacks(folder: &Path, name: &str) -> Option<String> {
    let path = folder.join(name);
    let what = if path.is_symlink() { "is a link to what is not there" } else { "is missing" };
    (!path.exists()).then(|| format!("{name} {what}"))
}

/// A revision becomes part of a path and of an address.
fn is_revision(revision: &str) -> bool {
    let chars_fit = revision.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let parts_fit = revision.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    chars_fit && parts_fit && !revision.contains("..")
}

fn read_shards(index: &Path) -> Result<Vec<String>> {
    shard_names(index, &read_text(index)?)
}

/// Downloads on a thread of its own: the client has no time limit, so the wait for the first answer can be given up
/// here, and a panic there is an error here. Returns the folder of the snapshot; `file` is the one file that is wanted.
fn download(base: &str, file: Option<&str>, repo: Repo, hub: &HubSettings) -> Result<PathBuf> {
    let api = HubRepo::new(hub, repo);
    let (sender, receiver) = mpsc::channel();
    let (name, file) = (base.to_owned(), file.map(str::to_owned));
    std::thread::spawn(move || {
        // A panic drops the sender, which the receiver sees.
        let _ = caught(|| {
            let first = match &file {
                None => fetch(&name, &api, CONFIG_FILE).map(drop),
                Some(file) => api.ask(file).map_err(|fault| failed(&name, file, &fault)),
            };
            // A receiver that is gone has given up the wait, and nobody wants the rest.
            if sender.send(None).is_ok() {
                let rest = || match &file {
                    None => fetch_rest(&name, &api),
                    Some(file) => fetch_one(&name, &api, file),
                };
                let _ = sender.send(Some(first.and_then(|()| rest())));
            }
        });
    });
    let lost = |_| hub_error(base, format!("the hub's answer makes no sense; {WITHOUT_HUB}"));
    match receiver.recv_timeout(FIRST_ANSWER) {
        Err(RecvTimeoutError::Timeout) => {
            let secs = FIRST_ANSWER.as_secs();
            Err(hub_error(base, format!("the hub did not answer within {secs} s; {WITHOUT_HUB}")))
        }
        Err(RecvTimeoutError::Disconnected) => Err(lost(RecvError)),
        Ok(_) => receiver.recv().map_err(lost)?.unwrap_or_else(|| Err(lost(RecvError))),
    }
}

fn fetch(base: &str, api: &HubRepo, file: &str) -> Result<PathBuf> {
    api.get(file).map_err(|e| failed(base, file, &e))
}

/// A file at its path in the snapshot, of which the folder is returned.
fn fetch_one(base: &str, api: &HubRepo, file: &str) -> Result<PathBuf> {
    let path = fetch(base, api, file)?;
    let folder = path.ancestors().nth(file.split('/').count());
    folder.map(Path::to_owned).ok_or_else(|| hub_error(base, "the cache has no folder".to_owned()))
}

/// Everything that a base needs; returns the folder.
fn fetch_rest(base: &str, api: &HubRepo) -> Result<PathBuf> {
    fetch(base, api, TOKENIZER)?;
    for name in OPTIONAL {
        // A base without them is complete: their absence and a refusal look alike here.
        let _ = api.get(name);
    }
    match api.get(WEIGHTS_FILE) {
        Ok(_) => {}
        Err(error) if status(&error) == Some(404) => {
            for shard in read_shards(&fetch(base, api, INDEX_FILE)?)? {
                fetch(base, api, &shard)?;
            }
        }
        Err(error) => return Err(failed(base, WEIGHTS_FILE, &error)),
    }
    // It is there already, and its folder with it.
    fetch_one(base, api, CONFIG_FILE)
}

pub(crate) const WITHOUT_HUB: &str = "check the network and HF_ENDPOINT, or give a local folder";

/// The error of a file that the hub did not deliver, with what to do about it.
pub(crate) fn failed(base: &str, file: &str, error: &ApiError) -> Error {
    let advice = match status(error) {
        Some(401 | 403) => "it is private or gated, or its name is wrong: set HF_TOKEN".to_owned(),
        Some(404) => "the hub does not have it: check the name and the revision".to_owned(),
        _ => WITHOUT_HUB.to_owned(),
    };
    hub_error(base, format!("`{file}` could not be fetched ({error}); {advice}"))
}

/// Whether the hub gave no answer, so that a cache may stand in for it; a refusal is an answer.
pub(crate) fn is_silence(error: &ApiError) -> bool {
    status(error).is_none_or(|status| status >= 500)
}

/// The HTTP status in a client's error. The client's error type is not one of this crate's dependencies,
/// so it is read from the message, `http status: 404`.
fn status(error: &ApiError) -> Option<u16> {
    let message = error.to_string();
    let (_, rest) = message.split_once("status: ")?;
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

pub(crate) fn hub_error(repo: &str, reason: String) -> Error {
    Error::Hub { repo: repo.to_owned(), reason }
}
