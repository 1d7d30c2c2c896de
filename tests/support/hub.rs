//! A model hub that runs on this machine.

#![allow(clippy::unwrap_used, dead_code)] // Each test file uses a part of these helpers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Where the hub is, and the lines of every request so far.
pub struct Hub {
    pub address: String,
    pub requests: Arc<Mutex<Vec<String>>>,
}

/// What a hub calls a file: its etag and the commit that it is of.
pub type Names = fn(path: &str, request: usize) -> (String, String);

/// A hub on this machine that serves the files of `folder` as model and dataset `owner/name`. It refuses
/// `private/NAME`, and repeats in its answer whatever it was sent.
pub fn serve(folder: PathBuf) -> Hub {
    serve_as(folder, |path, _| (path.replace('/', "_"), "abc".to_owned()))
}

/// As [`serve`], with names of the caller's choice; `request` counts the requests for files from 0.
pub fn serve_as(folder: PathBuf, names: Names) -> Hub {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&requests);
    std::thread::spawn(move || {
        for (request, stream) in listener.incoming().enumerate() {
            answer(&mut stream.unwrap(), &folder, &log, &|path| names(path, request));
        }
    });
    Hub { address, requests }
}

/// Answers one request for a range of a file, as a hub does.
fn answer(
    stream: &mut TcpStream,
    folder: &Path,
    log: &Mutex<Vec<String>>,
    names: &dyn Fn(&str) -> (String, String),
) {
    let lines = BufReader::new(&*stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
    let lines: Vec<String> = lines.collect();
    log.lock().unwrap().extend(lines.iter().cloned());
    let path = lines[0].split(' ').nth(1).unwrap();
    if path.starts_with("/private/") {
        let sent = lines.join("; ");
        let head =
            format!("HTTP/1.1 401 Unauthorized\r\nx-error-message: {sent}\r\nwww-authenticate: {sent}\r\n");
        let tail = format!("content-length: {}\r\nconnection: close\r\n\r\n{sent}", sent.len());
        stream.write_all(format!("{head}{tail}").as_bytes()).unwrap();
        return;
    }
    if path == "/api/datasets/owner/name/revision/main" {
        let list = r#"{"sha": "abc", "siblings": [{"rfilename": "README.md"}, {"rfilename": "data/qa1/4k.json"},
            {"rfilename": "data/qa2/4k.json"}]}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", list.len());
        stream.write_all(format!("{head}{list}").as_bytes()).unwrap();
        return;
    }
    let prefixes = ["/owner/name/resolve/v1/", "/datasets/owner/name/resolve/main/"];
    let file = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix)).map(|name| folder.join(name));
    let Some(bytes) = file.and_then(|file| std::fs::read(file).ok()) else {
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .unwrap();
        return;
    };
    let range =
        lines.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let (start, end) =
        range.as_deref().unwrap().split_once('-').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(bytes.len(), |last: usize| last + 1);
    let (len, size, (etag, commit)) = (end - start, bytes.len(), names(path));
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {len}\r\ncontent-range: bytes {start}-{}/{size}\r\n\
         etag: \"{etag}\"\r\nx-repo-commit: {commit}\r\nconnection: close\r\n\r\n",
        end - 1
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes[start..end]).unwrap();
}
