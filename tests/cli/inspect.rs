//! `perk inspect`.

use std::fs;

use serde_json::Value;

use super::browser::Browser;
use super::room::{Room, STORY, names, printed, stderr};

/// A room with a run and an adapter of the story.
fn encoded() -> Room {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "memory"]);
    room
}

fn inspected(room: &Room, arguments: &[&str]) -> Value {
    serde_json::from_str(&room.prints(&[&["inspect", "--json"], arguments].concat())).unwrap()
}

fn numbers<'a>(items: &'a Value, path: &'a str) -> impl Iterator<Item = f64> + 'a {
    items.as_array().unwrap().iter().map(move |item| item.pointer(path).unwrap().as_f64().unwrap())
}

fn tokens(found: &Value) -> Value {
    let segments = found["reading"]["segments"].as_array().unwrap();
    segments.iter().flat_map(|segment| segment["tokens"].as_array().unwrap().clone()).collect()
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let numbers: Vec<f64> = numbers.collect();
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

fn assert_near(found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-4 * expected.abs(), "{found}, expected {expected}");
}

#[test]
fn an_adapter_is_shown_with_every_token_of_its_context_as_it_was_encoded() {
    let room = encoded();
    let (found, record) = (inspected(&room, &["memory"]), room.json("memory/perk.json"));
    let (tokens, losses) = (tokens(&found), &record["losses"]["cross_entropy"]);
    // What the tokens lose is what the record says of all of them.
    assert_near(mean(numbers(&tokens, "/loss/before")), &losses[0]);
    assert_near(mean(numbers(&tokens, "/loss/after")), &losses[2]);
    assert_eq!(found["losses"], record["losses"]);
    assert_eq!(found["notes"], Value::Array(vec![]));
    assert_eq!(found["missing"], Value::Array(vec![]));
    let text: String =
        tokens.as_array().unwrap().iter().map(|token| token["text"].as_str().unwrap()).collect();
    let plain = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    assert_eq!(plain(&text), plain(STORY));
    for segment in found["reading"]["segments"].as_array().unwrap() {
        let own = &segment["tokens"];
        assert_near(mean(numbers(own, "/loss/before")), &segment["losses"][0]["cross_entropy"]);
        assert_near(mean(numbers(own, "/loss/after")), &segment["losses"][2]["cross_entropy"]);
        let pairs = numbers(own, "/loss/before").zip(numbers(own, "/weight/before"));
        assert_near(pairs.map(|(loss, weight)| loss * weight).sum(), &segment["losses"][0]["weighted"]);
    }
    assert_eq!(found["norms"]["of"], "change");
    assert!(numbers(&found["norms"]["sites"], "/norm").all(|norm| norm > 0.0));
    assert_eq!(found["norms"]["sites"].as_array().unwrap().len(), 7);
    let rates = found["rates"]["tensors"].as_array().unwrap();
    assert_eq!((rates.len(), rates[0]["rates"].as_array().unwrap().len()), (14, 2));
}

#[test]
fn a_pipe_gets_plain_text_and_colours_where_they_are_asked_for() {
    let room = encoded();
    let plain = room.prints(&["inspect", "memory"]);
    let parts = [
        "adapter memory",
        "story.txt",
        "Mary Event 1",
        "Mary",
        "after step 2, the last",
        "Learning rates of inner step 1",
    ];
    for part in parts {
        assert!(plain.contains(part), "{part} is missing in {plain}");
    }
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let coloured = room.prints(&["inspect", "memory", "--color", "always"]);
    assert!(coloured.contains("\u{1b}[48;5;"), "{coloured:?}");
    // The same but for the colours.
    let mut bare = coloured.clone();
    while let Some(start) = bare.find('\u{1b}') {
        let end = start + bare[start..].find('m').unwrap();
        bare.replace_range(start..=end, "");
    }
    assert_eq!(bare, plain);
}

#[test]
fn a_checkpoint_has_rates_and_with_a_context_shows_how_it_would_write_it() {
    let room = encoded();
    let bare = inspected(&room, &["runs/tiny"]);
    assert_eq!((&bare["kind"], &bare["norms"]["of"]), (&"checkpoint".into(), &"adapter".into()));
    assert!(bare["missing"][0]["advice"].as_str().unwrap().contains("--context"), "{bare}");
    assert!(bare["reading"].is_null() && bare["losses"].is_null());
    // The base is not needed for what the folder holds.
    fs::rename(room.path("base"), room.path("elsewhere")).unwrap();
    assert_eq!(inspected(&room, &["runs/tiny/checkpoints/last"])["rates"], bare["rates"]);
    let with = inspected(&room, &["runs/tiny", "--context", "story.txt", "--base", "elsewhere"]);
    let adapter = inspected(&room, &["memory", "--base", "elsewhere"]);
    assert_eq!(with["reading"], adapter["reading"]);
    for (found, expected) in
        ["inner", "cross_entropy"].map(|name| (&with["losses"][name], &adapter["losses"][name]))
    {
        for (found, expected) in found.as_array().unwrap().iter().zip(expected.as_array().unwrap()) {
            assert_near(found.as_f64().unwrap(), expected);
        }
    }
}

