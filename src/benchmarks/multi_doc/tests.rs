use serde_json::{Value, json};

use super::*;
use crate::benchmarks::Length;
use crate::cells::{ask, count};
use crate::text::word_level;

/// One word, one token.
fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    word_level::save(folder.path(), ["unknown words are one token each"]).unwrap();
    Tokenizer::from_folder(folder.path(), None).unwrap()
}

/// A question of four documents, of which the second and the last support the answer.
fn hotpot_row(number: usize) -> Value {
    let paragraph = |letter| json!([format!("{letter}{number}"), [format!("{letter} one."), " Two.", ""]]);
    json!({
        "_id": "x", "question": format!("Question {number}?"), "answer": format!("answer {number}"),
        "context": (["A", "B", "C", "D"].map(paragraph)),
        "supporting_facts": [[format!("B{number}"), 0], [format!("D{number}"), 7], [format!("B{number}"), 1]],
    })
}

fn file(rows: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(file.path(), rows.to_string()).unwrap();
    file
}

fn hotpot(rows: Value) -> Result<MultiDoc> {
    MultiDoc::hotpotqa(file(&rows).path(), &tokenizer(), 1)
}

fn trivia(rows: Value, evidence: Option<&Path>) -> Result<MultiDoc> {
    MultiDoc::triviaqa(file(&rows).path(), evidence, &tokenizer(), 1)
}

fn cell(subtask: &str, tokens: Option<usize>, position: Position) -> Cell {
    Cell { subtask: subtask.into(), length: tokens.map(Length::Tokens), position }
}

fn titles(benchmark: &MultiDoc, tokens: Option<usize>, position: Position) -> Vec<String> {
    let sample = ask(benchmark, &cell(benchmark.name, tokens, position), 0).unwrap();
    sample.documents.iter().map(|d| d.split_once('\n').unwrap().0.to_owned()).collect()
}

#[test]
fn without_a_length_the_documents_are_the_questions_own_and_supporting_ones_go_where_wanted() {
    let benchmark = hotpot(json!([hotpot_row(0), hotpot_row(1)])).unwrap();
    let random = cell("hotpotqa", None, Position::Random);
    assert_eq!(count(&benchmark, &random).unwrap(), Some(2));
    let sample = ask(&benchmark, &random, 0).unwrap();
    assert_eq!(sample.documents[0], "A0\nA one. Two.");
    assert_eq!((sample.question.as_str(), sample.answers), ("Question 0?", vec!["answer 0".to_owned()]));
    assert!(sample.name.ends_with(".json:1"), "{}", sample.name);
    for (position, expected) in [
        (Position::Random, ["A0", "B0", "C0", "D0"]),
        (Position::Pre, ["B0", "D0", "A0", "C0"]),
        (Position::Mid, ["A0", "B0", "D0", "C0"]),
        (Position::Post, ["A0", "C0", "B0", "D0"]),
    ] {
        assert_eq!(titles(&benchmark, None, position), expected, "{position:?}");
    }
    assert_eq!((benchmark.subtasks(), benchmark.metric()), (vec!["hotpotqa".to_owned()], Metric::Substring));
}

#[test]
fn with_a_length_documents_of_other_questions_fill_the_context() {
    let rows: Vec<Value> = (0..20).map(hotpot_row).collect();
    let benchmark = hotpot(json!(rows)).unwrap();
    // Eight tokens a document, of which a digit is one: A, 0 and A, one, ., Two, . are seven or eight.
    assert_eq!(titles(&benchmark, Some(0), Position::Random), ["B0", "D0"]);
    let all = titles(&benchmark, Some(200), Position::Pre);
    assert_eq!(all[..2], ["B0", "D0"]);
    assert!(all.len() > 15 && all.contains(&"A0".to_owned()) && all.contains(&"C0".to_owned()), "{all:?}");
    let set = |position| titles(&benchmark, Some(200), position).into_iter().collect::<HashSet<_>>();
    for position in Position::ALL {
        let sample = ask(&benchmark, &cell("hotpotqa", Some(200), position), 0).unwrap();
        let count = |text: &String| tokenizer().encode(&format!("\n{text}")).unwrap().len();
        let tokens: usize = sample.documents.iter().map(count).sum();
        assert!((190..=200).contains(&tokens), "{tokens}");
        assert_eq!(set(position).len(), all.len(), "no document twice");
        assert_eq!(set(position), all.iter().cloned().collect(), "{position:?}");
    }
    let places = |position| {
        let titles = titles(&benchmark, Some(200), position);
        ["B0", "D0"].map(|title| titles.iter().position(|t| t == title).unwrap())
    };
    assert_eq!(places(Position::Post), [all.len() - 2, all.len() - 1]);
    assert_eq!(places(Position::Mid)[0], (all.len() - 2) / 2);
    assert!(places(Position::Random).is_sorted());
}

