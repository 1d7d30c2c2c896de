//! Bases and datasets found by name: local folders, the cache, and a hub that runs on this machine.

#![allow(clippy::unwrap_used)] // Outside #[test] functions too: a helper that fails is a test that fails.

#[path = "support/base.rs"]
mod base;
#[path = "support/cells.rs"]
mod cells;
#[path = "support/hub.rs"]
mod server;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cells::ask;

use base::{assert_same_weights, load, random, shard};
use perk::benchmarks::{Babilong, BabilongSource, Benchmark, Cell, Length};
use perk::config::BackgroundSource;
use perk::config::Place;
use perk::model::{FetchWatch, HubSettings, resolve};
use perk::tasks::Position;
use perk::text::{Tokenizer, word_level};

fn hub(folder: &Path) -> HubSettings {
    HubSettings { cache_dir: folder.to_owned(), ..HubSettings::default() }
}

#[test]
fn a_base_is_a_folder_or_a_hub_id_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().to_str().unwrap();
    let offline = HubSettings { offline: true, ..hub(folder.path()) };
    let found = resolve(base, None, false, &offline).unwrap();
    assert_eq!(found.files.path(), folder.path());
    assert_eq!(found.place, Place::Local(folder.path().canonicalize().unwrap()));
    for (base, expected) in [
        ("./missing", "does not exist"),
        ("a/b/c", "does not exist"),
        ("../escape", "does not exist"),
        ("owner/..x", "does not exist"),
        ("Cargo.toml", "is not a folder"),
        ("owner/name", "write hf:owner/name"),
        ("hf:owner", "hf:owner/name"),
    ] {
        let error = resolve(base, None, false, &offline).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains(base), "{error}");
    }
    let error = resolve("hf:owner/name", Some("../../x"), true, &offline).unwrap_err().to_string();
    assert!(error.contains("../../x"), "{error}");
}

#[test]
fn a_cached_model_is_found_without_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let repo = folder.path().join("models--owner--name");
    let snapshot = repo.join("snapshots/abc");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/main"), "abc\n").unwrap();
    random(false).save(&snapshot, 0).unwrap();
    let message = |base| resolve(base, None, true, &hub(folder.path())).unwrap_err().to_string();
    assert!(message("hf:owner/name").contains("tokenizer.json is missing"), "{}", message("hf:owner/name"));
    assert!(message("hf:owner/name").contains("offline mode"));
    std::fs::write(snapshot.join("tokenizer.json"), "{}").unwrap();
    let found = |base| resolve(base, None, false, &hub(folder.path())).unwrap();
    assert_eq!(found("hf:owner/name").files.path(), snapshot);
    assert_eq!(found("owner/name"), found("hf:owner/name"), "what is there may be used without hf: too");
    assert_eq!(found("owner/name").place.to_string(), "hf:owner/name");
    shard(&snapshot);
    assert_eq!(found("hf:owner/name").files.path(), snapshot);
    std::fs::remove_file(repo.join("refs/main")).unwrap();
    assert_eq!(found("hf:owner/name").files.path(), snapshot, "downloaded by commit");
    let shard = snapshot.join("model-00002-of-00002.safetensors");
    std::fs::remove_file(&shard).unwrap();
    assert!(message("hf:owner/name").contains("model-00002-of-00002.safetensors is missing"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../../blobs/gone", &shard).unwrap();
        assert!(message("hf:owner/name").contains("is a link to what is not there"));
    }
}

#[test]
fn a_hub_that_cannot_be_reached_is_a_quick_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing listens on the discard port.
    let settings = HubSettings { endpoint: Some("http://127.0.0.1:9".to_owned()), ..hub(folder.path()) };
    let start = Instant::now();
    let error = resolve("hf:owner/name", None, false, &settings).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(matches!(error, perk::Error::Hub { .. }), "{error}");
    assert!(error.to_string().contains("local folder"), "{error}");
}

#[test]
fn a_model_is_downloaded_once_at_the_revision_that_was_asked_for() {
    let (source, decoder) = (tempfile::tempdir().unwrap(), random(false));
    decoder.save(source.path(), 0).unwrap();
    shard(source.path());
    std::fs::write(source.path().join("tokenizer.json"), "{}").unwrap();
    let cache = tempfile::tempdir().unwrap();
    let online =
        HubSettings { endpoint: Some(server::serve(source.path().to_owned()).address), ..hub(cache.path()) };
    let unsaid = resolve("owner/name", Some("v1"), false, &online).unwrap_err().to_string();
    assert!(unsaid.contains("write hf:owner/name"), "{unsaid}");
    assert_eq!(
        std::fs::read_dir(cache.path()).unwrap().count(),
        0,
        "nothing is fetched by a name that may be a path"
    );
    let missing = resolve("hf:owner/name", None, false, &online).unwrap_err().to_string();
    assert!(missing.contains("check the name and the revision"), "{missing}");
    let folder = resolve("hf:owner/name", Some("v1"), false, &online).unwrap().files.path().to_owned();
    assert_same_weights(&load(&folder).unwrap(), &decoder);
    assert_eq!(
        resolve("hf:owner/name", Some("v1"), true, &hub(cache.path())).unwrap().files.path().to_owned(),
        folder
    );
}

