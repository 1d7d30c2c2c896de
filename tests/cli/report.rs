//! `perk report`, and event files for TensorBoard.

use std::fs;

use serde_json::Value;

use super::browser::Browser;
use super::room::{Room, names};

const SMALL: [&str; 6] = ["--config", "c.toml", "--set", "eval.multiples=[1]", "--set", "eval.episodes=2"];

/// A room with two runs of other rates.
fn two_runs() -> Room {
    let room = Room::new();
    room.succeed(&[&SMALL[..], &["--out", "runs/a"]].concat());
    room.succeed(&[&SMALL[..], &["--out", "runs/b", "--set", "outer.lr=1e-3"]].concat());
    room
}

#[test]
fn a_page_shows_runs_side_by_side_in_a_browser() {
    let room = two_runs();
    assert_eq!(room.prints(&["report", "runs/a", "runs/b"]).trim(), "report.html");
    let html = fs::read_to_string(room.path("report.html")).unwrap();
    for part in [
        "<td>a: perk</td>",
        "<td>b: perk</td>",
        "<td>outer.lr</td>\n<td>0.003</td>\n<td>0.001</td>",
        ">Outer loss, nats a token</text>",
    ] {
        assert!(html.contains(part), "{part} is missing in {html}");
    }
    let found: Value = serde_json::from_str(&room.prints(&["report", "--json", "runs/a"])).unwrap();
    let run = &found["runs"][0];
    assert_eq!((run["steps"].as_array().unwrap().len(), &run["result"]), (6, &room.result("runs/a")));
    let Some(browser) = Browser::find() else { return };
    let seen = browser.open(&room.path("report.html"));
    assert_eq!(seen.console, Vec::<String>::new());
    assert_eq!(seen.fetched, Vec::<String>::new());
    // The pictures are in the page, and say their numbers where the pointer rests.
    assert!(seen.dom.matches("<svg").count() >= 7, "{}", seen.dom);
    let loss = run["steps"][5]["outer_loss"].as_f64().unwrap();
    assert!(seen.dom.contains(&format!("<title>step 6: a {loss:.2}, b ")), "{loss}: {}", seen.dom);
}

#[test]
fn what_is_no_run_is_refused_and_leaves_no_page() {
    let room = two_runs();
    for (runs, expected) in
        [(&["runs/a", "base"][..], "no metrics.jsonl"), (&["runs/a", "runs/a"], "named twice")]
    {
        let message = room.refuses(&[&["report"], runs].concat());
        assert!(message.contains(expected), "{message}");
        assert!(!room.path("report.html").exists());
    }
    fs::write(room.path("runs/a/metrics.jsonl"), "notes\n").unwrap();
    assert!(room.refuses(&["report", "runs/a"]).contains("metrics.jsonl:1"));
}

#[test]
fn event_files_lie_beside_the_metrics_where_they_are_asked_for() {
    let room = two_runs();
    let events = |run: &str| {
        names(&room.path(run)).into_iter().filter(|name| name.contains("tfevents")).collect::<Vec<_>>()
    };
    assert_eq!(events("runs/a"), Vec::<String>::new());
    let asked = ["--set", "run.tensorboard=true", "--set", "outer.schedule=constant"];
    room.succeed(&[&SMALL[..], &asked, &["--out", "runs/c", "--set", "outer.steps=2"]].concat());
    let first = events("runs/c");
    assert_eq!(first.len(), 1);
    let bytes = fs::read(room.path("runs/c").join(&first[0])).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("brain.Event:2") && holds("outer/loss") && holds("eval/exact_match"));
    room.succeed(&[&SMALL[..], &asked, &["--resume", "runs/c", "--set", "outer.steps=3"]].concat());
    assert_eq!(events("runs/c").len(), 2);
}
