//! Sources of episodes: the generated world, student records, bAbI files in background text, and JSONL files.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use rand::seq::SliceRandom;

use super::background::Background;
use super::hide::Haystack;
use super::stream::{Purpose, hash, stream};
use super::student_records::RecordSource;
use super::target::without_facts;
use super::world::{Asked, Story, StoryForm, event, tell};
use super::{Episode, EpisodeSource, Position, Qa, Split, babi, jsonl};
use crate::config::{DataConfig, Task, WorldConfig};
use crate::text::Tokenizer;
use crate::{Error, Result};

/// Opens the episodes that a configuration describes.
///
/// `multiple` is the length of the contexts in multiples of `context_tokens`: longer ones have the same facts
/// and questions, and more background or more records. Contexts of JSONL files cannot be made longer, so there only
/// 1 is possible.
///
/// # Errors
/// If a file is missing or malformed, if there is nothing to hold out, or for a length that is not possible.
pub fn open(
    config: &DataConfig,
    tokenizer: &Tokenizer,
    split: Split,
    multiple: usize,
    seed: u64,
) -> Result<Box<dyn EpisodeSource>> {
    open_contexts(config, tokenizer, Contexts { split, multiple, position: Position::Random, seed })
}

/// Which contexts of a configuration's episodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contexts {
    /// Which part of the data.
    pub split: Split,
    /// Their length in multiples of the configured one.
    pub multiple: usize,
    /// Where in them the facts lie; facts and background are the same at every position.
    pub position: Position,
    /// Seed of what is drawn.
    pub seed: u64,
}

/// As [`open`], with the facts in a part of the context.
///
/// # Errors
/// As [`open`]; a part of contexts that come as they are.
pub fn open_contexts(
    config: &DataConfig,
    tokenizer: &Tokenizer,
    contexts: Contexts,
) -> Result<Box<dyn EpisodeSource>> {
    let Contexts { split, multiple, position, seed } = contexts;
    let asked = match config.task {
        Task::Files => return open_files(config, contexts),
        Task::Babi => return open_babi(config, tokenizer, contexts),
        Task::StudentRecords => {
            return open_records(config, tokenizer, contexts);
        }
        task => {
            kind(task).ok_or_else(|| Error::Invalid(format!("data.task `{}` tells no story", task.name())))?
        }
    };
    let haystack = haystack(config, tokenizer, split, multiple)?;
    let form = StoryForm {
        asked,
        also_asked: config.also_asked.iter().filter_map(|&task| kind(task)).collect(),
        questions: config.questions,
        event_prefix: config.event_prefix,
    };
    Ok(Box::new(Generated { world: config.world, form, haystack, position, split, seed }))
}

/// What a task of the generated world asks; `None` for the others.
fn kind(task: Task) -> Option<Asked> {
    match task {
        Task::Qa1 => Some(Asked::Person),
        Task::Qa2 => Some(Asked::Object),
        Task::Qa3 => Some(Asked::Before),
        Task::Files | Task::Babi | Task::StudentRecords => None,
    }
}

fn haystack(config: &DataConfig, tokenizer: &Tokenizer, split: Split, multiple: usize) -> Result<Haystack> {
    let context_tokens = tokens(config, multiple)?;
    let source = match (&config.held_out_background, split) {
        (Some(source), Split::HeldOut) => source,
        _ => &config.background,
    };
    // Also of a text that serves evaluation only, the held-out part is used: one rule keeps the splits apart
    // even where the two paths share files.
    let background = Arc::new(Background::open(source, split)?);
    let min_sentence_tokens = config.background_min_tokens;
    Ok(Haystack { background, tokenizer: tokenizer.clone(), context_tokens, min_sentence_tokens })
}

/// Tokens of a context of `multiple` times the trained length.
fn tokens(config: &DataConfig, multiple: usize) -> Result<usize> {
    let tokens = config.context_tokens.checked_mul(multiple).filter(|&tokens| tokens > 0);
    let reason = || format!("contexts of {multiple} times {} tokens are not possible", config.context_tokens);
    tokens.ok_or_else(|| Error::Invalid(reason()))
}

