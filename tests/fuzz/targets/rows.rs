//! Rows of benchmarks, in JSON and in Parquet.

use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use perk::benchmarks::{ApiRetrieval, Babilong, BabilongSource, Benchmark, Cell, Files, Length, MultiDoc};
use perk::config::BackgroundSource;
use perk::model::HubSettings;
use perk::tasks::Position;
use serde_json::{Value, json};

use super::room::{room_with, texts, tokenizer};
use super::{Form, Target};

/// So many episodes are made of what was read.
const EPISODES: u64 = 3;

pub const TARGETS: [Target; 7] = [
    Target {
        name: "babilong-rows",
        file: "qa1/4k.json",
        form: Form::Json,
        seeds: || {
            texts(&[
                r#"[{"input": "Mary ran to the garden.", "question": "Where is Mary?", "target": "garden"},
                {"input": "John left the kitchen.", "question": "Where was John?", "target": "kitchen"}]"#,
            ])
        },
        read: |data| babilong(&room_with("babilong-rows", |_| {}, "qa1/4k.json", data)),
    },
    Target {
        name: "parquet-snappy",
        file: "4k/qa1.parquet",
        form: Form::Parquet,
        seeds: || vec![parquet_file(Compression::SNAPPY), parquet_file(Compression::UNCOMPRESSED)],
        read: |data| babilong(&room_with("parquet-snappy", |_| {}, "4k/qa1.parquet", data)),
    },
    Target {
        name: "parquet-zstd",
        file: "4k/qa1.parquet",
        form: Form::Parquet,
        seeds: || vec![parquet_file(Compression::ZSTD(Default::default()))],
        read: |data| babilong(&room_with("parquet-zstd", |_| {}, "4k/qa1.parquet", data)),
    },
    Target {
        name: "hotpotqa",
        file: "hotpot.json",
        form: Form::Json,
        seeds: || {
            texts(&[
                r#"[{"_id": "x", "question": "Where?", "answer": "there", "context": [["A", ["One.", " Two."]],
                ["B", ["Three."]]], "supporting_facts": [["A", 0], ["B", 0]]}]"#,
                r#"{"question": "Where?", "answer": "there", "context": {"title": ["A"], "sentences": [["One."]]},
                "supporting_facts": {"title": ["A"], "sent_id": [0]}}"#,
            ])
        },
        read: |data| {
            let path = room_with("hotpotqa", |_| {}, "hotpot.json", data).join("hotpot.json");
            ask(&MultiDoc::hotpotqa(&path, &tokenizer(), 1)?, None)
        },
    },
    Target {
        name: "triviaqa",
        file: "trivia.json",
        form: Form::Json,
        seeds: || {
            texts(&[
                r#"{"Data": [{"Question": "Where?", "Answer": {"Value": "there", "Aliases": ["there", "here"]},
                "EntityPages": [{"Title": "A", "Filename": "A.txt"}], "SearchResults": []}]}"#,
                r#"[{"question": "Where?", "answer": {"value": "there", "aliases": []}, "entity_pages":
                {"title": ["A"], "wiki_context": ["Some text."]}, "search_results": null}]"#,
            ])
        },
        read: |data| {
            let folder = room_with("triviaqa", |_| {}, "trivia.json", data);
            // Which evidence is missing shows when it is read.
            let evidence = folder.join("evidence");
            MultiDoc::triviaqa(&folder.join("trivia.json"), Some(&evidence), &tokenizer(), 1).map(drop)
        },
    },
    Target {
        name: "api-retrieval",
        file: "hub_eval.jsonl",
        form: Form::JsonLines,
        seeds: || {
            let row = |call: &str, more: Value| {
                let code = format!("###Instruction: Do {call}.\n###Output: {call}");
                let mut data = json!({"domain": "Sound", "api_name": "f", "api_call": call});
                data.as_object_mut()
                    .expect("this is an object")
                    .extend(more.as_object().cloned().unwrap_or_default());
                json!({"code": code, "api_call": call, "api_data": data}).to_string()
            };
            let first =
                row("f(x)", json!({"api_arguments": ["x"], "performance": {"set": "A", "top": {"1": 7}}}));
            let second = row("g(x)", json!({"example_code": ["a = 1", "g(a)"], "description": "Good."}));
            texts(&[&format!("{first}\n{second}\n")])
        },
        read: |data| {
            let path = room_with("api-retrieval", |_| {}, "hub_eval.jsonl", data).join("hub_eval.jsonl");
            ask(&ApiRetrieval::open(&[path], tokenizer(), 1)?, Some(Length::Tokens(4)))
        },
    },
    Target {
        name: "files",
        file: "mine.jsonl",
        form: Form::JsonLines,
        seeds: || texts(&["{\"context\": \"A b.\", \"question\": \"C?\", \"answer\": \"d\"}\n"]),
        read: |data| {
            let path = room_with("files", |_| {}, "mine.jsonl", data).join("mine.jsonl");
            ask(&Files::open(&[path])?, None)
        },
    },
];

fn babilong(folder: &Path) -> perk::Result<()> {
    let source =
        BabilongSource::Rows { place: folder.to_string_lossy().into_owned(), hub: HubSettings::default() };
    let benchmark = Babilong::open(source, &tokenizer(), &BackgroundSource::None, 0, false)?;
    ask(&benchmark, Some(Length::Tokens(4_000)))
}

/// Makes the first episodes of every subtask.
fn ask(benchmark: &dyn Benchmark, length: Option<Length>) -> perk::Result<()> {
    for subtask in benchmark.subtasks() {
        let cell = Cell { subtask, length, position: Position::Random };
        let episodes = benchmark.open(&cell)?;
        for index in 0..episodes.len().unwrap_or(0).min(EPISODES) {
            episodes.episode(index)?;
        }
    }
    Ok(())
}

/// BABILong's columns.
fn parquet_file(compression: Compression) -> Vec<u8> {
    let schema = "message rows { REQUIRED BYTE_ARRAY input (UTF8); REQUIRED BYTE_ARRAY question (UTF8); \
                  REQUIRED BYTE_ARRAY target (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).expect("the schema is valid"));
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let mut bytes = Vec::new();
    let mut write = || -> parquet::errors::Result<()> {
        let mut writer = SerializedFileWriter::new(&mut bytes, schema.clone(), properties.clone())?;
        let mut group = writer.next_row_group()?;
        for texts in [
            ["Mary ran to the garden.", "John is in the kitchen."],
            ["Where is Mary?", "Where is John?"],
            ["garden", "kitchen"],
        ] {
            let texts = texts.map(ByteArray::from);
            if let Some(mut column) = group.next_column()? {
                column.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
                column.close()?;
            }
        }
        group.close()?;
        writer.close().map(drop)
    };
    write().expect("a file can be written to memory");
    bytes
}
