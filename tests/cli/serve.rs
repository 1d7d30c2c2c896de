//! `perk serve`.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::driven::Driven;
use super::room::{Room, STORY, names, printed};
use super::server::{Server, data};

const QUESTION: &str = "Where is Mary?";

fn chat(model: &str, more: Value) -> Value {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": QUESTION }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Memorises the story; the name of the memory.
fn memorise(server: &Server) -> String {
    let (status, memory) = server.post("/v1/memories", &json!({ "text": STORY, "name": "story.txt" }));
    assert!(matches!(status, 200 | 202), "{memory}");
    let name = memory["id"].as_str().unwrap().to_owned();
    assert_eq!(server.events(&name).last().unwrap()["event"], "ready");
    name
}

/// A thousand inner steps on it take minutes.
fn long_story() -> String {
    STORY.repeat(200)
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn a_document_is_memorised_once_and_asked_often() {
    let room = Room::trained();
    let server = Server::start(&room, &[], None);
    let (status, memory) = server.post("/v1/memories", &json!({ "text": STORY, "name": "story.txt" }));
    assert_eq!(status, 202, "{memory}");
    let name = memory["id"].as_str().unwrap();
    assert!(name.starts_with("story-"), "{name}");
    let events = server.events(name);
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[1], *kinds.last().unwrap()), ("queued", "begun", "ready"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "step").count(), 2, "{kinds:?}");
    let (status, again) = server.post("/v1/memories", &json!({ "text": STORY, "name": "another" }));
    assert_eq!((status, &again["id"], &again["status"]), (200, &json!(name), &json!("ready")));
    let (_, found) = server.get(&format!("/v1/memories/{name}"));
    assert_eq!((&found["segments"], found["inner_loss"].as_array().unwrap().len()), (&json!(3), 3));
    assert_eq!(server.get("/v1/memories").1["data"].as_array().unwrap().len(), 1);
    let models: Vec<Value> = server.get("/v1/models").1["data"].as_array().unwrap().clone();
    assert_eq!(models.iter().map(|model| &model["id"]).collect::<Vec<_>>(), [&json!("base"), &json!(name)]);
    // What the command line encodes and answers is the same.
    let dir = room.prints(&["encode", "--context", "story.txt", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&dir).unwrap()["reused"], true);
    let expected = room.prints(&["ask", "--adapter", name, QUESTION]);
    let (status, answer) = server.post("/v1/chat/completions", &chat(name, json!({})));
    assert_eq!((status, content(&answer)), (200, expected.trim_end_matches('\n')));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["usage"]["prompt_tokens"], 8);
    assert_eq!(server.delete(&format!("/v1/memories/{name}")).1["deleted"], true);
    assert!(!room.path("adapters").join(name).exists());
    let (status, gone) = server.post("/v1/chat/completions", &chat(name, json!({})));
    assert_eq!((status, &gone["error"]["code"]), (404, &json!("model_not_found")));
}

#[test]
fn a_stream_gives_the_answer_in_parts_and_says_what_it_took() {
    let room = Room::trained();
    let server = Server::start(&room, &[], None);
    let name = memorise(&server);
    for (path, body, part) in [
        ("/v1/chat/completions", chat(&name, json!({ "max_tokens": 3 })), "/choices/0/delta/content"),
        (
            "/v1/completions",
            json!({ "model": name, "prompt": "Mary went", "max_tokens": 5 }),
            "/choices/0/text",
        ),
    ] {
        let whole = server.post(path, &body).1;
        let mut streamed = body.clone();
        streamed["stream"] = json!(true);
        streamed["stream_options"] = json!({ "include_usage": true });
        let (status, text) = server.post_text(path, &streamed);
        assert_eq!(status, 200, "{text}");
        let mut lines = data(&text);
        assert_eq!(lines.pop().unwrap(), "[DONE]");
        let parts: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (usage, parts) = parts.split_last().unwrap();
        assert_eq!((&usage["usage"], &usage["choices"]), (&whole["usage"], &json!([])));
        let joined: String = parts.iter().filter_map(|event| event.pointer(part)?.as_str()).collect();
        let expected = whole["choices"][0].pointer("/message/content").or(whole["choices"][0].get("text"));
        assert_eq!(Some(joined.as_str()), expected.unwrap().as_str());
        let reason = &parts.last().unwrap()["choices"][0]["finish_reason"];
        assert_eq!(reason, &whole["choices"][0]["finish_reason"]);
        assert!(parts[..parts.len() - 1].iter().all(|part| part["choices"][0]["finish_reason"].is_null()));
        assert!(parts.iter().all(|part| part["id"] == parts[0]["id"] && part["model"] == *name));
    }
}