#[test]
fn the_hubs_form_of_columns_is_the_same_question() {
    let mut row = hotpot_row(0);
    row["context"] = json!({
        "title": ["A0", "B0", "C0", "D0"],
        "sentences": (["A", "B", "C", "D"].map(|letter| [format!("{letter} one."), " Two.".to_owned()])),
    });
    row["supporting_facts"] = json!({"title": ["B0", "D0"], "sent_id": [0, 7]});
    let benchmark = hotpot(json!([row])).unwrap();
    assert_eq!(benchmark.questions, hotpot(json!([hotpot_row(0)])).unwrap().questions);
}

#[test]
fn the_facts_are_the_supporting_sentences_in_their_order_where_every_number_is_one() {
    let mut row = hotpot_row(0);
    row["supporting_facts"] = json!([["D0", 1], ["B0", 0]]);
    let support = |row: Value| {
        let benchmark = hotpot(json!([row])).unwrap();
        ask(&benchmark, &cell("hotpotqa", None, Position::Random), 0).unwrap().support
    };
    assert_eq!(support(row), ["Two.", "B one."]);
    assert!(support(hotpot_row(0)).is_empty(), "the document D0 has no sentence 7");
}

#[test]
fn cells_that_are_not_possible_are_refused_with_a_reason() {
    let benchmark = hotpot(json!([hotpot_row(0)])).unwrap();
    let message = |cell: Cell, index| ask(&benchmark, &cell, index).unwrap_err().to_string();
    assert!(message(cell("qa1", None, Position::Pre), 0).contains("no subtask `qa1`: it has hotpotqa"));
    assert!(message(cell("hotpotqa", None, Position::Pre), 1).contains("no episode 1 (from 0) among 1"));
    let multiple = Cell { length: Some(Length::Multiple(2)), ..cell("hotpotqa", None, Position::Pre) };
    assert!(message(multiple, 0).contains("length 2x is not possible"));
    let error = message(cell("hotpotqa", Some(5_000), Position::Pre), 0);
    assert!(error.contains(".json") && error.contains("do not fill a context of 5000 tokens"), "{error}");
}

#[test]
fn malformed_rows_of_hotpotqa_are_named_with_row_and_field() {
    let with = |field: &str, value: Value| {
        let mut row = hotpot_row(1);
        row[field] = value;
        row
    };
    for (row, reason) in [
        (json!({"question": "Q?", "answer": "a"}), "no `supporting_facts`"),
        (with("question", json!("")), "`question` is empty"),
        (with("answer", json!(3)), "`answer` is not a string"),
        (with("context", json!("text")), "`context` is not a list"),
        (with("context", json!([["B1"]])), "not a pair of title and sentences"),
        (with("context", json!([["B1", "text"]])), "`context.sentences` is not a list"),
        (with("context", json!([["B1", [3]]])), "`context.sentences` is not a list of strings"),
        (with("context", json!({"title": ["B1"]})), "`context` has no `sentences`"),
        (with("context", json!({"title": ["B1"], "sentences": []})), "1 of `title` and 0 of `sentences`"),
    ] {
        let error = hotpot(json!([hotpot_row(0), row])).err().unwrap().to_string();
        assert!(error.contains(".json: row 2: ") && error.contains(reason), "{error}");
    }
}

