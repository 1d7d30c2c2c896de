//! What programs read.

use serde_json::Value;

use super::room::{Room, STORY, printed};

#[test]
fn every_command_with_a_result_has_it_as_json() {
    let room = Room::new();
    let json = |arguments: &[&str]| -> Value {
        let text = printed(room.perk(arguments).output().unwrap());
        serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{arguments:?}: {fault}: {text}"))
    };
    let small = [
        "meta-train",
        "--json",
        "--config",
        "c.toml",
        "--set",
        "eval.multiples=[1]",
        "--set",
        "eval.episodes=1",
    ];
    let plan = json(&[&small[..], &["--dry-run"]].concat());
    assert_eq!(plan["config"]["inner"]["steps"], 2);
    let trained: u64 =
        plan["trained_parameters"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    let done = json(&small);
    assert_eq!((&done["dir"], &done["result"]), (&"runs/tiny".into(), &room.json("runs/tiny/result.json")));
    assert_eq!(done["result"]["trainable_parameters"], trained);
    std::fs::write(room.path("story.txt"), STORY).unwrap();
    let encode = ["encode", "--json", "--context", "story.txt", "--out", "adapters/one"];
    let encoded = json(&encode);
    assert_eq!(
        (&encoded["reused"], &encoded["record"]),
        (&false.into(), &room.json("adapters/one/perk.json"))
    );
    assert_eq!(json(&encode)["reused"], true);
    let listed = json(&["adapters", "list", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[0]["record"]), (&"one".into(), &encoded["record"]));
    assert_eq!(json(&["adapters", "verify", "--json"])[0]["ok"], true);
    let exported = json(&["export", "--json", "--adapter", "one", "--out", "peft", "--verify"]);
    assert_eq!((&exported["out"], &exported["verified"]["holds"]), (&"peft".into(), &true.into()));
}

#[test]
fn a_damaged_adapter_is_in_the_json_and_ends_a_check_with_1() {
    let room = Room::trained();
    room.prints(&["encode", "--context", "story.txt", "--out", "adapters/one"]);
    std::fs::write(room.path("adapters/one/adapter_model.safetensors"), "x").unwrap();
    let output = room.perk(&["adapters", "verify", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &found[0]["ok"]), (Some(1), &false.into()));
    assert!(found[0]["fault"].as_str().unwrap().contains("adapter_model.safetensors"), "{found}");
    std::fs::write(room.path("adapters/one/perk.json"), "{").unwrap();
    let listed: Value = serde_json::from_str(&room.prints(&["adapters", "list", "--json"])).unwrap();
    assert!(listed[0]["fault"].as_str().unwrap().contains("perk.json"), "{listed}");
}