/// BABILong's rows of the dataset.
fn babilong(name: &str, hub: HubSettings) -> perk::Result<Babilong> {
    let folder = tempfile::tempdir().unwrap();
    word_level::save(folder.path(), ["no word of it is needed"]).unwrap();
    let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
    let source = BabilongSource::Rows { place: name.to_owned(), hub };
    Babilong::open(source, &tokenizer, &BackgroundSource::None, 0, false)
}

#[test]
fn the_files_of_a_dataset_are_downloaded_when_needed_and_then_there_without_a_network() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir_all(source.path().join("data/qa1")).unwrap();
    let rows = r#"[{"input": "Mary ran to the hall.", "question": "Where is Mary?", "target": "hallway"}]"#;
    std::fs::write(source.path().join("data/qa1/4k.json"), rows).unwrap();
    let online =
        HubSettings { endpoint: Some(server::serve(source.path().to_owned()).address), ..hub(cache.path()) };
    let offline = HubSettings { offline: true, ..hub(cache.path()) };
    let cell = |subtask: &str| Cell {
        subtask: subtask.to_owned(),
        length: Some(Length::Tokens(4_000)),
        position: Position::Random,
    };
    assert!(babilong("hf:owner/name", offline.clone()).err().unwrap().to_string().contains("offline mode"));
    let benchmark = babilong("hf:owner/name", online.clone()).unwrap();
    assert_eq!(benchmark.subtasks(), ["qa1", "qa2"]);
    let sample = ask(&benchmark, &cell("qa1"), 0).unwrap();
    assert_eq!(sample.answers, ["hallway"]);
    let missing = ask(&benchmark, &cell("qa2"), 0).unwrap_err().to_string();
    assert!(missing.contains("owner/name") && missing.contains("data/qa2/4k.json"), "{missing}");
    let again = babilong("hf:owner/name", offline).unwrap();
    assert_eq!(ask(&again, &cell("qa1"), 0).unwrap(), sample);
    let uncached = ask(&again, &cell("qa2"), 0).unwrap_err().to_string();
    assert!(uncached.contains("no subtask `qa2`") && uncached.contains("offline mode"), "{uncached}");
    let unknown = babilong("hf:owner/other", online).err().unwrap().to_string();
    assert!(unknown.contains("owner/other") && unknown.contains("check the name"), "{unknown}");
}

#[test]
fn a_hub_that_answers_nonsense_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            stream
                .unwrap()
                .write_all(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\netag: a\r\nx-repo-commit: b\r\n\r\n")
                .unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    for endpoint in [format!("http://{address}"), "not an address".to_owned(), "ftp://x".to_owned()] {
        let settings = HubSettings { endpoint: Some(endpoint), ..hub(folder.path()) };
        let error = resolve("hf:owner/name", None, false, &settings).unwrap_err();
        assert!(matches!(error, perk::Error::Hub { .. }), "{error}");
    }
}

/// Where a hub is whose every answer is what `answer` makes of the lines of a request and its range.
fn answering(answer: impl Fn(&[String], &str) -> Vec<u8> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines =
                BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
            let lines: Vec<String> = lines.map(|line| line.to_lowercase()).collect();
            let range = lines.iter().find_map(|line| line.strip_prefix("range: ")).unwrap_or_default();
            // A client that has heard enough is no fault.
            drop(stream.write_all(&answer(&lines, range)));
        }
    });
    port
}

fn hub_at(port: u16, cache: &Path) -> HubSettings {
    HubSettings { endpoint: Some(format!("http://127.0.0.1:{port}")), ..hub(cache) }
}

/// A part of a file of ten bytes, of which `announced` are said to come.
fn part(announced: usize, start: usize, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {announced}\r\ncontent-range: bytes {start}-9/10\r\n\
         etag: a\r\nx-repo-commit: b\r\nconnection: close\r\n\r\n"
    );
    [head.as_bytes(), bytes].concat()
}

/// The file `config.json` of what [`answering`] serves. All files of such a hub are the same, so there is no base.
fn config_of(hub: &HubSettings) -> String {
    let _ = resolve("hf:owner/name", None, false, hub);
    std::fs::read_to_string(hub.cache_dir.join("models--owner--name/snapshots/b/config.json")).unwrap()
}

