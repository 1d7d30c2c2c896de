//! `perk fetch`.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use super::hub::{Hub, serve, serve_as};
use super::room::{Room, message, names, printed, stderr};

const ID: &str = "hf:owner/name";

fn fetch(room: &Room, hub: &Hub, arguments: &[&str]) -> Output {
    let mut command = room.perk(&[&["fetch"], arguments].concat());
    command.env("HF_ENDPOINT", &hub.address).env("HF_HOME", room.path("home")).output().unwrap()
}

fn snapshot(room: &Room) -> PathBuf {
    room.path("home/hub/models--owner--name/snapshots/abc")
}

#[test]
fn a_base_is_fetched_once_and_found_again_by_every_command() {
    let room = Room::new();
    let hub = serve(room.path("base"));
    let asked = || hub.requests.lock().unwrap().iter().filter(|line| line.starts_with("GET")).count();
    let output = fetch(&room, &hub, &[ID, "--revision", "v1"]);
    let told = stderr(&output);
    assert!(told.contains("fetching model.safetensors ("), "{told}");
    let text = printed(output);
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        assert!(text.lines().any(|line| line.starts_with(file) && line.contains("kB")), "{text}");
    }
    assert_eq!(text.lines().last(), snapshot(&room).to_str(), "{text}");
    let before = asked();
    let again = fetch(&room, &hub, &[ID, "--revision", "v1"]);
    assert!(stderr(&again).is_empty());
    assert_eq!((printed(again), asked()), (text, before), "nothing is asked of the hub again");
    let mut offline = room.perk(&["fetch", ID, "--revision", "v1"]);
    let offline = offline.env("HF_HUB_OFFLINE", "1").env("HF_HOME", room.path("home")).output().unwrap();
    assert!(offline.status.success(), "{}", stderr(&offline));
    let base = format!("model.base={ID}");
    let plan =
        ["meta-train", "--config", "c.toml", "--dry-run", "--set", &base, "--set", "model.revision=v1"];
    let planned =
        room.perk(&plan).env("HF_HUB_OFFLINE", "1").env("HF_HOME", room.path("home")).output().unwrap();
    assert!(printed(planned).contains("trained parameters"));
}

#[test]
fn what_cannot_be_fetched_is_one_error_that_says_what_to_do() {
    let room = Room::new();
    let hub = serve(room.path("base"));
    for (base, expected) in [
        ("base", "is on this machine already"),
        ("./nowhere", "hf:owner/name"),
        ("owner/name", "write hf:owner/name"),
        ("hf:owner", "write it as hf:owner/name"),
        ("hf:owner/missing", "check the name and the revision"),
        ("hf:private/name", "set HF_TOKEN"),
    ] {
        let output = fetch(&room, &hub, &[base, "--revision", "v1"]);
        let refused = stderr(&output);
        assert!(output.status.code() == Some(1) && refused.starts_with("error: "), "{base}: {refused}");
        assert!(refused.contains(expected) && refused.lines().count() == 1, "{base}: {refused}");
    }
    let mut offline = room.perk(&["fetch", ID]);
    let offline = offline.env("HF_HUB_OFFLINE", "1").env("HF_HOME", room.path("home")).output().unwrap();
    let refused = message(&offline, 1);
    assert!(
        refused.contains("offline mode forbids") && refused.contains("nothing of it is there"),
        "{refused}"
    );
}

/// SHA-256 of `{}`, and of something else.
const OF_BRACES: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn a_file_that_is_not_the_one_with_the_announced_digest_is_not_kept() {
    let room = Room::new();
    fs::write(room.path("base/tokenizer.json"), "{}").unwrap();
    let hub = serve_as(room.path("base"), |path, _| match path.contains("tokenizer.json") {
        true => (OF_ABC.to_owned(), "abc".to_owned()),
        false => (path.replace('/', "_"), "abc".to_owned()),
    });
    let refused = message(&fetch(&room, &hub, &[ID, "--revision", "v1"]), 1);
    for part in ["`tokenizer.json`", OF_ABC, OF_BRACES, "damaged on its way"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(!snapshot(&room).join("tokenizer.json").exists());
    let blobs = names(&room.path("home/hub/models--owner--name/blobs"));
    assert!(!blobs.iter().any(|name| name.contains(OF_ABC) && !name.ends_with(".lock")), "{blobs:?}");
}

#[test]
#[cfg(unix)]
fn a_file_that_has_changed_in_the_cache_is_named() {
    let room = Room::new();
    fs::write(room.path("base/tokenizer.json"), "{}").unwrap();
    let hub = serve_as(room.path("base"), |path, _| match path.contains("tokenizer.json") {
        true => (OF_BRACES.to_owned(), "abc".to_owned()),
        false => (path.replace('/', "_"), "abc".to_owned()),
    });
    let text = printed(fetch(&room, &hub, &[ID, "--revision", "v1"]));
    let line = text.lines().find(|line| line.starts_with("tokenizer.json")).unwrap();
    assert!(line.ends_with("SHA-256 ok"), "{text}");
    fs::write(snapshot(&room).join("tokenizer.json"), "[]").unwrap();
    let refused = message(&fetch(&room, &hub, &[ID, "--revision", "v1"]), 1);
    assert!(refused.contains("tokenizer.json: is damaged") && refused.contains("remove "), "{refused}");
}
