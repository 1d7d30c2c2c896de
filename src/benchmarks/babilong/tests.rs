use std::path::Path;

use super::*;
use crate::benchmarks::Length;
use crate::cells::{ask, count};
use crate::parquet_rows::tests::write_parquet;
use crate::text::word_level;

const BABI: &str = "1 Mary moved to the hall.\n2 John took the milk.\n3 Mary left the milk.\n\
                    4 Where is Mary? \thallway\t1\n1 Sandra ran.\n2 Where is Sandra?\tgarden\t1\n";

/// One word, one token.
fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    word_level::save(folder.path(), ["unknown words are one token each"]).unwrap();
    Tokenizer::from_folder(folder.path(), None).unwrap()
}

fn cell(subtask: &str, length: Option<Length>, position: Position) -> Cell {
    Cell { subtask: subtask.into(), length, position }
}

fn at(subtask: &str, tokens: usize) -> Cell {
    cell(subtask, Some(Length::Tokens(tokens)), Position::Random)
}

fn open(source: BabilongSource, background: &BackgroundSource, event_prefix: bool) -> Result<Babilong> {
    Babilong::open(source, &tokenizer(), background, 3, event_prefix)
}

fn babi(background: &BackgroundSource, event_prefix: bool) -> Babilong {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qa1_single_test.txt");
    std::fs::write(path, BABI).unwrap();
    let benchmark = open(BabilongSource::Babi(folder.path().to_owned()), background, event_prefix).unwrap();
    // Read now, since the folder goes.
    assert_eq!(count(&benchmark, &at("qa1", 0)).unwrap(), Some(2));
    benchmark
}

fn rows(folder: &Path) -> Result<Babilong> {
    let hub = HubSettings { offline: true, ..HubSettings::default() };
    let place = folder.to_str().unwrap().to_owned();
    open(BabilongSource::Rows { place, hub }, &BackgroundSource::None, false)
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn the_same_index_asks_about_the_same_facts_at_every_length_and_position() {
    let benchmark = babi(&BackgroundSource::BuiltIn, false);
    let facts = ["Mary moved to the hall.", "John took the milk.", "Mary left the milk."];
    let alone = ask(&benchmark, &at("qa1", 0), 0).unwrap();
    assert_eq!(alone.documents, [facts.join(" ")]);
    assert_eq!((alone.name.as_str(), alone.question.as_str()), ("qa1 #0", "Where is Mary?"));
    assert_eq!(alone.answers, ["hallway"]);
    for tokens in [100, 400] {
        for position in Position::ALL {
            let cell = cell("qa1", Some(Length::Tokens(tokens)), position);
            let sample = ask(&benchmark, &cell, 0).unwrap();
            assert_eq!(sample, ask(&benchmark, &cell, 0).unwrap());
            assert_eq!((&sample.question, &sample.answers), (&alone.question, &alone.answers));
            let context = &sample.documents[0];
            let places = facts.map(|fact| context.find(fact).unwrap());
            assert!(places.is_sorted(), "{context}");
            let count = tokenizer().encode(&format!(" {context}")).unwrap().len();
            assert!(count <= tokens && count + 15 > tokens, "{count} of {tokens}");
            let last = (places[2] + facts[2].len()) as f64 / context.len() as f64;
            match position {
                Position::Pre => assert!(last < 0.45, "{context}"),
                Position::Post => assert!(places[0] * 2 > context.len(), "{context}"),
                Position::Mid | Position::Random => {}
            }
        }
    }
}

#[test]
fn events_are_numbered_by_who_they_are_about() {
    let benchmark = babi(&BackgroundSource::BuiltIn, true);
    let context = &ask(&benchmark, &at("qa1", 0), 0).unwrap().documents[0];
    assert!(context.contains("Mary Event 1: Mary left the milk."), "{context}");
}

#[test]
fn cells_that_are_not_possible_are_refused_with_a_reason() {
    let benchmark = babi(&BackgroundSource::None, false);
    let message = |cell: Cell, index| ask(&benchmark, &cell, index).unwrap_err().to_string();
    assert!(message(at("qa2", 0), 0).contains("no subtask `qa2`: it has qa1"));
    assert!(message(at("qa1", 0), 2).contains("no episode 2 (from 0) among 2"));
    assert!(message(cell("qa1", Some(Length::Multiple(4)), Position::Pre), 0).contains("length 4x"));
    assert!(message(cell("qa1", None, Position::Pre), 0).contains("a length is needed"));
    assert!(message(at("qa1", 100), 0).contains("no background to fill 100 tokens"));
    assert!(count(&benchmark, &at("qa2", 0)).is_err());
}

#[test]
fn a_length_that_no_book_fills_names_the_book_and_the_length() {
    let folder = tempfile::tempdir().unwrap();
    let book = folder.path().join("short.txt");
    let sentence = "Once upon a time there was a fox who lived in the woods near here";
    std::fs::write(&book, (0..300).map(|i| format!("{sentence}, year {i}. ")).collect::<String>()).unwrap();
    let benchmark = babi(&BackgroundSource::Path(book), false);
    assert!(ask(&benchmark, &at("qa1", 100), 0).is_ok());
    let error = ask(&benchmark, &at("qa1", 4_000), 0).unwrap_err().to_string();
    assert!(error.contains("short.txt") && error.contains("4000 tokens"), "{error}");
}

#[test]
fn short_sentences_of_books_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let book = folder.path().join("book.txt");
    let line =
        |i| format!("He ran off again {i}. Number {i} was a long and winding road through the dark woods. ");
    std::fs::write(&book, (0..400).map(line).collect::<String>()).unwrap();
    let benchmark = babi(&BackgroundSource::Path(book), false);
    let context = &ask(&benchmark, &at("qa1", 150), 0).unwrap().documents[0];
    assert!(context.contains("winding") && !context.contains("ran off"), "{context}");
}