#[test]
fn the_base_answers_without_any_memory_and_obeys_what_is_said_of_the_answer() {
    let room = Room::trained();
    let server = Server::start(&room, &["--max-tokens", "40"], None);
    let text = |more: Value| {
        let mut body = json!({ "model": "base", "prompt": "Mary went to the", "max_tokens": 20 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = server.post("/v1/completions", &body);
        assert_eq!(status, 200, "{answer}");
        let choice = &answer["choices"][0];
        let reason = choice["finish_reason"].as_str().unwrap().to_owned();
        (choice["text"].as_str().unwrap().to_owned(), reason, answer["usage"]["completion_tokens"].clone())
    };
    let (plain, reason, tokens) = text(json!({}));
    assert_eq!((reason.as_str(), &tokens), ("length", &json!(20)), "{plain}");
    assert_eq!(plain, text(json!({ "temperature": 0 })).0);
    let word = plain.split_whitespace().nth(4).unwrap();
    let (stopped, reason, _) = text(json!({ "stop": word }));
    assert_eq!((stopped.as_str(), reason.as_str()), (&plain[..plain.find(word).unwrap()], "stop"));
    let drawn = |seed: i64| text(json!({ "temperature": 1.5, "seed": seed })).0;
    assert_eq!(drawn(-4), drawn(-4));
    assert_ne!(drawn(1), drawn(2));
    assert_eq!(text(json!({ "max_tokens": 1000 })).2, 40);
    let (status, answer) = server.post("/v1/chat/completions", &chat("base", json!({ "max_tokens": 4 })));
    assert_eq!((status, &answer["usage"]["prompt_tokens"]), (200, &json!(8)));
}

#[test]
fn many_requests_at_once_get_the_answers_that_each_gets_alone() {
    let room = Room::trained();
    let server = Server::start(&room, &["--batch", "4"], None);
    let name = memorise(&server);
    let ask = |nth: usize| {
        let model = if nth.is_multiple_of(3) { "base" } else { &name };
        let prompt = ["Mary", "John went to the", "A sailor calmly"][nth % 3];
        let body = json!({ "model": model, "prompt": prompt, "max_tokens": 2 + nth % 5, "seed": nth, "temperature": nth % 2 });
        server.post("/v1/completions", &body).1["choices"][0].clone()
    };
    let alone: Vec<Value> = (0..24).map(ask).collect();
    let ask = &ask;
    let together: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..24).map(|nth| scope.spawn(move || ask(nth))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    let (_, metrics) = server.text("/metrics");
    assert!(
        metrics.contains("perk_requests_total{route=\"/v1/completions\",status=\"200\"} 48"),
        "{metrics}"
    );
}

#[test]
fn what_is_wrong_with_a_request_is_said_and_the_server_goes_on() {
    let room = Room::trained();
    let server = Server::start(&room, &["--max-body", "1", "--max-context-tokens", "100"], None);
    let long = "Mary went to the garden. ".repeat(40);
    let deep = "[".repeat(200_000);
    for (path, body, status, said) in [
        ("/v1/chat/completions", json!({ "model": "base" }), 400, "`messages`: is missing"),
        ("/v1/chat/completions", chat("nobody", json!({})), 404, "there is no model `nobody`"),
        ("/v1/chat/completions", chat("../../etc", json!({})), 404, "there is no model"),
        (
            "/v1/chat/completions",
            chat("base", json!({ "temprature": 1 })),
            400,
            "`temprature`: is unknown here",
        ),
        ("/v1/completions", json!({ "model": "base", "prompt": long }), 400, "positions end at 128"),
        ("/v1/completions", json!({ "model": "base", "prompt": "" }), 400, "the prompt is empty"),
        ("/v1/completions", json!({ "model": "base", "prompt": "x".repeat(2_000_000) }), 413, "larger than"),
        ("/v1/memories", json!({ "text": "Mary" }), 400, "fewer than one segment"),
        ("/v1/memories", json!({ "text": long }), 413, "this server takes 100"),
        ("/v1/memories", json!({ "text": STORY, "name": "a/b" }), 400, "`name`: must be"),
        ("/v1/memories", json!([deep]), 400, "must be a JSON object"),
        ("/nowhere", json!({}), 404, "nothing at this path"),
        ("/v1/models", json!({}), 405, "does not take this method"),
    ] {
        let (found, answer) = server.post(path, &body);
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(found, status, "{path}: {message}");
        assert!(message.contains(said), "{path}: {message}");
    }
    for (name, status) in [("nothing", 404), ("..", 404), ("%2e%2e%2fetc", 404)] {
        assert_eq!(server.get(&format!("/v1/memories/{name}")).0, status, "{name}");
        assert_eq!(server.delete(&format!("/v1/memories/{name}")).0, status, "{name}");
    }
    let head = "POST /v1/memories HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    for (bytes, said) in [
        (format!("{head}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"), "415"),
        (format!("{head}Content-Type: application/json\r\nContent-Length: 3\r\n\r\n{{\"\u{0}"), "400"),
        (format!("{head}Content-Type: application/json\r\nContent-Length: 99999999\r\n\r\n{{"), "413"),
        ("GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), "403"),
        ("BLAH\r\n\r\n".to_owned(), "400"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1_000_000)), ""),
    ] {
        let answer = server.raw(bytes.as_bytes()).unwrap_or_default();
        assert!(answer.contains(said), "{answer}");
    }
    assert_eq!(server.get("/health"), (200, json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })));
    assert!(!room.path("adapters").exists() || names(&room.path("adapters")).is_empty());
}

