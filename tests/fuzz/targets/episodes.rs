//! Contexts, questions and episodes that people write.

use perk::commands::questions;
use perk::config::BackgroundSource;
use perk::tasks::background::Background;
use perk::tasks::{Context, Split, babi, jsonl};

use super::room::{room_with, texts};
use super::{Form, Target};

pub const TARGETS: [Target; 5] = [
    Target {
        name: "episodes",
        file: "episodes.jsonl",
        form: Form::JsonLines,
        seeds: || {
            texts(&[
                "{\"context\": [\"Mary went to the kitchen.\", \"John ran.\"], \"question\": \"Where is Mary?\", \
                 \"answer\": \"kitchen\", \"support\": [\"Mary went to the kitchen.\"]}\n\
                 {\"context\": \"A b.\", \"qa\": [{\"question\": \"C?\", \"answer\": \"d\", \"support\": \"A b.\"}]}",
            ])
        },
        read: |data| {
            let folder = room_with("episodes", |_| {}, "episodes.jsonl", data);
            jsonl::read(&folder.join("episodes.jsonl")).map(drop)
        },
    },
    Target {
        name: "context",
        file: "context.jsonl",
        form: Form::JsonLines,
        seeds: || texts(&["\"Mary went.\"\n{\"text\": [\"a\", \"b\"], \"id\": 3}\n\n{\"context\": \"c\"}\n"]),
        read: |data| {
            let folder = room_with("context", |_| {}, "context.jsonl", data);
            Context::default().add_file(&folder.join("context.jsonl"), None)
        },
    },
    Target {
        name: "questions",
        file: "questions.jsonl",
        form: Form::JsonLines,
        seeds: || texts(&["{\"question\": \"Where is Mary?\", \"id\": 7}\n\n{\"question\": \"And John?\"}"]),
        read: |data| {
            let folder = room_with("questions", |_| {}, "questions.jsonl", data);
            questions::read(&folder.join("questions.jsonl")).map(drop)
        },
    },
    Target {
        name: "babi",
        file: "qa1_test.txt",
        form: Form::Bytes,
        seeds: || {
            texts(&["1 Mary moved to the bathroom.\n2 John left.\n3 Where is Mary? \tbathroom\t1\n\
                     1 A b.\n2 C?\td\t1\n"])
        },
        read: |data| {
            let folder = room_with("babi", |_| {}, "qa1_test.txt", data);
            babi::read(&folder.join("qa1_test.txt")).map(drop)
        },
    },
    Target {
        name: "background",
        file: "book.txt",
        form: Form::Bytes,
        seeds: || {
            texts(&[
                "THE BOOK\n\nIt was a wet and\nwindy night. Nobody came! \"Who is there?\" asked the host. He \
                     heard\nno answer.\n\nThe end was near.",
            ])
        },
        read: |data| {
            let folder = room_with("background", |_| {}, "book.txt", data);
            let source = BackgroundSource::Path(folder.join("book.txt"));
            Background::open(&source, Split::HeldOut).map(drop)
        },
    },
];
