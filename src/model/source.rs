//! Where a base model comes from: a local folder, or a model hub with its cache.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvError, RecvTimeoutError};
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::weights::{INDEX_FILE, WEIGHTS_FILE, shard_names};
use super::{CONFIG_FILE, GENERATION_CONFIG_FILE};
use crate::error::shown;
use crate::{Error, Result};

/// How long the hub may take for its first answer.
pub(crate) const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// Files a base may do without.
const OPTIONAL: [&str; 2] = ["tokenizer_config.json", GENERATION_CONFIG_FILE];
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
}

impl std::fmt::Debug for HubSettings {
    /// Leaves the token out: settings end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubSettings")
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("endpoint", &self.endpoint)
            .field("offline", &self.offline)
            .finish()
    }
}

/// The local folder of `base`: the folder itself, or the cached or downloaded files of a hub id
/// `owner/name` at `revision` (`None` for `main`).
///
/// # Errors
/// Neither a folder nor a hub id; a hub that cannot be reached or does not have the model; an incomplete
/// cache when `offline` (here or in the settings) forbids to ask the hub.
pub fn resolve(base: &str, revision: Option<&str>, offline: bool, hub: &HubSettings) -> Result<PathBuf> {
    let folder = Path::new(base);
    if folder.is_dir() {
        return Ok(folder.to_owned());
    }
    if folder.exists() {
        return Err(Error::file(folder, "is not a folder with config.json and safetensors weights"));
    }
    if !is_hub_id(base) {
        let reason = "does not exist, and is not a hub id of the form owner/name";
        return Err(Error::file(folder, reason));
    }
    let revision = revision.unwrap_or(MAIN);
    if !is_revision(revision) {
        return Err(hub_error(base, format!("`{}` is not a branch, tag or commit", shown(revision))));
    }
    let repo = Repo::with_revision(base.to_owned(), RepoType::Model, revision.to_owned());
    let cache = Cache::new(hub.cache_dir.clone()).repo(repo.clone());
    match (cached(&cache)?, offline || hub.offline) {
        (Some(folder), _) => Ok(folder),
        (None, false) => download(base, repo, hub),
        (None, true) => {
            let place = hub.cache_dir.display();
            let reason = format!(
                "revision {revision} is not complete in the cache {place}, and offline mode forbids to \
                 download it; go online once, or give a local folder"
            );
            Err(hub_error(base, reason))
        }
    }
}

/// Whether a base is written as a hub id: `owner/name` of letters, digits, `-`, `_` and `.`.
pub(crate) fn is_hub_id(base: &str) -> bool {
    let plain = |part: &str| {
        let chars_fit = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        chars_fit && part.starts_with(|c: char| c.is_ascii_alphanumeric()) && !part.contains("..")
    };
    base.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name))
}

/// A revision becomes part of a path and of an address.
fn is_revision(revision: &str) -> bool {
    let chars_fit = revision.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let parts_fit = revision.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    chars_fit && parts_fit && !revision.contains("..")
}

/// The snapshot in the cache, if it has everything that a base needs.
fn cached(cache: &CacheRepo) -> Result<Option<PathBuf>> {
    let (Some(config), Some(_)) = (cache.get(CONFIG_FILE), cache.get(TOKENIZER)) else { return Ok(None) };
    let complete = match (cache.get(WEIGHTS_FILE), cache.get(INDEX_FILE)) {
        (Some(_), _) => true,
        (None, None) => false,
        (None, Some(index)) => read_shards(&index)?.iter().all(|name| cache.get(name).is_some()),
    };
    Ok(config.parent().filter(|_| complete).map(Path::to_owned))
}

fn read_shards(index: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(index).map_err(|e| Error::io(index, e))?;
    shard_names(index, &text)
}

/// Downloads on a thread of its own. The client has no time limit and its own assertions on what a hub
/// answers; so the wait for the first answer can be given up here, and a panic there is an error here.
fn download(base: &str, repo: Repo, hub: &HubSettings) -> Result<PathBuf> {
    let api = client(hub, repo).map_err(|e| failed(base, CONFIG_FILE, &e))?;
    let (sender, receiver) = mpsc::channel();
    let name = base.to_owned();
    std::thread::spawn(move || {
        let first = fetch(&name, &api, CONFIG_FILE);
        // A receiver that is gone has given up the wait, and nobody wants the rest.
        if sender.send(None).is_ok() {
            let _ = sender.send(Some(first.and_then(|config| fetch_rest(&name, &api, &config))));
        }
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

/// A client for one repository.
pub(crate) fn client(hub: &HubSettings, repo: Repo) -> std::result::Result<ApiRepo, ApiError> {
    let mut builder = ApiBuilder::from_cache(Cache::new(hub.cache_dir.clone())).with_progress(false);
    builder = builder.with_retries(2).with_token(hub.token.clone());
    if let Some(endpoint) = &hub.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    Ok(builder.build()?.repo(repo))
}

fn fetch(base: &str, api: &ApiRepo, file: &str) -> Result<PathBuf> {
    api.get(file).map_err(|e| failed(base, file, &e))
}

/// Everything but `config.json`, which is there already; returns the folder.
fn fetch_rest(base: &str, api: &ApiRepo, config: &Path) -> Result<PathBuf> {
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
    config.parent().map(Path::to_owned).ok_or_else(|| hub_error(base, "the cache has no folder".to_owned()))
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
