//! Every task keeps to its length, can be solved from its documents, and asks in RULER's words.

use std::collections::{BTreeMap, BTreeSet};

use super::solver::solve;
use super::*;
use crate::benchmarks::Length;
use crate::cells::{Sample, ask};
use crate::text::word_level;

fn ruler(seed: u64) -> Ruler {
    let folder = tempfile::tempdir().unwrap();
    word_level::save(folder.path(), ["unknown words are one token each"]).unwrap();
    let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
    Ruler::open(tokenizer, &BackgroundSource::BuiltIn, seed).unwrap()
}

fn tasks() -> Vec<String> {
    ruler(0).subtasks()
}

fn cell(subtask: &str, length: Option<Length>, position: Position) -> Cell {
    Cell { subtask: subtask.to_owned(), length, position }
}

fn made(ruler: &Ruler, task: &str, length_tokens: usize, index: u64) -> Result<Sample> {
    ask(ruler, &cell(task, Some(Length::Tokens(length_tokens)), Position::Random), index)
}

/// As RULER writes the prompt.
fn prompt(sample: &Sample) -> String {
    format!("{}\n{}", sample.documents.join("\n"), sample.question)
}

fn text(sample: &Sample) -> &str {
    sample.documents.last().unwrap()
}

/// Tokens of prompt and answer.
fn tokens(ruler: &Ruler, task: &str, sample: &Sample) -> usize {
    ruler.tokenizer.encode(&prompt(sample)).unwrap().len() + Ruler::answer_tokens(task).unwrap()
}

#[test]
fn prompts_fill_their_length_and_never_pass_it() {
    let ruler = ruler(0);
    for task in tasks() {
        for length in [1_500, 4_096, 9_000, 40_000] {
            let sample = made(&ruler, &task, length, 3).unwrap();
            let found = tokens(&ruler, &task, &sample);
            assert!(found <= length, "{task} at {length}: {found}");
            assert!(found * 100 > length * 94, "{task} at {length}: {found}");
        }
    }
}

#[test]
fn answers_are_those_that_the_documents_give_at_every_length() {
    let ruler = ruler(1);
    for task in tasks() {
        for (length, samples) in [(1_200, 6), (5_000, 3), (20_000, 1)] {
            for index in 0..samples {
                let sample = made(&ruler, &task, length, index).unwrap();
                let answers: BTreeSet<String> = sample.answers.iter().cloned().collect();
                assert_eq!(answers.len(), sample.answers.len(), "{task}: an answer comes twice");
                assert_eq!(solve(&task, &sample), answers, "{task} #{index} at {length}");
            }
        }
    }
}

#[test]
fn a_sample_is_decided_by_seed_task_length_and_index() {
    let (first, same, other) = (ruler(5), ruler(5), ruler(6));
    for task in tasks() {
        let sample = made(&first, &task, 2_000, 7).unwrap();
        assert_eq!(sample, made(&same, &task, 2_000, 7).unwrap());
        assert_eq!(sample.name, format!("{task} #7"));
        for different in [made(&other, &task, 2_000, 7), made(&first, &task, 2_000, 8)] {
            assert_ne!(sample.answers, different.unwrap().answers, "{task}");
        }
    }
    let answers = |task| made(&first, task, 2_000, 0).unwrap().answers;
    assert_ne!(answers("niah_single_1"), answers("niah_single_2"), "tasks do not share their values");
}

#[test]
fn longer_haystacks_ask_the_same_question_about_the_same_facts() {
    let ruler = ruler(2);
    for task in tasks() {
        let at = |length| made(&ruler, &task, length, 1).unwrap();
        let (short, long) = (at(2_000), at(3_900));
        assert_eq!((&short.question, &short.answers), (&long.question, &long.answers), "{task}");
        assert_eq!(short.support, long.support);
        assert!(text(&long).len() > text(&short).len() * 3 / 2, "{task}");
    }
}

#[test]
fn what_decides_stands_in_the_text_just_once_and_at_any_depth() {
    let ruler = ruler(3);
    for task in tasks().iter().filter(|task| !["cwe", "fwe"].contains(&task.as_str())) {
        let mut fifths = [0; 5];
        for index in 0..60 {
            let sample = made(&ruler, task, 1_500, index).unwrap();
            assert!(!sample.support.is_empty(), "{task}");
            for line in &sample.support {
                assert_eq!(text(&sample).matches(line.as_str()).count(), 1, "{task}: {line}");
                let place = text(&sample).find(line.as_str()).unwrap();
                fifths[place * 5 / text(&sample).len()] += 1;
            }
        }
        assert!(fifths.iter().all(|&needles| needles > 0), "{task}: {fifths:?}");
    }
}

