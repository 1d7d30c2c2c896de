//! Student records: contexts and questions of every kind.

use std::collections::{HashMap, HashSet};

use perk::benchmarks::StudentRecords;
use perk::benchmarks::{Benchmark, Cell, Length, Metric};
use perk::config::{DataConfig, QuestionsAbout, Task};
use perk::tasks::{Episode, Position, Split, open};

use crate::cells::{Sample, ask, count};
use crate::records_reader::{Student, answer};
use crate::{episodes, tokenizer};

fn config(questions_about: QuestionsAbout) -> DataConfig {
    DataConfig { task: Task::StudentRecords, questions_about, context_tokens: 240, ..DataConfig::default() }
}

fn cell(subtask: &str, tokens: usize, position: Position) -> Cell {
    Cell { subtask: subtask.into(), length: Some(Length::Tokens(tokens)), position }
}

fn samples(cell: &Cell, count: u64) -> Vec<Sample> {
    let benchmark = StudentRecords::new(tokenizer(), 3);
    (0..count).map(|i| ask(&benchmark, cell, i).unwrap()).collect()
}

/// Indices of the support in the context.
fn places(episode: &Episode) -> Vec<usize> {
    let place = |s: &String| episode.documents.iter().position(|d| d == s).unwrap();
    episode.qa[0].support.iter().map(place).collect()
}

/// Where the question names the student of a record, by name or by number.
fn named_at(record: &str, question: &str) -> usize {
    let student = Student::read(record);
    question.find(&student.name).or_else(|| question.find(&student.id)).unwrap()
}

#[test]
fn an_independent_reader_finds_every_answer_in_the_records_and_in_the_support_alone() {
    for about in QuestionsAbout::ALL {
        for (multiple, questions, count) in [(1, 1, 200), (4, 3, 100)] {
            let config = DataConfig { questions, ..config(about) };
            for episode in episodes(&config, Split::Train, multiple, 1, count) {
                assert_eq!(episode.qa.len(), questions);
                let different: HashSet<&str> = episode.qa.iter().map(|qa| qa.question.as_str()).collect();
                assert_eq!(different.len(), questions, "{:?}", episode.qa);
                for qa in &episode.qa {
                    assert_eq!(answer(&episode.documents, &qa.question), qa.answer(), "{episode:?}");
                    assert_eq!(answer(&qa.support, &qa.question), qa.answer(), "{qa:?}");
                    if matches!(about, QuestionsAbout::Aggregate | QuestionsAbout::Count) {
                        let in_order = episode.documents.iter().filter(|d| qa.support.contains(d));
                        assert!(in_order.eq(&qa.support), "{qa:?}");
                    } else {
                        assert!(qa.support.iter().map(|record| named_at(record, &qa.question)).is_sorted());
                    }
                }
            }
        }
    }
}

#[test]
fn every_answer_and_every_form_of_question_comes_up_about_equally_often() {
    let answers = |about| -> HashMap<String, usize> {
        let all = episodes(&config(about), Split::Train, 1, 0, 400);
        let mut counts = HashMap::new();
        all.iter().for_each(|e| *counts.entry(e.qa[0].answer().to_owned()).or_default() += 1);
        counts
    };
    let relation = answers(QuestionsAbout::Relation);
    assert!((70..=130).contains(&relation["yes"]) && (70..=130).contains(&relation["no"]));
    let recall = answers(QuestionsAbout::Recall);
    for value in ["freshman", "senior", "Law", "Arts", "Physics", "Statistics"] {
        assert!(recall.contains_key(value), "{value}");
    }
    let first_is_answer = |e: &Episode| {
        let qa = &e.qa[0];
        qa.question.contains("grade").then(|| qa.question.contains(&format!(", {} or ", qa.answer())))
    };
    let compared = episodes(&config(QuestionsAbout::Relation), Split::Train, 1, 0, 400);
    let compared: Vec<bool> = compared.iter().filter_map(first_is_answer).collect();
    let first = compared.iter().filter(|&&first| first).count() as f64 / compared.len() as f64;
    assert!((first - 0.5).abs() < 0.12, "{first}");
}

