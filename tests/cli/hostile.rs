//! Names that somebody chose to do harm: none leads out of its folder, none reaches a terminal as it is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use perk::error::shown;
use perk::model::{DecoderConfig, HubSettings, resolve};
use perk::store::{RECORD_FILE, Record, Store};
use perk::text::Tokenizer;
use serde_json::{Value, json};

use super::room::{Room, names};

/// What no message may hold, but for the line breaks of perk's own.
fn is_raw(c: char) -> bool {
    c != '\n' && shown(&c.to_string()) != c.to_string()
}

/// Names that lead out of a folder, or seem to.
const LEADING_OUT: [&str; 41] = [
    "..",
    "../x",
    "../../x",
    "../outside",
    "a/../../outside",
    "./../outside",
    "one/..",
    "one/../../outside",
    "/",
    "//",
    "/etc",
    "/etc/passwd",
    "//outside",
    "/proc/self/root",
    "..\\outside",
    "\\..\\outside",
    "C:\\x",
    "\\\\host\\share",
    "a\\b",
    "a/b",
    "one/",
    "one/.",
    "one/perk.json",
    "./one",
    "",
    ".",
    "./",
    "link",
    "link/x",
    "link/../x",
    "dangling",
    "loop",
    "....//outside",
    "..;/outside",
    "%2e%2e%2foutside",
    "..%2foutside",
    "\u{ff0e}\u{ff0e}/outside",
    "\u{2024}\u{2024}/outside",
    "~",
    "~/x",
    "~root",
];

/// Perk's own hidden names, and others.
const HIDDEN: [&str; 7] = [".hidden", ".one.lock", ".one.old", ".one.tmp-aB3dE6", "...", ". ", ".. "];

/// What a shell, a template or an option parser would act on.
const SHELL: [&str; 16] = [
    "-",
    "--",
    "--force",
    "-rf",
    "*",
    "?",
    "$(id)",
    "`id`",
    "; rm -rf .",
    "|",
    "&&",
    "'",
    "\"",
    "%s%n",
    "{}",
    "{name}",
];

/// What a terminal would act on, what cannot be seen, and what looks like another name.
const SEEN: [&str; 23] = [
    " ",
    "\t",
    "\n",
    "\r",
    "\u{b}",
    "\u{7f}",
    "\u{85}",
    "\u{9b}31m",
    "\u{1b}[31mred",
    "\u{1b}]0;title\u{7}",
    "\u{1b}[2J\u{1b}[H",
    "\u{202e}txt.eno",
    "\u{2066}x\u{2069}",
    "\u{200f}",
    "\u{200b}one",
    "\u{feff}one",
    "\u{2028}",
    "\u{61c}one",
    "one\u{301}",
    "ONE",
    "con",
    "nul",
    "aux.txt",
];

/// About a hundred names.
fn hostile() -> Vec<String> {
    let named = [&LEADING_OUT[..], &HIDDEN, &SHELL, &SEEN].concat();
    let mut all: Vec<String> = named.into_iter().map(str::to_owned).collect();
    for middle in ["\n", "\nerror: all is lost", "\u{1b}[31m", "\u{202e}", "/../"] {
        all.extend([format!("{middle}one"), format!("o{middle}ne"), format!("one{middle}")]);
    }
    all.extend([
        "x".repeat(256),
        "x".repeat(4096),
        "../".repeat(1365),
        "\u{e9}".repeat(200),
        "a/".repeat(2048),
    ]);
    all
}

/// Everything below `folder` but what is in its store, with its bytes.
fn outside(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for name in names(folder).into_iter().filter(|name| name != "store") {
        let path = folder.join(&name);
        match path.is_dir() && !path.is_symlink() {
            true => all
                .extend(outside(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes))),
            false => all.push((name, fs::read(path).unwrap_or_default())),
        }
    }
    all
}

fn require_plain(name: &str, message: &str) {
    assert!(!message.contains("panicked"), "{name:?}: {message}");
    assert!(!message.chars().any(is_raw), "{name:?}: {message:?}");
    // No line of it is the name's.
    assert!(!message.contains("\nerror: all"), "{name:?}: {message:?}");
}

/// A store with an adapter and traps, in a folder with something to lose.
fn trapped() -> Room {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "store/one"]);
    fs::create_dir(room.path("outside")).unwrap();
    for file in fs::read_dir(room.path("store/one")).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), room.path("outside").join(file.file_name())).unwrap();
    }
    for (target, name) in [("../outside", "link"), ("nowhere", "dangling"), ("loop", "loop")] {
        symlink(target, room.path("store").join(name)).unwrap();
    }
    room
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[test]
fn no_name_leads_out_of_a_store() {
    let room = trapped();
    let (store, all) = (Store::new(&room.path("store")), hostile());
    assert!(all.len() >= 100, "{}", all.len());
    let before = outside(&room.path(""));
    for name in &all {
        for refused in [store.open(name).map(drop), store.remove(name).map(drop)] {
            require_plain(name, &refused.expect_err(name).to_string());
        }
        for action in ["rm", "verify"] {
            let output = room.perk(&["adapters", action, "--store", "store", "--", name]).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{name:?}: {}", printed(&output));
            require_plain(name, &printed(&output));
        }
    }
    assert_eq!(outside(&room.path("")), before);
    assert_eq!(names(&room.path("store")), ["dangling", "link", "loop", "one"]);
}

