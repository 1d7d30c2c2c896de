//! Episodes from end to end: what is generated is decided by its facts, hidden without loss, cut without
//! harm, and the same for the same seed.

#![allow(clippy::unwrap_used, reason = "a failed helper fails the test")]
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use perk::config::DataConfig;
use perk::config::data::{BackgroundSource, CorpusConfig, Task};
use perk::tasks::corpus::Corpus;
use perk::tasks::{Encoder, Episode, EpisodeSource, Split, babi, open};
use perk::text::{Tokenizer, sentences, word_level};

/// The tokenizer of a tiny base.
fn tokenizer() -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    word_level::save(folder.path(), Corpus::new(CorpusConfig::default(), 0).unwrap().lexicon_texts())
        .unwrap();
    Tokenizer::from_folder(folder.path(), None).unwrap()
}

fn shared(path: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let found = std::env::var_os("PERK_SHARED_DIR").map_or(default, PathBuf::from).join(path);
    if !found.exists() {
        println!("skipped: {} is missing", found.display());
        return None;
    }
    Some(found)
}

fn generated(task: Task) -> DataConfig {
    let min_facts = if task == Task::Qa3 { 3 } else { 2 };
    DataConfig { task, min_facts, max_facts: 14, context_tokens: 160, questions: 3, ..DataConfig::default() }
}

fn episodes(config: &DataConfig, split: Split, multiple: usize, seed: u64, count: u64) -> Vec<Episode> {
    let source = open(config, &tokenizer(), split, multiple, seed).unwrap();
    (0..count).map(|i| source.episode(i).unwrap()).collect()
}

fn lines(episode: &Episode) -> Vec<&str> {
    sentences::split(&episode.documents[0]).into_iter().map(str::trim).collect()
}

/// `Mary moved to the kitchen.` of `Mary Event 2: Mary moved to the kitchen.`
fn plain(line: &str) -> &str {
    line.split_once(": ").map_or(line, |(_, fact)| fact)
}

/// Is it a fact (of a person), and not background?
fn is_fact(line: &str) -> bool {
    ["Mary", "John", "Sandra", "Daniel"].iter().any(|name| line.starts_with(name))
}

/// Reads facts one after the other and knows where everything was: written without a look at the simulator.
#[derive(Default)]
struct Solver {
    people: HashMap<String, String>,
    holders: HashMap<String, String>,
    ways: HashMap<String, Vec<String>>,
}

impl Solver {
    fn read<'a>(facts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut solver = Self::default();
        for fact in facts {
            let words: Vec<&str> = fact.trim_end_matches('.').split(' ').filter(|w| *w != "there").collect();
            let (name, what) = (words[0], *words.last().unwrap());
            match words[1] {
                "moved" | "went" | "journeyed" | "travelled" => solver.go(name, what),
                "picked" | "got" | "took" | "grabbed" => {
                    solver.holders.insert(what.into(), name.into());
                    solver.lies_with(name, what);
                }
                _ => {
                    solver.holders.remove(what);
                    solver.lies_with(name, what);
                }
            }
        }
        solver
    }

    fn go(&mut self, name: &str, place: &str) {
        self.people.insert(name.into(), place.into());
        let held: Vec<String> =
            self.holders.iter().filter(|(_, h)| *h == name).map(|(o, _)| o.clone()).collect();
        held.iter().for_each(|object| self.lies_with(name, object));
    }

    fn lies_with(&mut self, name: &str, object: &str) {
        let Some(here) = self.people.get(name) else { return };
        let way = self.ways.entry(object.into()).or_default();
        if way.last() != Some(here) {
            way.push(here.clone());
        }
    }

    fn answer(&self, question: &str) -> String {
        let words: Vec<&str> = question.trim_end_matches('?').split(' ').collect();
        match words[..] {
            ["Where", "is", name] => self.people[name].clone(),
            ["Where", "is", "the", object] => self.ways[object].last().unwrap().clone(),
            ["Where", "was", "the", object, "before", "the", place] => {
                let way = &self.ways[object];
                assert_eq!(way.iter().filter(|p| *p == place).count(), 1, "{question} has two readings");
                way[way.iter().position(|p| p == place).unwrap() - 1].clone()
            }
            _ => panic!("{question}"),
        }
    }
}