#[test]
fn the_order_of_records_does_not_tell_the_order_of_a_question() {
    let all = episodes(&config(QuestionsAbout::Sort), Split::Train, 1, 0, 400);
    let same_order = all.iter().filter(|episode| {
        let qa = &episode.qa[0];
        let asked = episode.documents.iter().filter(|record| qa.support.contains(record));
        asked.map(|record| named_at(record, &qa.question)).is_sorted()
    });
    let part = same_order.count() as f64 / 400.0;
    assert!((part - 1.0 / 6.0).abs() < 0.07, "{part}");
}

#[test]
fn ids_and_names_are_unique_even_among_thousands() {
    let config = DataConfig { context_tokens: 70_000, ..config(QuestionsAbout::Recall) };
    let episode = &episodes(&config, Split::HeldOut, 1, 0, 1)[0];
    assert!(episode.documents.len() > 2_800, "{}", episode.documents.len());
    let students: Vec<Student> = episode.documents.iter().map(|d| Student::read(d)).collect();
    let different = |field: &dyn Fn(&Student) -> String| students.iter().map(field).collect::<HashSet<_>>();
    assert_eq!(different(&|s| s.id.clone()).len(), students.len());
    assert_eq!(different(&|s| s.name.clone()).len(), students.len());
    let plain = students.iter().filter(|s| s.name.split(' ').count() == 2).count();
    assert!(plain > 900, "{plain}");
}

#[test]
fn longer_contexts_have_the_same_question_and_more_records() {
    let tokenizer = tokenizer();
    for about in QuestionsAbout::ALL {
        let whole_group = matches!(about, QuestionsAbout::Aggregate | QuestionsAbout::Count);
        let short = episodes(&config(about), Split::HeldOut, 1, 7, 20);
        for multiple in [2, 16] {
            for (a, b) in short.iter().zip(episodes(&config(about), Split::HeldOut, multiple, 7, 20)) {
                assert_eq!(a.qa[0].question, b.qa[0].question);
                assert!(whole_group || a.qa[0].answer() == b.qa[0].answer());
                assert!(a.documents.iter().all(|d| b.documents.contains(d)));
                let support = |e: &Episode| e.qa[0].support.iter().cloned().collect::<HashSet<_>>();
                assert!(support(a).is_subset(&support(&b)));
                assert!(whole_group || support(a) == support(&b));
                let tokens = tokenizer.encode(&b.documents.join("\n")).unwrap().len();
                let target = 240 * multiple;
                assert!(tokens <= target && tokens + 24 > target, "{tokens} of {target}");
            }
        }
    }
}

#[test]
fn there_are_always_two_records_and_all_that_a_question_names() {
    for (about, count) in [(QuestionsAbout::Recall, 2), (QuestionsAbout::Sort, 3)] {
        let config = DataConfig { context_tokens: 1, ..config(about) };
        let all = episodes(&config, Split::Train, 1, 0, 20);
        assert!(all.iter().all(|e| e.documents.len() == count && e.qa[0].support.len() <= count));
    }
    assert_eq!(samples(&cell("recall", 0, Position::Random), 1)[0].documents.len(), 1);
}

#[test]
fn the_records_asked_about_lie_in_the_wanted_third() {
    for subtask in ["recall", "relation", "sort"] {
        for (position, thirds) in
            [(Position::Pre, 0..1), (Position::Mid, 1..2), (Position::Post, 2..3), (Position::Random, 0..3)]
        {
            let mut found = HashSet::new();
            for sample in samples(&cell(subtask, 900, position), 60) {
                let named = |d: &String| {
                    let student = Student::read(d);
                    let id = format!("Student {}", student.id);
                    sample.question.contains(&student.name) || sample.question.contains(&id)
                };
                let total = sample.documents.len();
                for place in (0..total).filter(|&i| named(&sample.documents[i])) {
                    let third = (0..3).find(|t| place < total * (t + 1) / 3).unwrap();
                    assert!(thirds.contains(&third), "{position:?}: {place} of {total}");
                    found.insert(third);
                }
            }
            assert_eq!(found.len(), thirds.len());
        }
    }
}

#[test]
fn the_records_asked_about_lie_anywhere_in_training() {
    let mut quarters = [0; 4];
    for episode in episodes(&config(QuestionsAbout::Recall), Split::Train, 4, 0, 400) {
        quarters[places(&episode)[0] * 4 / episode.documents.len()] += 1;
    }
    assert!(quarters.iter().all(|n| (60..=140).contains(n)), "{quarters:?}");
}