#[test]
fn a_download_that_broke_off_goes_on_where_it_was() {
    let cache = tempfile::tempdir().unwrap();
    let port = answering(|_, range| match range {
        "bytes=0-0" => part(1, 0, b"0"),
        "bytes=0-" => part(10, 0, b"01234"),
        "bytes=5-" => part(5, 5, b"56789"),
        other => panic!("nobody asks for {other}"),
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let watch = FetchWatch::new(move |progress| {
        log.lock().unwrap().push((progress.file.to_owned(), progress.done_bytes, progress.bytes));
    });
    assert_eq!(config_of(&HubSettings { watch, ..hub_at(port, cache.path()) }), "0123456789");
    let told: Vec<u64> =
        told.lock().unwrap().iter().filter(|(file, _, _)| file == "config.json").map(|told| told.1).collect();
    assert_eq!(told, [0, 5, 5, 10], "the second part begins where the first one ended");
}

#[test]
fn a_hub_that_sends_more_than_it_announced_fills_no_disk() {
    let cache = tempfile::tempdir().unwrap();
    let port = answering(|_, range| match range {
        "bytes=0-0" => part(1, 0, b"0"),
        _ => part(1 << 20, 0, &vec![b'x'; 1 << 20]),
    });
    let error = resolve("hf:owner/name", None, false, &hub_at(port, cache.path())).unwrap_err();
    assert!(matches!(error, perk::Error::Hub { .. }) && error.to_string().contains("10 bytes"), "{error}");
    let files =
        below(cache.path()).into_iter().map(|name| cache.path().join(name)).filter(|path| path.is_file());
    let bytes: u64 = files.map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes <= 11, "{bytes}");
}

#[test]
fn whom_a_hub_sends_to_is_not_told_its_token() {
    let (cache, told) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let has_token = |lines: &[String]| lines.iter().any(|line| line.contains("hf_secret"));
    let log = Arc::clone(&told);
    let store = answering(move |lines, range| {
        log.lock().unwrap().push(("store", has_token(lines)));
        if range == "bytes=0-0" { part(1, 0, b"0") } else { part(10, 0, b"0123456789") }
    });
    let log = Arc::clone(&told);
    let port = answering(move |lines, _| {
        log.lock().unwrap().push(("hub", has_token(lines)));
        format!(
            "HTTP/1.1 302 Found\r\nlocation: http://localhost:{store}/blob\r\nx-linked-etag: \"a\"\r\n\
             x-repo-commit: b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        .into_bytes()
    });
    let settings = HubSettings { token: Some("hf_secret".to_owned()), ..hub_at(port, cache.path()) };
    assert_eq!(config_of(&settings), "0123456789");
    let told = told.lock().unwrap();
    assert!(told.contains(&("hub", true)) && told.contains(&("store", false)), "{told:?}");
    assert!(!told.contains(&("store", true)), "{told:?}");
}

/// Names of files and folders below `folder`.
fn below(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            all.extend(below(&entry.path()).into_iter().map(|inner| format!("{name}/{inner}")));
        }
        all.push(name);
    }
    all.sort();
    all
}

#[test]
fn a_hub_cannot_name_a_file_out_of_its_cache() {
    let source = tempfile::tempdir().unwrap();
    random(false).save(source.path(), 0).unwrap();
    std::fs::write(source.path().join("tokenizer.json"), "{}").unwrap();
    // Also one that begins as an honest hub, and one that names a file another way when it is asked again.
    let hubs: [server::Names; 9] = [
        |_, _| ("../../../outside".to_owned(), "abc".to_owned()),
        |_, _| ("/proc/self/outside".to_owned(), "abc".to_owned()),
        |_, _| ("..".to_owned(), "abc".to_owned()),
        |_, _| (String::new(), "abc".to_owned()),
        |_, _| ("W/\"../../../outside\"".to_owned(), "abc".to_owned()),
        |_, _| ("a".to_owned(), "../../../outside".to_owned()),
        |_, _| ("a".to_owned(), "..".to_owned()),
        |path, _| match path.contains("tokenizer") {
            true => ("a/../../../../outside".to_owned(), "abc".to_owned()),
            false => ("a".to_owned(), "abc".to_owned()),
        },
        |_, request| match request % 2 {
            0 => ("a".to_owned(), "abc".to_owned()),
            _ => ("../../../outside".to_owned(), "../../../outside".to_owned()),
        },
    ];
    for (number, names) in hubs.into_iter().enumerate() {
        let room = tempfile::tempdir().unwrap();
        let cache = room.path().join("cache");
        let endpoint = Some(server::serve_as(source.path().to_owned(), names).address);
        let settings = HubSettings { endpoint, ..hub(&cache) };
        let outcome = resolve("hf:owner/name", Some("v1"), false, &settings);
        let outside: Vec<String> =
            below(room.path()).into_iter().filter(|name| !name.starts_with("cache")).collect();
        assert_eq!(outside, Vec::<String>::new(), "hub {number}");
        let inside = if cache.is_dir() { below(&cache) } else { Vec::new() };
        let strangers: Vec<&String> =
            inside.iter().filter(|name| !name.starts_with("models--owner--name")).collect();
        assert_eq!(strangers, Vec::<&String>::new(), "hub {number}");
        match outcome {
            Ok(folder) => {
                assert!(number == 8 && folder.files.path().starts_with(&cache), "hub {number}: {folder:?}")
            }
            Err(error) => {
                let message = error.to_string();
                assert!(matches!(error, perk::Error::Hub { .. }), "hub {number}: {message}");
                assert!(message.contains("etag") || message.contains("commit"), "hub {number}: {message}");
            }
        }
    }
}

#[test]
fn a_token_is_never_shown() {
    let settings = HubSettings { token: Some("secret".to_owned()), ..HubSettings::default() };
    assert!(!format!("{settings:?}").contains("secret"));
}