/// Stories that never end.
struct Endless;

impl Stories for Endless {
    fn subtasks(&self) -> Vec<String> {
        vec!["qa1".into()]
    }

    fn count(&self, _: &str) -> Result<Option<usize>> {
        Ok(None)
    }

    fn story(&self, subtask: &str, index: usize) -> Result<StoryQuestion> {
        let facts = vec![format!("{subtask} fact {index}.")];
        Ok(StoryQuestion { facts, question: "Which?".into(), answer: index.to_string(), support: vec![0] })
    }
}

#[test]
fn stories_told_by_anything_are_hidden_alike() {
    let stories = BabilongSource::Stories(Box::new(Endless));
    let benchmark = open(stories, &BackgroundSource::BuiltIn, false).unwrap();
    assert_eq!(count(&benchmark, &at("qa1", 100)).unwrap(), None);
    let sample = ask(&benchmark, &at("qa1", 100), 1_000_000).unwrap();
    assert!(sample.documents[0].contains("qa1 fact 1000000.") && sample.answers == ["1000000"]);
}

const ROWS: &str = "[{\"input\": \"A. B.\", \"question\": \"Q?\", \"target\": \"kitchen\"}, \
                    {\"target\": \"garden\\n\", \"question\": \"R?\", \"input\": \"C.\", \"extra\": 1}]";

