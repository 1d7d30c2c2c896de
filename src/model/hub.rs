//! One repository of a model hub: its list of files, and downloads into a cache of `huggingface_hub`'s layout.
//!
//! What a hub says becomes part of paths: the etag of a file and the commit that it is of. They are looked at once, and
//! what was looked at is used, for a hub that means harm may answer otherwise when it is asked again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use hf_hub::api::{RepoInfo, sync::ApiError};
use hf_hub::{Cache, CacheRepo, Repo};
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::fetch_watch::FetchProgress;
use super::file_digest::{is_sha256, sha256};
use super::weights::is_plain_name;
use super::{FetchWatch, HubSettings};
use crate::panics::caught;

const HUGGING_FACE: &str = "https://huggingface.co";
/// So often a hub may send to another address of its own.
const REDIRECTS: usize = 10;
/// So often a download that broke off is taken up again.
const RETRIES: usize = 2;
const PAUSE: Duration = Duration::from_millis(300);

type Outcome<T> = Result<T, ApiError>;

/// A repository at a revision.
pub(crate) struct HubRepo {
    repo: Repo,
    endpoint: String,
    token: Option<String>,
    cache: CacheRepo,
    /// Goes where it is sent; the token goes along only on the hub itself.
    agent: Agent,
    /// Stays where it is, for what a hub says of a file comes before it sends elsewhere.
    still: Agent,
    watch: FetchWatch,
}

/// What a hub says of a file.
struct Found {
    etag: String,
    commit: String,
    bytes: u64,
}

impl HubRepo {
    /// A client; nothing is asked yet.
    pub fn new(hub: &HubSettings, repo: Repo) -> Self {
        let builder = || Agent::config_builder().accept_encoding("identity");
        Self {
            cache: Cache::new(hub.cache_dir.clone()).repo(repo.clone()),
            repo,
            endpoint: endpoint(hub),
            token: hub.token.clone(),
            agent: builder().redirect_auth_headers(RedirectAuthHeaders::SameHost).build().into(),
            still: builder().max_redirects(0).build().into(),
            watch: hub.watch.clone(),
        }
    }

    /// The list of its files.
    ///
    /// # Errors
    /// A hub that cannot be reached or does not have the repository.
    pub fn info(&self) -> Outcome<RepoInfo> {
        let url = format!("{}/api/{}", self.endpoint, self.repo.api_url());
        let mut response = get(&self.agent, &url, self.token.as_deref(), None)?;
        response.body_mut().read_json().map_err(asked)
    }

    /// The local path of a file, from the cache or else from the hub. `file` is a path inside the repository.
    ///
    /// # Errors
    /// A hub that does not deliver it, or gives it a name that is none; a cache that cannot be written.
    pub fn get(&self, file: &str) -> Outcome<PathBuf> {
        match self.cache.get(file) {
            Some(path) => Ok(path),
            None => self.download(file),
        }
    }

    /// Asks whether the hub has a file.
    ///
    /// # Errors
    /// A hub that cannot be reached or does not have it.
    pub fn ask(&self, file: &str) -> Outcome<()> {
        self.find(&self.address(file)).map(drop)
    }

    fn address(&self, file: &str) -> String {
        format!("{}/{}/resolve/{}/{file}", self.endpoint, self.repo.url(), self.repo.url_revision())
    }

    fn download(&self, file: &str) -> Outcome<PathBuf> {
        let url = self.address(file);
        let found = self.find(&url)?;
        let blob = self.cache.blob_path(&found.etag);
        let place = self.cache.pointer_path(&found.commit).join(file);
        for path in [&blob, &place] {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
        }
        // Who comes second waits, and finds the file.
        let lock = File::create(with_ending(&blob, ".lock"))?;
        lock.lock()?;
        if fs::metadata(&blob).map_or(true, |data| data.len() != found.bytes) {
            let part = with_ending(&blob, ".sync.part");
            self.fill(&url, &part, file, &found)?;
            fs::rename(&part, &blob)?;
        }
        if !place.exists() {
            link(&blob, &place, file)?;
        }
        self.cache.create_ref(&found.commit)?;
        Ok(place)
    }