#[test]
fn an_episode_depends_on_seed_and_index_alone_and_splits_share_no_stream() {
    let tokenizer = tokenizer();
    for about in QuestionsAbout::ALL {
        let config = config(about);
        let source = |split, seed| open(&config, &tokenizer, split, 2, seed).unwrap();
        let (a, b) = (source(Split::Train, 1), source(Split::Train, 1));
        let first: Vec<Episode> = (0..10).map(|i| a.episode(i).unwrap()).collect();
        assert!((0..10).rev().all(|i| b.episode(i).unwrap() == first[i as usize]));
        for other in [source(Split::Train, 2), source(Split::HeldOut, 1)] {
            assert_ne!(other.episode(0).unwrap().documents, first[0].documents);
        }
        assert_eq!(a.len(), None);
    }
}

#[test]
fn what_is_known_of_a_name_in_one_context_does_not_hold_in_another() {
    let config = DataConfig { context_tokens: 2_400, ..config(QuestionsAbout::Recall) };
    let mut majors: HashMap<String, HashSet<String>> = HashMap::new();
    for episode in episodes(&config, Split::Train, 1, 0, 200) {
        for student in episode.documents.iter().map(|d| Student::read(d)) {
            majors.entry(student.name).or_default().insert(student.major);
        }
    }
    let met: usize = majors.values().map(HashSet::len).sum();
    assert!(majors.len() > 1_000 && met > 6 * majors.len(), "{met} of {}", majors.len());
}

#[test]
fn a_tiny_base_knows_every_word_and_reads_numbers_back_whole() {
    let tokenizer = tokenizer();
    for about in QuestionsAbout::ALL {
        for episode in episodes(&config(about), Split::HeldOut, 1, 0, 100) {
            let texts = episode.documents.iter().map(String::as_str);
            for text in texts.chain([episode.qa[0].question.as_str(), episode.qa[0].answer()]) {
                assert!(!tokenizer.encode(text).unwrap().contains(&2), "{text}");
            }
            let answer = &episode.qa[0].answer();
            assert_eq!(tokenizer.decode(&tokenizer.encode(answer).unwrap()).unwrap(), *answer);
        }
    }
}

#[test]
fn the_benchmark_asks_the_same_at_every_position_and_its_answers_are_right() {
    let benchmark = StudentRecords::new(tokenizer(), 3);
    assert_eq!(benchmark.subtasks(), ["recall", "relation", "aggregate", "count", "sort"]);
    assert!(benchmark.has_lengths() && benchmark.metric() == Metric::ExactMatch);
    for subtask in benchmark.subtasks() {
        let random = samples(&cell(&subtask, 500, Position::Random), 50);
        for sample in &random {
            assert_eq!(sample.answers, [answer(&sample.documents, &sample.question)]);
        }
        if ["aggregate", "count"].contains(&subtask.as_str()) {
            continue;
        }
        for (a, b) in random.iter().zip(samples(&cell(&subtask, 500, Position::Mid), 50)) {
            assert_eq!((&a.question, &a.answers), (&b.question, &b.answers));
            let (mut a, mut b) = (a.documents.clone(), b.documents);
            a.sort();
            b.sort();
            assert_eq!(a, b);
        }
    }
}

#[test]
fn cells_that_are_not_there_say_why() {
    let benchmark = StudentRecords::new(tokenizer(), 0);
    let random = Position::Random;
    for (cell, expected) in [
        (cell("qa1", 500, random), "no subtask `qa1`: it has recall, relation"),
        (Cell { length: None, ..cell("recall", 0, random) }, "a length is needed"),
        (
            Cell { length: Some(Length::Multiple(4)), ..cell("recall", 0, random) },
            "length 4x is not possible",
        ),
        (cell("count", 500, Position::Pre), "position pre is not possible"),
        (cell("aggregate", 500, Position::Post), "position post is not possible"),
    ] {
        let error = ask(&benchmark, &cell, 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(count(&benchmark, &cell).unwrap_err().to_string(), error);
    }
    assert_eq!(count(&benchmark, &cell("sort", 500, random)).unwrap(), None);
    let error = ask(&benchmark, &cell("recall", 1_000_000, random), 0).unwrap_err().to_string();
    assert!(error.contains("8000 student records") && error.contains("shorter"), "{error}");
}