#[test]
fn no_base_and_no_revision_leads_out_of_the_cache() {
    let room = tempfile::tempdir().unwrap();
    let hub =
        HubSettings { cache_dir: room.path().join("a/b/cache"), offline: true, ..HubSettings::default() };
    // What a way out would find.
    fs::create_dir_all(room.path().join("a/b/cache")).unwrap();
    for name in hostile() {
        if !Path::new(&name).is_dir() {
            require_plain(&name, &resolve(&name, None, true, &hub).expect_err(&name).to_string());
        }
        let ids = [format!("owner/{name}"), format!("{name}/name")];
        for base in ids.clone().into_iter().chain(ids.map(|id| format!("hf:{id}"))) {
            if !Path::new(&base).is_dir() {
                require_plain(&base, &resolve(&base, None, true, &hub).expect_err(&base).to_string());
            }
        }
        for id in ["owner/name", "hf:owner/name"] {
            require_plain(&name, &resolve(id, Some(&name), true, &hub).expect_err(&name).to_string());
        }
    }
    assert_eq!(names(&room.path().join("a/b")), ["cache"]);
}

#[test]
fn no_name_in_the_files_of_a_base_reaches_a_terminal_as_it_is() {
    let room = Room::new();
    let mut refused = 0;
    let mut require = |name: &str, fault: Option<perk::Error>| {
        if let Some(fault) = fault {
            require_plain(name, &fault.to_string());
            refused += 1;
        }
    };
    let good = room.json("base/config.json");
    for name in hostile() {
        for change in [json!({ "hidden_act": name }), json!({ "rope_scaling": { "rope_type": name } })] {
            let mut config = good.clone();
            config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            fs::write(room.path("base/config.json"), config.to_string()).unwrap();
            require(&name, DecoderConfig::from_folder(&room.path("base")).err());
        }
        let marks = json!({ "eos_token": "<eos>", "bos_token": name, "add_bos_token": true });
        fs::write(room.path("base/tokenizer_config.json"), marks.to_string()).unwrap();
        require(&name, Tokenizer::from_folder(&room.path("base"), None).err());
        require(&name, Tokenizer::from_folder(&room.path("base"), Some(&name)).err());
    }
    assert!(refused > 300, "{refused}");
}

#[test]
fn no_key_of_a_record_reaches_a_terminal_as_it_is() {
    let room = trapped();
    let good = room.json("store/one/perk.json");
    let folder = tempfile::tempdir().unwrap();
    for name in hostile().into_iter().chain(["\0".to_owned(), "a\0b".to_owned()]) {
        for place in ["", "/base/model", "/recipe/inner"] {
            let mut record = good.clone();
            record.pointer_mut(place).unwrap()[&name] = Value::Null;
            fs::write(folder.path().join(RECORD_FILE), record.to_string()).unwrap();
            let message = Record::load(folder.path()).expect_err(&name).to_string();
            require_plain(&name, &message);
            assert!(message.contains("unknown field"), "{name:?}: {message}");
        }
    }
}

#[test]
fn what_a_record_says_is_listed_without_what_a_terminal_would_act_on() {
    let room = trapped();
    let mut record = room.json("store/one/perk.json");
    record["context"]["sources"] = hostile().into_iter().chain(["\0".to_owned()]).collect();
    record["base"]["model"]["base"] = "\u{1b}[31m\nerror: all is lost".into();
    fs::write(room.path("store/one/perk.json"), record.to_string()).unwrap();
    for action in ["list", "verify"] {
        let output = room.perk(&["adapters", action, "--store", "store"]).output().unwrap();
        require_plain(action, &printed(&output));
    }
}

#[test]
fn a_context_may_be_called_as_it_likes() {
    let room = Room::trained();
    let possible = hostile().into_iter().filter(|name| {
        let plain = !name.is_empty()
            && !name.contains('/')
            && name.len() < 250
            && ![".", ".."].contains(&name.as_str());
        plain && name != "-"
    });
    let mut tried = 0;
    for name in possible.step_by(4) {
        fs::copy(room.path("story.txt"), room.path(&name)).unwrap();
        let context = format!("--context={name}");
        let output = room.perk(&["encode", &context, "--store", "store"]).output().unwrap();
        assert!(output.status.success(), "{name:?}: {}", printed(&output));
        require_plain(&name, &printed(&output));
        let made = names(&room.path("store"));
        assert_eq!(made.len(), 1, "{made:?}");
        assert!(made[0].bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{made:?}");
        fs::remove_dir_all(room.path("store")).unwrap();
        fs::remove_file(room.path(&name)).unwrap();
        tried += 1;
    }
    assert!(tried > 10);
}

#[test]
fn what_is_wrong_with_an_argument_is_told_without_repeating_it_raw() {
    let room = Room::new();
    for name in hostile().into_iter().filter(|name| name.chars().any(|c| c.is_control())) {
        for option in ["--device", "--lengths", "--samples", "--set"] {
            let value = format!("{option}={name}");
            let output =
                room.perk(&["eval", "--task", "held-out", "--config", "c.toml", &value]).output().unwrap();
            assert!(!output.status.success(), "{option} {name:?}");
            require_plain(&name, &printed(&output));
        }
        let output = room.perk(&["meta-train", "--config", &name]).output().unwrap();
        require_plain(&name, &printed(&output));
        let output = room
            .perk(&["meta-train", "--config", "c.toml", "--set", &format!("run.dir={name}"), "--set", &name])
            .output()
            .unwrap();
        require_plain(&name, &printed(&output));
    }
}