    /// Asks for the first byte of a file, to learn its names and its size.
    fn find(&self, url: &str) -> Outcome<Found> {
        let first = Some("bytes=0-0".to_owned());
        let mut url = url.to_owned();
        let mut response = get(&self.still, &url, self.token.as_deref(), first.clone())?;
        for _ in 0..REDIRECTS {
            let Some(next) = elsewhere(&response)? else { break };
            if next.host().is_some() {
                break;
            }
            url = on_host(&url, next)?;
            response = get(&self.still, &url, self.token.as_deref(), first.clone())?;
        }
        let headers = response.headers();
        let etag = match headers.contains_key("x-linked-etag") {
            true => header(headers, "x-linked-etag")?,
            false => header(headers, "etag")?,
        };
        let etag = file_name(etag.strip_prefix("W/").unwrap_or(etag), "etag")?;
        let commit = file_name(header(headers, "x-repo-commit")?, "x-repo-commit")?;
        if let Some(next) = elsewhere(&response)? {
            // A store of files that is not the hub, and is not told its token.
            response = get(&self.agent, &next.to_string(), None, first)?;
        }
        let bytes = header(response.headers(), "content-range")?.rsplit('/').next().unwrap_or_default();
        Ok(Found { etag, commit, bytes: bytes.parse()? })
    }