#[test]
fn an_independent_reader_finds_every_answer_in_the_facts_and_in_the_support_alone() {
    for task in [Task::Qa1, Task::Qa2, Task::Qa3] {
        for seed in 0..3 {
            for episode in episodes(&generated(task), Split::Train, 1, seed, 150) {
                let facts: Vec<&str> =
                    lines(&episode).into_iter().filter(|l| is_fact(l)).map(plain).collect();
                let solver = Solver::read(facts);
                let questions: HashSet<&str> = episode.qa.iter().map(|qa| qa.question.as_str()).collect();
                assert_eq!(questions.len(), episode.qa.len());
                for qa in &episode.qa {
                    assert_eq!(solver.answer(&qa.question), qa.answer, "{episode:?}");
                    let alone = Solver::read(qa.support.iter().map(|s| plain(s))).answer(&qa.question);
                    assert_eq!(alone, qa.answer, "{qa:?} of {:?}", lines(&episode));
                    assert!(qa.support.len() <= [1, 2, 4][task as usize], "{qa:?}");
                }
            }
        }
    }
}

#[test]
fn nobody_moves_to_where_they_are_or_handles_what_is_elsewhere() {
    for episode in (0..5).flat_map(|seed| episodes(&generated(Task::Qa3), Split::Train, 1, seed, 100)) {
        let (mut people, mut holders, mut lying) = (HashMap::new(), HashMap::new(), HashMap::new());
        for fact in lines(&episode).into_iter().filter(|l| is_fact(l)).map(plain) {
            let words: Vec<&str> = fact.trim_end_matches('.').split(' ').filter(|w| *w != "there").collect();
            let (name, what) = (words[0], *words.last().unwrap());
            match words[1] {
                "moved" | "went" | "journeyed" | "travelled" => {
                    assert_ne!(people.insert(name, what), Some(what), "{fact}");
                }
                "picked" | "got" | "took" | "grabbed" => {
                    assert_eq!(holders.insert(what, name), None, "{fact}");
                    assert!(lying.remove(what).is_none_or(|place| place == people[name]), "{fact}");
                }
                _ => {
                    assert_eq!(holders.remove(what), Some(name), "{fact}");
                    lying.insert(what, people[name]);
                }
            }
        }
    }
}

#[test]
fn events_are_numbered_per_person_and_facts_keep_their_order() {
    for episode in episodes(&generated(Task::Qa2), Split::HeldOut, 2, 5, 100) {
        let mut next: HashMap<String, usize> = HashMap::new();
        for line in lines(&episode).into_iter().filter(|l| is_fact(l)) {
            let name = line.split(' ').next().unwrap();
            let number = next.entry(name.into()).or_default();
            assert!(line.starts_with(&format!("{name} Event {number}: {name} ")), "{line}");
            *number += 1;
        }
    }
}