fn open_records(
    config: &DataConfig,
    tokenizer: &Tokenizer,
    contexts: Contexts,
) -> Result<Box<dyn EpisodeSource>> {
    Ok(Box::new(RecordSource {
        about: config.questions_about,
        questions: config.questions,
        context_tokens: tokens(config, contexts.multiple)?,
        position: contexts.position,
        tokenizer: tokenizer.clone(),
        split: contexts.split,
        seed: contexts.seed,
    }))
}

/// Stories of the simulated world; they never end.
struct Generated {
    world: WorldConfig,
    form: StoryForm,
    haystack: Haystack,
    position: Position,
    split: Split,
    seed: u64,
}

impl EpisodeSource for Generated {
    fn len(&self) -> Option<u64> {
        None
    }

    fn episode(&self, index: u64) -> Result<Episode> {
        let mut rng = stream(self.seed, self.split, Purpose::Facts, index);
        let Story { facts, mut qa, also } = tell(&self.world, &self.form, &mut rng)?;
        if self.split == Split::Train {
            qa.extend(also);
        }
        let mut rng = stream(self.seed, self.split, Purpose::Background, index);
        let context = self.haystack.hide(&facts, self.position, &mut rng)?;
        let task = match self.form.asked {
            Asked::Person => "qa1",
            Asked::Object => "qa2",
            Asked::Before => "qa3",
        };
        Ok(Episode { name: format!("{task} #{index}"), documents: vec![context], facts, qa })
    }
}

/// A question of a bAbI file with the facts before it.
#[derive(Clone)]
struct Hidden {
    name: String,
    facts: Vec<String>,
    qa: Qa,
}

/// Questions of bAbI files, their facts hidden in background text.
struct Babi {
    questions: Finite<Hidden>,
    haystack: Haystack,
    position: Position,
}

impl EpisodeSource for Babi {
    fn len(&self) -> Option<u64> {
        Some(self.questions.items.len() as u64)
    }

    fn episode(&self, index: u64) -> Result<Episode> {
        let hidden = self.questions.get(index)?;
        let mut rng = stream(self.questions.seed, self.questions.split, Purpose::Background, index);
        let context = self.haystack.hide(&hidden.facts, self.position, &mut rng)?;
        let Hidden { name, facts, qa } = hidden.clone();
        Ok(Episode { name, documents: vec![context], facts, qa: vec![qa] })
    }
}

fn open_babi(
    config: &DataConfig,
    tokenizer: &Tokenizer,
    contexts: Contexts,
) -> Result<Box<dyn EpisodeSource>> {
    let Contexts { split, multiple, position, seed } = contexts;
    let read = |path: &Path| -> Result<Vec<(u64, Vec<Hidden>)>> {
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let read = |story: babi::BabiStory| {
            let hidden = hidden(&story, &file, config.event_prefix);
            hidden.iter().try_for_each(|hidden| require_support(config, &hidden.name, &hidden.qa))?;
            Ok((story_key(&story), hidden))
        };
        babi::read(path)?.into_iter().map(read).collect()
    };
    let stories = choose(config, split, read)?;
    let questions = Finite::new(stories.into_iter().flatten().collect(), split, seed);
    Ok(Box::new(Babi { questions, haystack: haystack(config, tokenizer, split, multiple)?, position }))
}

/// Refuses a question without its facts where they are a part of its target, before a run starts.
fn require_support(config: &DataConfig, name: &str, qa: &Qa) -> Result<()> {
    if !config.target.is_reasoning() || !qa.support.is_empty() {
        return Ok(());
    }
    Err(Error::Invalid(format!("{name}: {}", without_facts(qa))))
}

fn story_key(story: &babi::BabiStory) -> u64 {
    let facts: Vec<&str> = story.facts.iter().map(|(_, fact)| fact.as_str()).collect();
    hash(&facts.join("\n"))
}

/// The story's questions, with `Mary Event 2:` before each fact where wanted.
fn hidden(story: &babi::BabiStory, file: &str, event_prefix: bool) -> Vec<Hidden> {
    let plain = story.facts.iter().map(|(_, fact)| fact.clone()).collect();
    let facts = if event_prefix { with_events(plain) } else { plain };
    let hidden = |question: &babi::BabiQuestion| Hidden {
        name: format!("{file}:{}", question.line),
        facts: facts[..question.facts_before].to_vec(),
        qa: Qa::new(
            &question.question,
            &question.answer,
            question.support.iter().map(|&i| facts[i].clone()).collect(),
        ),
    };
    story.questions.iter().map(hidden).collect()
}

