//! The one place where files are read that people and other programs wrote: byte order marks, encodings, and what
//! may lie in a file's place.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::shown_path;
use crate::{Error, Result};

/// How a pointer of Git LFS begins, which a clone without LFS holds in the place of a large file.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The text of a file, without a byte order mark.
///
/// # Errors
/// A file that is not there, is no text in UTF-8, or stands for another one that was not fetched; the message says
/// which.
pub fn read_text(path: &Path) -> Result<String> {
    Ok(text(path, &read_bytes(path)?)?.to_owned())
}

/// As [`read_text`]; `None` where there is no such file.
///
/// # Errors
/// As [`read_text`], for a file that is there.
pub fn read_text_if_there(path: &Path) -> Result<Option<String>> {
    // A link that leads nowhere is there.
    match std::fs::symlink_metadata(path) {
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => read_text(path).map(Some),
    }
}

/// The bytes of a file.
///
/// # Errors
/// A file that is not there, or stands for another one that was not fetched.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(|fault| unreadable(path, fault))?;
    refuse_pointer(path, &bytes)?;
    Ok(bytes)
}

/// Refuses what only stands for a file, before the file is read in some other way.
///
/// # Errors
/// As [`read_bytes`].
pub fn require_itself(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(|fault| unreadable(path, fault))?;
    if !file.metadata().map_err(|fault| Error::io(path, fault))?.is_file() {
        return Err(Error::file(path, "is not a file"));
    }
    let mut start = Vec::new();
    file.take(LFS_POINTER.len() as u64).read_to_end(&mut start).map_err(|fault| Error::io(path, fault))?;
    refuse_pointer(path, &start)
}

/// The text in `bytes`, without a byte order mark; `name` says in messages where they came from.
///
/// # Errors
/// Bytes that are no text in UTF-8, with the line.
pub fn text<'a>(name: &Path, bytes: &'a [u8]) -> Result<&'a str> {
    const WANTED: &str = "perk reads text in UTF-8";
    if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Err(Error::file(name, format!("is UTF-16 text: {WANTED}")));
    }
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(Error::file(name, format!("is a binary file (byte {at} is zero): {WANTED}")));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(without_mark(text)),
        Err(fault) => {
            let at = fault.valid_up_to();
            let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
            let reason = format!("invalid UTF-8 at byte {at} of the file (0x{:02x}): {WANTED}", bytes[at]);
            Err(Error::data(name, line, reason))
        }
    }
}

/// `text` without a byte order mark.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A value from the text of a JSON file.
///
/// # Errors
/// With file, line and key: what is no JSON, or does not fit.
pub fn parse_json<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_str(without_mark(text));
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|fault| {
        let key = fault.path().to_string();
        let fault = fault.into_inner();
        let place = if key == "." { String::new() } else { format!("`{key}`: ") };
        Error::data(path, fault.line().max(1), format!("{place}{}", plain_words(&fault.to_string())))
    })?;
    reader.end().map_err(|fault| Error::data(path, fault.line().max(1), fault.to_string()))?;
    Ok(value)
}

/// Rust's names of types, in the words of a person who writes files.
pub fn plain_words(fault: &str) -> String {
    let mut words = fault.to_owned();
    for (rust, plain) in [
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected u32", "expected a whole number, 0 or more"),
        ("expected f64", "expected a number"),
        ("expected a string", "expected text in quotes"),
        ("expected a boolean", "expected true or false"),
    ] {
        words = words.replace(rust, plain);
    }
    words
}

/// The system's refusal to read a file; a link that leads nowhere is named as such.
fn unreadable(path: &Path, fault: std::io::Error) -> Error {
    match std::fs::read_link(path) {
        Ok(target) if fault.kind() == std::io::ErrorKind::NotFound => {
            let reason = format!(
                "is a link to {}, which is not there: a download that was not finished, or a cache that was \
                 cleaned; fetch the file again",
                shown_path(&target)
            );
            Error::file(path, reason)
        }
        _ => Error::io(path, fault),
    }
}

fn refuse_pointer(path: &Path, start: &[u8]) -> Result<()> {
    if !start.starts_with(LFS_POINTER) {
        return Ok(());
    }
    let reason = "is a pointer of Git LFS and not the file itself: run `git lfs pull` in its folder";
    Err(Error::file(path, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read_text(file.path())
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_text() {
        assert_eq!(read("\u{feff}a\u{feff}".as_bytes()).unwrap(), "a\u{feff}");
        assert_eq!(parse_json::<u32>(Path::new("n.json"), "\u{feff}3").unwrap(), 3);
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_place() {
        for (bytes, expected) in [
            (&b"\xff\xfea\0"[..], "UTF-16"),
            (b"a\0", "byte 1 is zero"),
            (b"line\nab\xe9 cd", ":2: invalid UTF-8 at byte 7 of the file (0xe9)"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "`git lfs pull`"),
        ] {
            let message = read(bytes).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_link_that_leads_nowhere_is_named_with_its_target() {
        let room = tempfile::tempdir().unwrap();
        let link = room.path().join("config.json");
        std::os::unix::fs::symlink("../blobs/abc", &link).unwrap();
        for fault in [read_text(&link).map(drop), read_text_if_there(&link).map(drop), require_itself(&link)]
        {
            let message = fault.unwrap_err().to_string();
            assert!(message.contains("link to ../blobs/abc, which is not there"), "{message}");
        }
        assert_eq!(read_text_if_there(&room.path().join("none")).unwrap(), None);
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_by_its_key() {
        #[derive(Debug, serde::Deserialize)]
        struct Inner {
            #[expect(dead_code, reason = "it is never there")]
            steps: usize,
        }
        let text = "{\"a\": {\n\"steps\": null}}";
        let fault = parse_json::<std::collections::HashMap<String, Inner>>(Path::new("r.json"), text);
        let message = fault.unwrap_err().to_string();
        assert!(
            message.starts_with("r.json:2: `a.steps`: invalid type: null, expected a whole number"),
            "{message}"
        );
    }
}