#[test]
fn needles_of_other_keys_fill_the_haystack_of_two_tasks_and_others_hide_as_many_as_they_say() {
    let ruler = ruler(4);
    let needles = |task: &str| {
        let sample = made(&ruler, task, 4_000, 0).unwrap();
        let all: Vec<String> = text(&sample).split("One of the special magic ").map(str::to_owned).collect();
        all[1..].to_vec()
    };
    for (task, expected) in [
        ("niah_single_1", 1),
        ("niah_single_2", 1),
        ("niah_single_3", 1),
        ("niah_multikey_1", 4),
        ("niah_multivalue", 4),
        ("niah_multiquery", 4),
    ] {
        assert_eq!(needles(task).len(), expected, "{task}");
    }
    for task in ["niah_multikey_2", "niah_multikey_3"] {
        let found = needles(task);
        assert!(found.len() > 40, "{task}: {}", found.len());
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
    }
}

#[test]
fn variables_are_assigned_in_their_order_among_noise() {
    let sample = made(&ruler(0), "vt", 2_000, 0).unwrap();
    let lines: Vec<&str> = text(&sample).lines().filter(|line| line.starts_with("VAR ")).collect();
    assert_eq!(lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>(), sample.support);
    assert_eq!((lines.len(), sample.answers.len()), (5, 5));
    for (line, pair) in lines[1..].iter().zip(sample.answers.windows(2)) {
        assert_eq!(*line, format!("VAR {} = VAR {} ", pair[1], pair[0]));
    }
    assert!(text(&sample).matches("The grass is green.").count() > 30);
}

#[test]
fn common_words_are_repeated_more_often_from_4096_tokens_on() {
    let times = |length| {
        let sample = made(&ruler(0), "cwe", length, 0).unwrap();
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        text(&sample)
            .lines()
            .last()
            .unwrap()
            .split(' ')
            .for_each(|word| *times.entry(word).or_insert(0) += 1);
        let of = |word: &String| times[word.as_str()];
        let common: BTreeSet<usize> = sample.answers.iter().map(of).collect();
        let is_uncommon = |word: &&str| !word.ends_with('.') && !sample.answers.iter().any(|a| a == word);
        let uncommon: BTreeSet<usize> =
            times.keys().filter(|word| is_uncommon(word)).map(|word| times[word]).collect();
        (Vec::from_iter(common), Vec::from_iter(uncommon))
    };
    assert_eq!(times(4_095), (vec![6], vec![1]));
    assert_eq!(times(4_096), (vec![30], vec![3]));
}

#[test]
fn long_lists_of_words_are_of_compounds() {
    let ruler = ruler(0);
    let is_compound = |length| {
        let answers = made(&ruler, "cwe", length, 0).unwrap().answers;
        let compounds = answers.iter().filter(|word| word.contains('-')).count();
        assert!([0, 10].contains(&compounds), "{answers:?}");
        compounds == 10
    };
    assert!(!is_compound(20_000));
    assert!(is_compound(60_000));
}

#[test]
fn the_example_is_solved_and_about_something_else() {
    let ruler = ruler(0);
    for (task, length) in [("vt", 2_000), ("cwe", 2_000), ("cwe", 8_000)] {
        for index in 0..20 {
            let sample = made(&ruler, task, length, index).unwrap();
            let [example, _] = sample.documents.as_slice() else { panic!("{task}: no example") };
            let at = example.rfind("Question: ").unwrap();
            let (before, question) = example.trim_end().split_at(at);
            let text = before.trim_end_matches('\n').to_owned();
            let solved = Sample { documents: vec![text], question: question.into(), ..sample.clone() };
            let answers = solve(task, &solved);
            let (_, given) = question.rsplit_once(':').unwrap();
            let given: BTreeSet<String> =
                given.split_whitespace().filter(|word| !word.ends_with('.')).map(str::to_owned).collect();
            assert_eq!(given, answers, "{task}: {example}");
            if task == "vt" {
                assert_ne!(solve(task, &Sample { question: question.into(), ..sample.clone() }), answers);
            }
        }
    }
}