#[test]
fn a_full_queue_refuses_more_and_a_client_that_leaves_makes_room() {
    let room = Room::trained();
    let server = Server::start(&room, &["--queue", "1", "--steps", "1000"], None);
    // The inner loop of the first document would take minutes.
    let put = |text: &str| server.post("/v1/memories", &json!({ "text": long_story() + text }));
    let (status, first) = put("Mary went home.");
    assert_eq!(status, 202);
    let (status, refused) = put("John went home.");
    assert_eq!((status, &refused["error"]["type"]), (429, &json!("rate_limit_error")));
    let path = format!("/v1/memories/{}", first["id"].as_str().unwrap());
    while server.get(&path).1["status"] == "queued" {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Questions are answered meanwhile.
    assert_eq!(server.post("/v1/chat/completions", &chat("base", json!({ "max_tokens": 2 }))).0, 200);
    assert_eq!(server.delete(&path).0, 200);
    let name = first["id"].as_str().unwrap();
    assert_eq!(server.events(name).last().unwrap()["event"], "cancelled");
    assert_eq!(server.get(&path).1["status"], "cancelled");
    assert_eq!(put("John went home.").0, 202);
}

#[test]
fn a_token_is_wanted_where_there_is_one() {
    let room = Room::trained();
    let server = Server::start(&room, &[], Some("s3cret"));
    assert_eq!(server.get("/v1/models").0, 200);
    let ask = |header: &str| {
        server.raw(format!("GET /v1/models HTTP/1.1\r\n{header}Connection: close\r\n\r\n").as_bytes())
    };
    for header in ["", "Authorization: Bearer wrong\r\n", "Authorization: s3cret\r\n"] {
        assert!(ask(header).unwrap().starts_with("HTTP/1.1 401"), "{header}");
    }
    // Whether it lives is no secret, nor is the page.
    for path in ["/health", "/"] {
        let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(server.raw(request.as_bytes()).unwrap().starts_with("HTTP/1.1 200"), "{path}");
    }
    let output = room.perk(&["serve", "--port", "0"]).env("PERK_TOKEN", " ").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("PERK_TOKEN holds no token"));
}