#[test]
fn longer_contexts_have_the_same_facts_and_questions_and_more_background() {
    let tokenizer = tokenizer();
    let config = DataConfig { context_tokens: 80, ..DataConfig::default() };
    let short = episodes(&config, Split::HeldOut, 1, 7, 30);
    for multiple in [2, 16] {
        for (a, b) in short.iter().zip(episodes(&config, Split::HeldOut, multiple, 7, 30)) {
            assert_eq!(a.qa, b.qa);
            let facts = |e: &Episode| {
                lines(e).into_iter().filter(|l| is_fact(l)).map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(facts(a), facts(&b));
            let tokens = tokenizer.encode(&b.documents[0]).unwrap().len();
            let target = 80 * multiple;
            assert!(tokens <= target && tokens + 14 > target, "{tokens} of {target}");
            let different: HashSet<&str> = lines(&b).into_iter().collect();
            assert_eq!(different.len(), lines(&b).len(), "a line repeats");
        }
    }
}

#[test]
fn facts_lie_anywhere_in_a_context() {
    let config = DataConfig { min_facts: 1, max_facts: 1, context_tokens: 200, ..DataConfig::default() };
    let place = |episode: &Episode| {
        let lines = lines(episode);
        lines.iter().position(|l| is_fact(l)).unwrap() * 4 / lines.len()
    };
    let mut quarters = [0; 4];
    episodes(&config, Split::Train, 1, 0, 400).iter().for_each(|e| quarters[place(e)] += 1);
    assert!(quarters.iter().all(|n| (60..=140).contains(n)), "{quarters:?}");
}

#[test]
fn training_and_held_out_episodes_share_no_background_and_no_stream() {
    let config = generated(Task::Qa1);
    let background = |split| -> HashSet<String> {
        let all = episodes(&config, split, 4, 0, 100);
        all.iter().flat_map(|e| lines(e)).filter(|l| !is_fact(l)).map(str::to_owned).collect()
    };
    let (train, held_out) = (background(Split::Train), background(Split::HeldOut));
    assert!(train.len() > 1_000 && held_out.len() > 1_000);
    assert!(train.is_disjoint(&held_out));
    let qa = |split| episodes(&config, split, 1, 0, 20).into_iter().map(|e| e.qa).collect::<Vec<_>>();
    assert_ne!(qa(Split::Train), qa(Split::HeldOut));
}

#[test]
fn an_episode_depends_on_seed_and_index_alone() {
    let tokenizer = tokenizer();
    for task in [Task::Qa1, Task::Qa2, Task::Qa3] {
        let config = generated(task);
        let source = |seed| open(&config, &tokenizer, Split::Train, 2, seed).unwrap();
        let (a, b, other) = (source(1), source(1), source(2));
        let late = a.episode(1_000_000).unwrap();
        let first: Vec<Episode> = (0..10).map(|i| a.episode(i).unwrap()).collect();
        assert!((0..10).rev().all(|i| b.episode(i).unwrap() == first[i as usize]));
        assert_eq!(b.episode(1_000_000).unwrap(), late);
        assert_ne!(other.episode(0).unwrap().documents, first[0].documents);
        assert_eq!(a.len(), None);
    }
}

#[test]
fn segments_are_whole_sentences_within_the_limit_and_together_the_text() {
    let tokenizer = tokenizer();
    for segment_tokens in [14, 25, 40] {
        let config = DataConfig { segment_tokens, ..generated(Task::Qa2) };
        let encoder = Encoder::new(&config, tokenizer.clone(), 0);
        for (index, episode) in (0..).zip(episodes(&config, Split::HeldOut, 2, 3, 40)) {
            let encoded = encoder.encode(&episode, index, Split::HeldOut).unwrap();
            let texts: Vec<&[u32]> = encoded.segments.iter().map(|s| &s.tokens[s.loss_from..]).collect();
            assert!(texts.iter().all(|t| t.len() <= segment_tokens));
            assert_eq!(texts.concat(), tokenizer.encode(&episode.documents[0]).unwrap());
            let full_stop = tokenizer.encode(".").unwrap();
            assert!(texts.iter().all(|t| t.ends_with(&full_stop)), "a sentence is cut");
            for (i, pair) in texts.windows(2).enumerate() {
                let next = pair[1].iter().position(|t| *t == full_stop[0]).unwrap() + 1;
                assert!(pair[0].len() + next > segment_tokens, "segment {i} has room for another sentence");
            }
            assert_eq!(
                encoded.context_tokens,
                encoded.segments.iter().map(|s| s.tokens.len()).sum::<usize>()
            );
            for (i, segment) in encoded.segments.iter().enumerate() {
                assert_eq!(
                    segment.tokens[..segment.loss_from],
                    tokenizer.encode(&format!("doc_{i}:")).unwrap()
                );
            }
        }
    }
}

#[test]
fn training_shuffles_and_renumbers_segments_while_held_out_ones_stay_in_order() {
    let tokenizer = tokenizer();
    let config = DataConfig {
        shuffle_segments: true,
        number_offset_max: 90,
        segment_tokens: 20,
        ..generated(Task::Qa1)
    };
    let plain = DataConfig { shuffle_segments: false, number_offset_max: 0, ..config.clone() };
    let encoder = |config: &DataConfig, seed| Encoder::new(config, tokenizer.clone(), seed);
    let (mut shuffled, mut firsts) = (0, HashSet::new());
    for (index, episode) in (0..).zip(episodes(&config, Split::Train, 1, 3, 40)) {
        let texts = |encoder: &Encoder, split| -> Vec<Vec<u32>> {
            let encoded = encoder.encode(&episode, index, split).unwrap();
            encoded.segments.iter().map(|s| s.tokens[s.loss_from..].to_vec()).collect()
        };
        let in_order = texts(&encoder(&plain, 0), Split::Train);
        assert_eq!(texts(&encoder(&config, 0), Split::HeldOut), in_order);
        let mut trained = texts(&encoder(&config, 0), Split::Train);
        shuffled += usize::from(trained != in_order);
        trained.sort();
        let mut sorted = in_order.clone();
        sorted.sort();
        assert_eq!(trained, sorted);
        let encoded = encoder(&config, 0).encode(&episode, index, Split::Train).unwrap();
        assert_eq!(encoded, encoder(&config, 0).encode(&episode, index, Split::Train).unwrap());
        firsts.insert(encoded.segments[0].tokens[..encoded.segments[0].loss_from].to_vec());
    }
    assert!(shuffled > 30 && firsts.len() > 15, "{shuffled} {}", firsts.len());
}

#[test]
fn a_query_predicts_answer_and_end_and_reads_the_rest() {
    let tokenizer = tokenizer();
    let config =
        DataConfig { prompt: "Question: {question} Answer: {answer}".into(), ..generated(Task::Qa1) };
    let encoder = Encoder::new(&config, tokenizer.clone(), 0);
    let episode = episodes(&config, Split::Train, 1, 0, 1).remove(0);
    let encoded = encoder.encode(&episode, 0, Split::Train).unwrap();
    assert_eq!(encoded.queries.len(), episode.qa.len());
    for (query, qa) in encoded.queries.iter().zip(&episode.qa) {
        let prompt = format!("Question: {} Answer:", qa.question);
        assert_eq!(query.prompt, tokenizer.encode(&prompt).unwrap());
        let answer = [tokenizer.encode(&qa.answer).unwrap(), vec![tokenizer.end_id()]].concat();
        assert_eq!(query.answer_tokens, answer);
        assert_eq!(query.training.tokens, [query.prompt.clone(), answer].concat());
        assert_eq!(query.training.loss_from, query.prompt.len());
        let in_context = format!("{}\n{prompt}", episode.documents[0]);
        assert_eq!(query.in_context_prompt, tokenizer.encode(&in_context).unwrap());
    }
    let default =
        Encoder::new(&generated(Task::Qa1), tokenizer.clone(), 0).encode(&episode, 0, Split::Train).unwrap();
    let said = format!(
        "You have memorized {} documents.\n{}\nAnswer:",
        default.segments.len(),
        episode.qa[0].question
    );
    assert_eq!(default.queries[0].prompt, tokenizer.encode(&said).unwrap());
}

#[test]
fn the_tiny_vocabulary_is_small_and_covers_every_text_that_is_generated() {
    let tokenizer = tokenizer();
    assert!(tokenizer.vocab_size() < 220, "{}", tokenizer.vocab_size());
    let unknown = tokenizer.token_id("<unk>").unwrap();
    let covered = |text: &str| assert!(!tokenizer.encode(text).unwrap().contains(&unknown), "{text}");
    let corpus = Corpus::new(CorpusConfig::default(), 3).unwrap();
    (0..1_500).for_each(|i| covered(&corpus.document(i).unwrap()));
    for task in [Task::Qa1, Task::Qa2, Task::Qa3] {
        let config = DataConfig { actors: 8, places: 9, objects: 6, ..generated(task) };
        for split in [Split::Train, Split::HeldOut] {
            for episode in episodes(&config, split, 2, 1, 60) {
                covered(&episode.documents[0]);
                episode.qa.iter().for_each(|qa| covered(&format!("{} {}", qa.question, qa.answer)));
            }
        }
    }
}

#[test]
fn a_jsonl_file_is_parted_by_context_and_each_round_of_training_has_a_new_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.jsonl");
    let line = |i: usize| {
        format!("{{\"context\":\"The note {}.\",\"question\":\"Q{i}?\",\"answer\":\"a\"}}\n", i / 2)
    };
    std::fs::write(&path, (0..40).map(line).collect::<String>()).unwrap();
    let config = DataConfig { task: Task::Files, files: vec![path.clone()], ..DataConfig::default() };
    let open_split = |split| open(&config, &tokenizer(), split, 1, 0).unwrap();
    let (train, held_out) = (open_split(Split::Train), open_split(Split::HeldOut));
    assert_eq!((train.len(), held_out.len()), (Some(36), Some(4)), "two questions for each of 20 contexts");
    let contexts = |source: &dyn EpisodeSource, from: u64, to: u64| -> Vec<String> {
        (from..to).map(|i| source.episode(i).unwrap().documents[0].clone()).collect()
    };
    let set = |texts: &[String]| texts.iter().cloned().collect::<HashSet<_>>();
    let (first, second) = (contexts(&*train, 0, 36), contexts(&*train, 36, 72));
    assert_eq!((set(&first), first == second), (set(&second), false));
    assert!(set(&first).is_disjoint(&set(&contexts(&*held_out, 0, 4))));
    assert!(held_out.episode(4).unwrap_err().to_string().contains("no episode 4"));
    assert!(
        open(&config, &tokenizer(), Split::HeldOut, 2, 0).err().unwrap().to_string().contains("lengthened")
    );
    std::fs::write(&path, line(0)).unwrap();
    let error = open(&config, &tokenizer(), Split::Train, 1, 0).err().unwrap().to_string();
    assert!(error.contains("notes.jsonl") && error.contains("held_out_files"), "{error}");
}