#[test]
fn what_an_adapter_was_made_of_may_be_gone_and_that_is_said() {
    let room = encoded();
    let missing = |arguments: &[&str]| {
        let found = inspected(&room, arguments);
        let missing = found["missing"][0].clone();
        assert!(found["reading"].is_null(), "{found}");
        [missing["reason"].as_str().unwrap().to_owned(), missing["advice"].as_str().unwrap().to_owned()]
    };
    let [reason, _] = missing(&["memory", "--no-encode"]);
    assert!(reason.contains("--no-encode"), "{reason}");
    fs::write(room.path("story.txt"), "John moved to the office.").unwrap();
    let [reason, advice] = missing(&["memory"]);
    assert!(reason.contains("story.txt") && advice.contains("--context"), "{reason}, {advice}");
    let other = room.refuses(&["inspect", "memory", "--context", "story.txt"]);
    assert!(other.contains("story.txt is another context"), "{other}");
    fs::write(room.path("copy.txt"), STORY).unwrap();
    assert!(!inspected(&room, &["memory", "--context", "copy.txt"])["reading"].is_null());
    // A run that goes on replaces its last checkpoint.
    fs::rename(room.path("runs/tiny"), room.path("runs/kept")).unwrap();
    let [reason, advice] = missing(&["memory"]);
    assert!(reason.contains("runs/tiny") && advice.contains("--checkpoint"), "{reason}, {advice}");
    assert_eq!(inspected(&room, &["memory"])["norms"]["of"], "adapter");
    let back = ["memory", "--checkpoint", "runs/kept", "--context", "copy.txt"];
    assert_eq!(inspected(&room, &back)["norms"]["of"], "change");
}

#[test]
fn an_adapter_of_an_untrained_start_says_so() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--untrained", "c.toml", "--out", "memory"]);
    let found = inspected(&room, &["memory"]);
    assert!(found["missing"][0]["advice"].as_str().unwrap().contains("--untrained"), "{found}");
    let found = inspected(&room, &["memory", "--untrained", "c.toml"]);
    assert!(found["rates"].is_null() && !found["reading"].is_null(), "{found}");
    assert_eq!(found["notes"], Value::Array(vec![]));
}

#[test]
fn what_is_neither_is_refused_and_leaves_no_page() {
    let room = encoded();
    for (subject, expected) in
        [("base", "neither an adapter"), ("nowhere", "no such adapter"), ("c.toml", "no such adapter")]
    {
        let message = room.refuses(&["inspect", subject, "--html", "page.html"]);
        assert!(message.contains(expected), "{message}");
        assert!(!room.path("page.html").exists());
    }
    let damaged = room.path("memory/adapter_model.safetensors");
    fs::write(&damaged, "x").unwrap();
    let message = room.refuses(&["inspect", "memory", "--html", "page.html"]);
    assert!(message.contains("adapter_model.safetensors"), "{message}");
    assert!(!names(&room.path("")).iter().any(|name| name.contains("page")));
}

#[test]
fn a_browser_shows_the_page_without_an_error_and_without_fetching_anything() {
    let room = encoded();
    let page = room.path("page.html");
    assert_eq!(room.prints(&["inspect", "memory", "--html", "page.html"]).trim(), "page.html");
    let Some(browser) = Browser::find() else { return };
    let seen = browser.open(&page);
    assert_eq!(seen.console, Vec::<String>::new());
    assert_eq!(seen.fetched, Vec::<String>::new());
    // A browser has read the page as it was meant: every token says its losses where the pointer rests on it.
    let tokens = inspected(&room, &["memory"]);
    let count = super::inspect::tokens(&tokens).as_array().unwrap().len();
    assert_eq!(seen.dom.matches("class=\"t\"").count(), count);
    assert_eq!(seen.dom.matches(" nats\">").count(), count);
    let first = tokens.pointer("/reading/segments/0/tokens/0/text").unwrap().as_str().unwrap();
    assert!(seen.dom.contains(&format!(" nats\">{first}</span>")), "{first}");
    assert!(seen.dom.contains("<h2>Learning rates by layer, projection and step</h2>"));
}

#[test]
fn a_reader_that_has_gone_is_no_fault() {
    let room = encoded();
    let line = format!("{} inspect memory | head -n 1", env!("CARGO_BIN_EXE_perk"));
    let output =
        std::process::Command::new("sh").current_dir(room.path("")).args(["-c", &line]).output().unwrap();
    assert!(stderr(&output).lines().all(|line| !line.contains("error")), "{}", stderr(&output));
    assert!(printed(output).starts_with("adapter memory"));
}