    /// Downloads what `part` does not have yet of a file, and compares the whole with its digest, where the hub named one.
    fn fill(&self, url: &str, part: &Path, file: &str, found: &Found) -> Outcome<()> {
        let mut tries = 0;
        loop {
            let outcome = self.append(url, part, file, found.bytes);
            match outcome.and_then(|()| require_digest(part, &found.etag)) {
                Err(_) if tries < RETRIES => {
                    tries += 1;
                    sleep(PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    fn append(&self, url: &str, part: &Path, name: &str, bytes: u64) -> Outcome<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(part)?;
        let mut start = file.metadata()?.len();
        if start > bytes {
            file.set_len(0)?;
            start = 0;
        }
        if start == bytes {
            return Ok(());
        }
        let response = get(&self.agent, url, self.token.as_deref(), Some(format!("bytes={start}-")))?;
        if response.status() != 206 {
            // All of it again, from the beginning.
            file.set_len(0)?;
            start = 0;
        }
        let expected = bytes - start;
        // One byte more would show that there are more than was said; an endless answer must not fill a disk.
        let mut body = response.into_body().into_reader().take(expected + 1);
        let progress = FetchProgress { file: name, done_bytes: start, bytes };
        self.watch.tell(&progress);
        let read = io::copy(&mut body, &mut self.watch.through(progress, &mut file))?;
        if read > expected {
            file.set_len(0)?;
        }
        if read != expected {
            let reason = format!("{bytes} bytes were announced, and others came");
            return Err(io::Error::new(ErrorKind::InvalidData, reason).into());
        }
        Ok(file.sync_all()?)
    }
}

/// Takes away a file that is not the one whose digest the hub named.
fn require_digest(part: &Path, etag: &str) -> Outcome<()> {
    if !is_sha256(etag) {
        return Ok(());
    }
    let found = sha256(part)?;
    if found == etag {
        return Ok(());
    }
    fs::remove_file(part)?;
    let reason = format!("its SHA-256 is {found}, and {etag} was announced: it was damaged on its way");
    Err(io::Error::new(ErrorKind::InvalidData, reason).into())
}

/// The address of a hub.
pub(crate) fn endpoint(hub: &HubSettings) -> String {
    hub.endpoint.as_deref().unwrap_or(HUGGING_FACE).trim_end_matches('/').to_owned()
}

/// Whether the hub gives any answer in time; a refusal is one. It is not told the token.
///
/// # Errors
/// Why it does not, in words.
pub(crate) fn reach(hub: &HubSettings, patience: Duration) -> Result<(), String> {
    let builder = Agent::config_builder().timeout_global(Some(patience)).http_status_as_error(false);
    let agent: Agent = builder.build().into();
    let url = format!("{}/", endpoint(hub));
    match caught(|| agent.head(&url).call()) {
        Ok(answer) => answer.map(drop).map_err(|fault| fault.to_string()),
        Err(panic) => Err(panic),
    }
}

fn get(agent: &Agent, url: &str, token: Option<&str>, range: Option<String>) -> Outcome<Response<Body>> {
    let mut request = agent.get(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if let Some(range) = range {
        request = request.header("range", range);
    }
    request.call().map_err(asked)
}

fn asked(fault: ureq::Error) -> ApiError {
    Box::new(fault).into()
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Outcome<&'a str> {
    let value = headers.get(name).ok_or(ApiError::MissingHeader(name))?;
    std::str::from_utf8(value.as_bytes()).map_err(|_| ApiError::InvalidHeader(name))
}

/// Where an answer sends to, if it does.
fn elsewhere(response: &Response<Body>) -> Outcome<Option<Uri>> {
    if !response.status().is_redirection() {
        return Ok(None);
    }
    let place = header(response.headers(), "location")?;
    place.parse().map(Some).map_err(|_| ApiError::InvalidHeader("location"))
}

/// The address of `next`, which names no host, on the host of `url`.
fn on_host(url: &str, next: Uri) -> Outcome<String> {
    let wrong = || ApiError::InvalidHeader("location");
    let mut parts = url.parse::<Uri>().map_err(|_| wrong())?.into_parts();
    parts.path_and_query = next.into_parts().path_and_query;
    Uri::from_parts(parts).map(|uri| uri.to_string()).map_err(|_| wrong())
}

/// What stands in a header, if it can be the name of a file and leads nowhere else.
fn file_name(text: &str, header: &'static str) -> Outcome<String> {
    let name = text.replace('"', "");
    let plain = is_plain_name(&name) && !name.contains(':') && !name.chars().any(char::is_control);
    if plain { Ok(name) } else { Err(ApiError::InvalidHeader(header)) }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Makes `place`, which is called `file` in its snapshot, stand for `blob`, by a way that holds where the cache is moved.
#[cfg(unix)]
fn link(blob: &Path, place: &Path, file: &str) -> io::Result<()> {
    let up = "../".repeat(file.split('/').count() + 1);
    let name = blob.file_name().unwrap_or_default();
    match std::os::unix::fs::symlink(Path::new(&format!("{up}blobs")).join(name), place) {
        // A link to a blob that is gone.
        Err(fault) if fault.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(place)?;
            link(blob, place, file)
        }
        outcome => outcome,
    }
}

#[cfg(not(unix))]
fn link(blob: &Path, place: &Path, _file: &str) -> io::Result<()> {
    fs::copy(blob, place).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_the_name_of_a_file_becomes_one() {
        for good in
            ["abc", "\"5f-1a2\"", "x.y", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"]
        {
            assert_eq!(file_name(good, "etag").unwrap(), good.replace('"', ""));
        }
        for bad in
            ["", ".", "..", "\"\"", "a/b", "/a", "a/", "..\\a", "a\\b", "C:x", "a\0b", "a\u{1b}b", "../../a"]
        {
            assert!(file_name(bad, "etag").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_place_without_a_host_is_one_of_the_same_hub() {
        let next = |text: &str| on_host("http://hub:80/a/b?c", text.parse().unwrap()).unwrap();
        assert_eq!(next("/d/e?f=1"), "http://hub:80/d/e?f=1");
        assert!(on_host("not an address", "/a".parse().unwrap()).is_err());
    }
}
