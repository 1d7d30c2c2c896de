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

#[test]
fn an_answer_reaches_a_pipe_as_it_is_and_a_terminal_escaped() {
    let room = hostile_model();
    let ask = ["ask", "--adapter", "memory", "--compare-base", "Where is Mary?"];
    let piped = room.prints(&ask);
    assert!(piped.contains("\u{1b}\u{1b}"), "{piped:?}");
    // `script` runs a command on a terminal of its own.
    let line = format!(
        "{} ask --adapter memory --compare-base 'Where is Mary?' 2>stderr",
        env!("CARGO_BIN_EXE_perk")
    );
    let mut script = Command::new("script");
    script.current_dir(room.path("")).args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let Ok(output) = script.stdin(Stdio::null()).output() else {
        eprintln!("skipped: the program `script` is missing, so there is no terminal to try");
        return;
    };
    let shown = String::from_utf8(output.stdout).unwrap().replace('\r', "");
    assert!(output.status.success(), "{shown:?}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert_eq!(shown.trim_start_matches("^D\u{8}\u{8}"), piped.replace('\u{1b}', "\\u{1b}"));
}