#[test]
fn official_rows_are_read_from_every_layout_and_form() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "data/qa1/0k.json", ROWS);
    write(folder.path(), "qa1/4k.jsonl", &ROWS[1..ROWS.len() - 1].replace("}, ", "}\n"));
    write(folder.path(), "1M/qa2.json", ROWS);
    let columns: [(&str, &[&str]); 3] =
        [("input", &["A. B.", "C."]), ("question", &["Q?", "R?"]), ("target", &["maybe", " no\n"])];
    std::fs::create_dir(folder.path().join("16k")).unwrap();
    write_parquet(&folder.path().join("16k/qa10-00000-of-00001.parquet"), &columns);
    let benchmark = rows(folder.path()).unwrap();
    assert_eq!(benchmark.subtasks(), ["qa1", "qa2", "qa10"]);
    assert_eq!((benchmark.name(), benchmark.metric()), ("babilong", Metric::Babilong));
    // More cells than are kept, and over again.
    for (subtask, tokens, answer) in [
        ("qa1", 0, "garden"),
        ("qa1", 4_000, "garden"),
        ("qa2", 1_000_000, "garden"),
        ("qa10", 16_000, "no"),
        ("qa1", 0, "garden"),
    ] {
        let cell = at(subtask, tokens);
        assert_eq!(count(&benchmark, &cell).unwrap(), Some(2));
        let sample = ask(&benchmark, &cell, 1).unwrap();
        assert_eq!((sample.documents, sample.answers), (vec!["C.".to_owned()], vec![answer.to_owned()]));
        assert_eq!((sample.name, sample.question), (format!("{subtask} #1"), "R?".to_owned()));
    }
}

#[test]
fn rows_that_are_not_there_are_named_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    assert!(rows(folder.path()).err().unwrap().to_string().contains("no file of BABILong's rows"));
    write(folder.path(), "qa1/0k.json", ROWS);
    write(folder.path(), "qa1/4k.json", ROWS);
    let benchmark = rows(folder.path()).unwrap();
    let message = |cell: Cell, index| ask(&benchmark, &cell, index).unwrap_err().to_string();
    assert!(message(at("qa3", 0), 0).contains("no subtask `qa3`: it has qa1"));
    assert!(message(at("qa1", 8_000), 0).contains("no rows of qa1 at length 8k: it has 0k, 4k"));
    assert!(message(at("qa1", 0), 2).contains("no episode 2"));
    assert!(message(cell("qa1", Some(Length::Tokens(0)), Position::Pre), 0).contains("position pre"));
    assert!(message(cell("qa1", None, Position::Random), 0).contains("length is needed"));
}

#[test]
fn malformed_rows_are_named_with_file_row_and_field() {
    let folder = tempfile::tempdir().unwrap();
    for (index, (text, reason)) in [
        ("[{\"input\": \"A.\", \"question\": \"Q?\"}]", "row 1: no `target`"),
        ("[{\"input\": 3, \"question\": \"Q?\", \"target\": \"a\"}]", "row 1: `input` is not a string"),
        ("{\"input\": \"A.\", \"question\": \"\", \"target\": \"a\"}", "row 1: `question` is empty"),
        ("[", "not a JSON array"),
        (
            "[{\"input\": \"A.\", \"question\": \"Q?\", \"target\": \"hall\"}]",
            "row 1: `target`: `hall` is no answer of qa1, whose answers are bathroom",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        write(folder.path(), &format!("qa1/{index}k.json"), text);
        let benchmark = rows(folder.path()).unwrap();
        let error = count(&benchmark, &at("qa1", 1_000 * index)).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains(&format!("{index}k.json")), "{error}");
    }
}

#[test]
fn all_official_babi_files_are_hidden_in_real_books() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let (files, books) = (shared.join("babi/official_v1.2"), shared.join("books"));
    if !files.is_dir() || !books.is_dir() {
        println!("skipped: {} or {} is missing", files.display(), books.display());
        return;
    }
    let benchmark = open(BabilongSource::Babi(files), &BackgroundSource::Path(books), false).unwrap();
    let subtasks = benchmark.subtasks();
    assert_eq!(subtasks, (1..=20).map(|i| format!("qa{i}")).collect::<Vec<_>>());
    for subtask in subtasks {
        assert_eq!(count(&benchmark, &at(&subtask, 2_000)).unwrap(), Some(1_000));
        let alone = ask(&benchmark, &at(&subtask, 0), 999).unwrap();
        let facts = tokenizer().encode(&alone.documents[0]).unwrap().len();
        let context = &ask(&benchmark, &at(&subtask, 2_000), 999).unwrap().documents[0];
        let tokens = tokenizer().encode(context).unwrap().len();
        assert!((1_900..=2_000.max(facts)).contains(&tokens), "{subtask}: {tokens} tokens, {facts} of facts");
    }
}