/// The facts with `Mary Event 2:` before each: its first word, and how many facts before began with it.
pub(crate) fn with_events(facts: Vec<String>) -> Vec<String> {
    let mut events: HashMap<String, usize> = HashMap::new();
    let prefixed = |fact: String| {
        let name = fact.split(' ').next().unwrap_or(&fact);
        let number = events.entry(name.to_owned()).or_default();
        let prefixed = event(name, *number, &fact);
        *number += 1;
        prefixed
    };
    facts.into_iter().map(prefixed).collect()
}

impl EpisodeSource for Finite<Episode> {
    fn len(&self) -> Option<u64> {
        Some(self.items.len() as u64)
    }

    fn episode(&self, index: u64) -> Result<Episode> {
        self.get(index).cloned()
    }
}

fn open_files(config: &DataConfig, contexts: Contexts) -> Result<Box<dyn EpisodeSource>> {
    let Contexts { split, multiple, position, seed } = contexts;
    if multiple != 1 {
        let reason = "contexts of JSONL files cannot be lengthened: evaluate at multiples = [1]";
        return Err(Error::Invalid(reason.into()));
    }
    if position != Position::Random {
        let reason = "contexts of JSONL files come as they are: leave the position at random";
        return Err(Error::Invalid(reason.into()));
    }
    let read = |path: &Path| -> Result<Vec<(u64, Episode)>> {
        let episodes = jsonl::read(path)?;
        for episode in &episodes {
            episode.qa.iter().try_for_each(|qa| require_support(config, &episode.name, qa))?;
        }
        let episodes = episodes.into_iter();
        Ok(episodes.map(|episode| (hash(&episode.documents.join("\n")), episode)).collect())
    };
    Ok(Box::new(Finite::new(choose(config, split, read)?, split, seed)))
}

/// Reads the items of the split: from its own files, or else its part of all items, parted by their keys
/// (a hash of the context), so that no context is in both parts.
fn choose<T>(
    config: &DataConfig,
    split: Split,
    read: impl Fn(&Path) -> Result<Vec<(u64, T)>>,
) -> Result<Vec<T>> {
    let own_files = !config.held_out_files.is_empty();
    let files = if own_files && split == Split::HeldOut { &config.held_out_files } else { &config.files };
    let Some(first) = files.first() else {
        return Err(Error::Invalid("data.files names no file".into()));
    };
    let mut items = Vec::new();
    for path in files {
        items.extend(read(path)?);
    }
    if !own_files {
        let keys: BTreeSet<u64> = items.iter().map(|item| item.0).collect();
        let count = ((keys.len() as f64 * config.held_out_fraction).ceil() as usize).max(1);
        if count >= keys.len() {
            let reason = "too few different contexts to hold some out: name data.held_out_files";
            return Err(Error::file(first, reason));
        }
        let held_out: BTreeSet<u64> = keys.into_iter().take(count).collect();
        items.retain(|(key, _)| held_out.contains(key) == (split == Split::HeldOut));
    }
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

/// Items in file order for evaluation, and in a new random order in each round of training.
struct Finite<T> {
    items: Vec<T>,
    split: Split,
    seed: u64,
}

impl<T> Finite<T> {
    fn new(items: Vec<T>, split: Split, seed: u64) -> Self {
        Self { items, split, seed }
    }

    fn get(&self, index: u64) -> Result<&T> {
        let count = self.items.len() as u64;
        let beyond = || Error::Invalid(format!("no episode {index} (from 0) among {count} held-out ones"));
        if self.split == Split::HeldOut {
            return usize::try_from(index).ok().and_then(|i| self.items.get(i)).ok_or_else(beyond);
        }
        let round = index.checked_div(count).ok_or_else(beyond)?;
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        order.shuffle(&mut stream(self.seed, self.split, Purpose::Order, round));
        Ok(&self.items[order[(index % count) as usize]])
    }
}