#[test]
fn a_server_that_is_told_to_stop_ends_what_was_begun_and_goes() {
    let room = Room::trained();
    let server = Server::start(&room, &["--steps", "1000"], None);
    let (_, memory) = server.post("/v1/memories", &json!({ "text": long_story() }));
    let events = std::thread::scope(|scope| {
        let follower = scope.spawn(|| server.events(memory["id"].as_str().unwrap()));
        while server.get("/v1/memories").1["data"][0]["status"] == "queued" {
            std::thread::sleep(Duration::from_millis(2));
        }
        server.signal("-TERM");
        follower.join().unwrap()
    });
    assert_ne!(events.last().unwrap()["event"], "ready");
    let (status, said) = server.end();
    assert!(status.success() && said.contains("stopping"), "{said}");
    // Nothing half written stays.
    assert!(
        !room.path("adapters").exists()
            || names(&room.path("adapters")).iter().all(|name| name.starts_with('.'))
    );
}

#[test]
fn an_address_that_is_taken_and_a_missing_run_are_said_at_once() {
    let room = Room::trained();
    let server = Server::start(&room, &[], None);
    let port = server.address.rsplit_once(':').unwrap().1;
    let message = room.refuses(&["serve", "--port", port]);
    assert!(message.contains("cannot listen at 127.0.0.1") && message.contains("--port"), "{message}");
    let empty = Room::new();
    assert!(empty.refuses(&["serve", "--port", "0"]).contains("holds no meta-trained run"));
    let message = room.refuses(&["serve", "--port", "0", "--queue", "0"]);
    assert!(message.contains("must be at least 1"), "{message}");
}

#[test]
fn a_damaged_adapter_is_refused_and_another_bases_is_not_listed() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "adapters/story"]);
    let server = Server::start(&room, &[], None);
    let ask = || server.post("/v1/chat/completions", &chat("story", json!({ "max_tokens": 2 })));
    assert_eq!(ask().0, 200);
    let record = fs::read_to_string(room.path("adapters/story/perk.json")).unwrap();
    room.change_json("adapters/story/perk.json", |record| record["base"]["digest"] = record["key"].clone());
    let (status, answer) = ask();
    assert_eq!(status, 409, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("belongs to another base"), "{answer}");
    assert_eq!(server.get("/v1/models").1["data"].as_array().unwrap().len(), 1);
    fs::write(room.path("adapters/story/perk.json"), record).unwrap();
    assert_eq!(ask().0, 200);
    fs::write(room.path("adapters/story/adapter_model.safetensors"), "broken").unwrap();
    // What was loaded from whole files is still in memory; another server reads the files.
    assert_eq!(ask().0, 200);
    let fresh = Server::start(&room, &[], None);
    assert_eq!(fresh.post("/v1/chat/completions", &chat("story", json!({}))).0, 409);
}

#[test]
fn the_page_memorises_a_file_and_asks_it_in_a_real_browser() {
    let room = Room::trained();
    let server = Server::start(&room, &[], None);
    let Some(browser) = Driven::start() else { return };
    browser.open(&server.url("/"));
    browser.wait("return document.querySelector('#model').options.length === 1");
    browser.choose_file("#file", &room.path("story.txt"));
    browser.wait("return document.querySelector('#status').textContent.includes('are memorised')");
    assert_eq!(browser.run("return document.querySelector('#steps').tBodies[0].rows.length"), 2);
    let name = browser.run("return document.querySelector('#model').value");
    assert!(name.as_str().unwrap().starts_with("story-"), "{name}");
    browser.write("#question", QUESTION);
    browser.click("#ask button:not([type])");
    let expected =
        printed(room.perk(&["ask", "--adapter", name.as_str().unwrap(), QUESTION]).output().unwrap());
    let shown = "return document.querySelector('#answers dd')?.textContent";
    browser.wait(&format!("{shown} === {}", json!(expected.trim_end_matches('\n'))));
    // The same file is known, and an unknown name is said.
    browser.choose_file("#file", &room.path("story.txt"));
    browser.wait("return document.querySelector('#status').textContent.includes('memorised before')");
    browser.click("#forget");
    browser.wait("return document.querySelector('#model').options.length === 1");
    assert_eq!(browser.run("return document.querySelector('#fault').hidden"), true);
    browser.click("#forget");
    browser.wait("return document.querySelector('#fault').textContent.includes('there is no memory')");
}