#[test]
fn rows_that_cannot_be_asked_are_counted_and_named_and_the_rest_is_asked() {
    let with = |field: &str, value: Value| {
        let mut row = hotpot_row(1);
        row[field] = value;
        row
    };
    let others = [
        with("answer", json!("<unk>")),
        with("context", json!([])),
        with("supporting_facts", json!([["E", 0], ["B1", 0]])),
        json!({"question": "Q?", "context": []}),
        with("supporting_facts", json!([])),
    ];
    let rows: Vec<Value> = others.iter().cloned().chain([with("answer", json!(" yes\n"))]).collect();
    let benchmark = hotpot(json!(rows)).unwrap();
    let cell = cell("hotpotqa", None, Position::Random);
    assert_eq!(count(&benchmark, &cell).unwrap(), Some(1));
    let sample = ask(&benchmark, &cell, 0).unwrap();
    assert!(sample.name.ends_with(":6") && sample.answers == ["yes"], "{sample:?}");
    let notes = benchmark.notes().join("\n");
    for note in [
        "2 of 6 rows are not asked, for they have no answer, as in a test set: rows 1, 4",
        "1 of 6 rows are not asked, for their context has no document: row 2",
        "for a document that supports their answer is not in their context: row 3",
        "for their supporting facts are not given: row 5",
    ] {
        assert!(notes.contains(note), "{note} is missing: {notes}");
    }
    let message = hotpot(json!(others)).err().unwrap().to_string();
    assert!(message.contains(".json: ") && message.contains("no answer"), "{message}");
}

#[test]
fn of_triviaqa_withheld_answers_are_left_out_and_blank_titles_texts_and_aliases_are_not() {
    let with = |field: &str, value: Value| {
        let mut row = trivia_row();
        row[field] = value;
        row
    };
    let rows = json!([
        with("answer", json!({"value": "<unk>", "aliases": []})),
        with("entity_pages", json!({"title": [""], "wiki_context": ["Page text."]})),
        with("search_results", json!([{"title": "S", "search_context": null}])),
        with("answer", json!({"value": " Ann ", "aliases": ["", "Ann", " Anna"]})),
        json!({"question": "Who?", "answer": {"value": "Ann"}, "entity_pages": []}),
    ]);
    let benchmark = trivia(rows, None).unwrap();
    let sample = |index| ask(&benchmark, &cell("triviaqa", None, Position::Random), index).unwrap();
    assert_eq!(sample(0).documents, ["Page text.", "S\nFound."]);
    assert_eq!(sample(1).documents, ["P\nPage text."]);
    assert_eq!(
        (sample(2).answers, sample(2).name.ends_with(":4")),
        (vec!["Ann".to_owned(), "Anna".into()], true)
    );
    let notes = benchmark.notes().join("\n");
    assert!(notes.contains("no answer, as in a test set: row 1"), "{notes}");
    assert!(notes.contains("no document in `entity_pages` and `search_results`: row 5"), "{notes}");
}

fn trivia_row() -> Value {
    json!({
        "question": "Who?", "answer": {"value": "Ann", "aliases": ["Ann", "Anna"], "type": "x"},
        "entity_pages": {"title": ["P"], "filename": ["P.txt"], "wiki_context": ["Page text.\n"]},
        "search_results": [{"title": "S", "search_context": "Found."}, {"title": "T", "search_context": ""}],
    })
}

#[test]
fn triviaqa_rows_hold_their_texts_and_answers_have_aliases() {
    let benchmark = trivia(json!([trivia_row()]), None).unwrap();
    let sample = ask(&benchmark, &cell("triviaqa", None, Position::Random), 0).unwrap();
    assert_eq!(sample.documents, ["P\nPage text.", "S\nFound."]);
    assert_eq!((sample.question.as_str(), sample.answers), ("Who?", vec!["Ann".to_owned(), "Anna".into()]));
}