/// Written after `scripts/data/synthetic/constants.py` of RULER, and what its `niah.py` makes of it for one answer.
#[test]
fn prompts_are_in_the_words_of_ruler() {
    let ruler = ruler(0);
    let expect = |task: &str, begins: &str, ends: &str| {
        let sample = made(&ruler, task, 1_500, 0).unwrap();
        let key =
            || sample.support[0].split(" for ").nth(1).unwrap().split(" is:").next().unwrap().to_owned();
        let value = || sample.support[0].rsplit(' ').next().unwrap().to_owned();
        let ends = if ends.contains("{key}") { ends.replace("{key}", &key()) } else { ends.to_owned() };
        let ends = if ends.contains("{value}") { ends.replace("{value}", &value()) } else { ends };
        let prompt = prompt(&sample);
        assert!(prompt.starts_with(begins), "{task}: {prompt}");
        assert!(prompt.ends_with(&ends), "{task}: {ends}: {prompt}");
    };
    expect(
        "niah_single_1",
        "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about \
         the number afterwards.\n",
        "\nWhat is the special magic number for {key} mentioned in the provided text? The special magic number for \
         {key} mentioned in the provided text is",
    );
    expect(
        "niah_multikey_3",
        "A special magic uuid is hidden within the following text. Make sure to memorize it. I will quiz you about \
         the uuid afterwards.\nOne of the special magic uuids for ",
        " mentioned in the provided text? The special magic uuid for {key} mentioned in the provided text is",
    );
    expect(
        "niah_multivalue",
        "Some special magic numbers are hidden within the following text. Make sure to memorize it. I will quiz you \
         about the numbers afterwards.\n",
        "\nWhat are all the special magic numbers for {key} mentioned in the provided text? The special magic numbers \
         for {key} mentioned in the provided text are",
    );
    expect(
        "vt",
        "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n",
        "\nQuestion: Find all variables that are assigned the value {value} in the text above. Answer: According to \
         the chain(s) of variable assignment in the text above, 5 variables are assigned the value {value}, they \
         are: ",
    );
    let introduction = "Below is a numbered list of words. In these words, some appear more often than others. \
                        Memorize the ones that appear most often.\n1. ";
    expect(
        "cwe",
        introduction,
        "\nQuestion: What are the 10 most common words in the above list? Answer: The top 10 words that appear most \
         often in the list are:",
    );
    expect(
        "fwe",
        "Read the following coded text and track the frequency of each coded word. Find the three most frequently \
         appeared coded words. ",
        "\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the three most \
         frequently appeared words in the above coded text? Answer: According to the coded text above, the three most \
         frequently appeared words are:",
    );
    let asked = made(&ruler, "niah_multiquery", 1_500, 0).unwrap().question;
    let (keys, _) =
        asked.trim_start_matches("What are all the special magic numbers for ").split_once(" m").unwrap();
    assert_eq!((keys.matches(", ").count(), keys.matches(", and ").count()), (3, 1), "{keys}");
}

#[test]
fn short_books_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("book.txt");
    std::fs::write(&path, "It was late. ".repeat(8) + "The rain fell. Nobody came. The end was near.")
        .unwrap();
    let tokenizer = ruler(0).tokenizer;
    let ruler = Ruler::open(tokenizer, &BackgroundSource::Path(path), 0).unwrap();
    let sample = made(&ruler, "niah_single_2", 1_000, 0).unwrap();
    assert!(text(&sample).matches("The end was near.").count() > 20, "{}", text(&sample));
    assert_eq!(solve("niah_single_2", &sample), BTreeSet::from_iter(sample.answers));
}

#[test]
fn cells_that_are_not_there_say_why() {
    let ruler = ruler(0);
    let tokens = |tokens| Some(Length::Tokens(tokens));
    for (wrong, expected) in [
        (cell("qa1", tokens(500), Position::Random), "ruler has no subtask `qa1`: it has niah_single_1, "),
        (cell("vt", None, Position::Random), "a length is needed"),
        (cell("vt", Some(Length::Multiple(2)), Position::Random), "length 2x is not possible"),
        (cell("vt", tokens(500), Position::Pre), "position pre is not possible"),
    ] {
        let error = ruler.open(&wrong).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(ruler.episode("qa1", 500, 0).unwrap_err().to_string().contains("it has niah_single_1"));
    assert!(Ruler::answer_tokens("qa1").is_err());
    let there = cell("vt", tokens(900), Position::Random);
    assert_eq!(ruler.open(&there).unwrap().len(), None);
}

#[test]
fn lengths_without_room_say_how_many_tokens_are_needed() {
    let ruler = ruler(0);
    for task in tasks() {
        for length in [0, 1, 60, 130] {
            let error = made(&ruler, &task, length, 0).unwrap_err().to_string();
            let (_, needed) = error.split_once("prompt and answer need ").unwrap();
            let needed: usize = needed.split(' ').next().unwrap().parse().unwrap();
            assert!(needed > length && error.starts_with(&format!("ruler {task} #0: ")), "{error}");
            made(&ruler, &task, needed, 0).unwrap();
        }
    }
    let tokenizer = ruler.tokenizer;
    let bare = Ruler::open(tokenizer, &BackgroundSource::None, 0).unwrap();
    assert!(made(&bare, "niah_single_2", 900, 0).unwrap_err().to_string().contains("name a book"));
    assert!(made(&bare, "niah_single_1", 900, 0).is_ok());
}

/// What holds of the real data that is not part of this repository.
mod shared_data {
    use super::*;
    use crate::shared_folder::shared;

    #[test]
    #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
    fn books_and_the_tokens_of_qwen_fill_rulers_own_lengths() {
        let tokenizer = Tokenizer::from_folder(&shared("tokenizers/qwen2_5"), None).unwrap();
        let ruler = Ruler::open(tokenizer, &BackgroundSource::Path(shared("books")), 0).unwrap();
        for task in tasks() {
            for length in [4_096, 32_768, 131_072] {
                let began = std::time::Instant::now();
                let sample = made(&ruler, &task, length, 0).unwrap();
                let secs = began.elapsed().as_secs_f64();
                let found = tokens(&ruler, &task, &sample);
                println!("{task} at {length}: {found} tokens in {secs:.2} s");
                assert!(found <= length && found * 100 > length * 97, "{task} at {length}: {found}");
                let answers = BTreeSet::from_iter(sample.answers.iter().cloned());
                assert_eq!(solve(&task, &sample), answers, "{task} at {length}");
            }
        }
    }
}