#[test]
fn a_background_that_is_too_short_is_an_error_and_not_a_repetition() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.txt");
    std::fs::write(&path, "One thing happened. Another thing happened. It was over. We left.").unwrap();
    let background = BackgroundSource::Path(path);
    let config = DataConfig { background, context_tokens: 4_000, ..DataConfig::default() };
    let source = open(&config, &tokenizer(), Split::Train, 1, 0).unwrap();
    let error = source.episode(0).unwrap_err().to_string();
    assert!(error.contains("short.txt") && error.contains("4000"), "{error}");
    let config = DataConfig { background: BackgroundSource::None, ..config };
    let source = open(&config, &tokenizer(), Split::Train, 1, 0).unwrap();
    assert!(lines(&source.episode(0).unwrap()).into_iter().all(is_fact));
}

#[test]
fn all_real_babi_files_are_read() {
    let Some(folder) = shared("babi/official_v1.2") else { return };
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let stories = babi::read(&entry.unwrap().path()).unwrap();
        assert_eq!(stories.iter().map(|s| s.questions.len()).sum::<usize>(), 1_000);
        files += 1;
    }
    assert_eq!(files, 20);
}

#[test]
fn real_babi_questions_are_answered_by_their_facts_hidden_in_real_books() {
    let (Some(babi), Some(books)) = (shared("babi/official_v1.2"), shared("books")) else { return };
    let Some(qwen) = shared("tokenizers/qwen2_5") else { return };
    let tokenizer = Tokenizer::from_folder(&qwen, None).unwrap();
    for file in ["qa1_single-supporting-fact_train.txt", "qa2_two-supporting-facts_train.txt"] {
        let config = DataConfig {
            task: Task::Babi,
            files: vec![babi.join(file)],
            background: BackgroundSource::Path(books.clone()),
            background_min_tokens: 6,
            context_tokens: 1_024,
            segment_tokens: 256,
            ..DataConfig::default()
        };
        let source = open(&config, &tokenizer, Split::HeldOut, 1, 0).unwrap();
        let encoder = Encoder::new(&config, tokenizer.clone(), 0);
        for index in 0..source.len().unwrap().min(40) {
            let episode = source.episode(index).unwrap();
            let support = &episode.qa[0].support;
            assert!(!support.is_empty() && support.iter().all(|s| episode.documents[0].contains(s.as_str())));
            let facts: Vec<&str> =
                lines(&episode).into_iter().filter(|l| l.contains(" Event ")).map(plain).collect();
            assert_eq!(Solver::read(facts).answer(&episode.qa[0].question), episode.qa[0].answer);
            let encoded = encoder.encode(&episode, index, Split::HeldOut).unwrap();
            assert!(encoded.segments.iter().all(|s| s.tokens.len() - s.loss_from <= 256));
            let joined: Vec<u32> =
                encoded.segments.iter().flat_map(|s| s.tokens[s.loss_from..].to_vec()).collect();
            let whole = tokenizer.encode(&format!(" {}", episode.documents[0])).unwrap();
            assert_eq!(joined, whole, "cutting changes the tokens");
            let text: usize = encoded.segments.iter().map(|s| s.tokens.len() - s.loss_from).sum();
            assert!((900..=1_100).contains(&text) || text > 1_100 && support.len() == 2, "{text}");
        }
    }
}