#[test]
fn official_triviaqa_takes_its_texts_from_the_evidence_folder() {
    let evidence = tempfile::tempdir().unwrap();
    for (folder, name, text) in
        [("wikipedia", "Ann.txt", "\u{feff}Ann was.\n"), ("web", "1/2.txt", "Web text.")]
    {
        let path = evidence.path().join(folder).join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let row = |page: &str| {
        json!({
            "Question": "Who?", "QuestionId": "q", "Answer": {"Value": "Ann", "Aliases": ["Anna"]},
            "EntityPages": [{"Title": "Ann", "Filename": page, "DocSource": "TagMe"}],
            "SearchResults": [{"Title": "Web", "Filename": "1/2.txt", "Url": "u"}],
        })
    };
    let rows = json!({"Version": 1.0, "Data": [row("Ann.txt"), row("gone.txt")]});
    let benchmark = trivia(rows.clone(), Some(evidence.path())).unwrap();
    let random = cell("triviaqa", None, Position::Random);
    assert_eq!(ask(&benchmark, &random, 0).unwrap().documents, ["Ann\nAnn was.", "Web\nWeb text."]);
    let error = ask(&benchmark, &random, 1).unwrap_err().to_string();
    assert!(error.contains("wikipedia/gone.txt"), "{error}");
    let error = trivia(rows, None).err().unwrap().to_string();
    assert!(
        error.contains("row 1: entity_pages[0]: the text is in a file of the evidence folder"),
        "{error}"
    );
    let outside = trivia(json!({"Data": [row("../../x")]}), Some(evidence.path())).err().unwrap().to_string();
    assert!(outside.contains("leads out of"), "{outside}");
}

#[test]
fn malformed_rows_of_triviaqa_are_named_with_row_and_field() {
    let with = |field: &str, value: Value| {
        let mut row = trivia_row();
        row[field] = value;
        row
    };
    for (row, reason) in [
        (with("answer", json!("Ann")), "`answer` is not an object"),
        (with("answer", json!({"value": 3})), "`value` is not a string"),
        (with("answer", json!({"value": "Ann", "aliases": [3]})), "not a list of strings"),
        (with("answer", json!({"value": "Ann", "aliases": "Anna"})), "`answer.aliases` is not a list"),
        (with("question", json!(null)), "`question` is not a string"),
        (with("entity_pages", json!(["P"])), "`entity_pages` has an entry that is not an object"),
        (with("entity_pages", json!("P")), "`entity_pages` is not a list"),
        (with("search_results", json!([{"search_context": "t"}])), "search_results[0]: no `title`"),
        (with("search_results", json!([{"title": "S"}])), "neither `search_context` nor `filename`"),
        (with("entity_pages", json!({"title": ["P"], "wiki_context": []})), "has 0 entries, others 1"),
    ] {
        let error = trivia(json!([trivia_row(), row]), None).err().unwrap().to_string();
        assert!(error.contains(".json: row 2: ") && error.contains(reason), "{error}");
    }
}

/// What holds of the real data that is not part of this repository.
mod shared_data {
    use super::*;
    use crate::shared_folder::shared;

    #[test]
    #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
    fn a_hundred_real_questions_of_hotpotqa_are_read_and_lengthened() {
        let path = shared("qa/hotpotqa/train_100.json");
        let benchmark = MultiDoc::hotpotqa(&path, &tokenizer(), 1).unwrap();
        let cell = |tokens| cell("hotpotqa", tokens, Position::Mid);
        assert_eq!(count(&benchmark, &cell(None)).unwrap(), Some(100));
        let own = ask(&benchmark, &cell(None), 0).unwrap();
        assert_eq!((own.question.as_str(), own.documents.len()), ("If Gallu is a demon Lilu is what?", 10));
        let long = ask(&benchmark, &cell(Some(8_000)), 0).unwrap();
        let tokens = tokenizer().encode(&long.documents.join("\n")).unwrap().len();
        assert!((7_900..=8_000).contains(&tokens), "{tokens}");
        assert!(own.documents.iter().all(|document| long.documents.contains(document)));
    }
}
