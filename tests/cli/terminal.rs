//! What a terminal is shown of what a model wrote.

use std::fs;
use std::process::{Command, Stdio};

use super::room::{Room, STORY};

/// A room with a memory whose model answers nothing but the character ESC.
fn hostile_model() -> Room {
    let room = Room::new();
    let mut tokenizer = room.json("base/tokenizer.json");
    let escape = serde_json::json!({"type": "Replace", "pattern": {"Regex": "."}, "content": "\u{1b}"});
    tokenizer["decoder"]["decoders"].as_array_mut().unwrap().push(escape);
    fs::write(room.path("base/tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(room.path("story.txt"), STORY).unwrap();
    room.prints(&["encode", "--context", "story.txt", "--untrained", "c.toml", "--out", "memory"]);
    room
}

/// What a terminal of its own is shown by `perk LINE`; `None`, which is said, where there is none.
fn on_a_terminal(room: &Room, line: &str, variables: &[(&str, &str)]) -> Option<String> {
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_perk"));
    let mut script = Command::new("script");
    script.current_dir(room.path("")).args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(variables.iter().copied());
    let Ok(output) = script.stdin(Stdio::null()).output() else {
        eprintln!("skipped: the program `script` is missing, so there is no terminal to try");
        return None;
    };
    let shown = String::from_utf8(output.stdout).unwrap().replace('\r', "");
    assert!(output.status.success(), "{shown:?}");
    Some(shown)
}

#[test]
fn an_answer_reaches_a_pipe_as_it_is_and_a_terminal_escaped() {
    let room = hostile_model();
    let ask = ["ask", "--adapter", "memory", "--compare-base", "Where is Mary?"];
    let piped = room.prints(&ask);
    assert!(piped.contains("\u{1b}\u{1b}"), "{piped:?}");
    let line = "ask --adapter memory --compare-base 'Where is Mary?' 2>stderr";
    let Some(shown) = on_a_terminal(&room, line, &[]) else { return };
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert_eq!(shown.trim_start_matches("^D\u{8}\u{8}"), piped.replace('\u{1b}', "\\u{1b}"));
}

#[test]
fn a_terminal_gets_colours_unless_no_color_is_set() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "memory"]);
    // A bar of progress moves the cursor, which is no colour.
    let shown =
        |line: &str, variables: &[(&str, &str)]| on_a_terminal(&room, &format!("{line} 2>stderr"), variables);
    let Some(coloured) = shown("inspect memory", &[]) else { return };
    assert!(coloured.contains("\u{1b}[48;5;"), "{coloured:?}");
    // As no-color.org says, an empty variable counts as none.
    assert!(shown("inspect memory", &[("NO_COLOR", "")]).unwrap().contains('\u{1b}'));
    assert!(!shown("inspect memory", &[("NO_COLOR", "1")]).unwrap().contains('\u{1b}'));
    assert!(!shown("inspect memory --color never", &[]).unwrap().contains('\u{1b}'));
    assert!(shown("inspect memory --color always", &[("NO_COLOR", "1")]).unwrap().contains('\u{1b}'));
}
