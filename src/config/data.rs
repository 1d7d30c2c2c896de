//! The blocks `[data]`, episodes and how they become tokens, and `[corpus]`, text for pretraining.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Fault;

/// Where episodes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Generated: `Where is Mary?`, one supporting fact.
    Qa1,
    /// Generated: `Where is the apple?`, two supporting facts.
    Qa2,
    /// Generated: `Where was the apple before the kitchen?`, three supporting facts.
    Qa3,
    /// JSONL files, one episode a line.
    Files,
    /// Files of bAbI's own format, their facts hidden in background text.
    Babi,
}

/// Where background sentences come from: written as `"built-in"`, `"none"`, or the path of a text file or
/// of a folder of `.txt` files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum BackgroundSource {
    /// The generator of this crate.
    BuiltIn,
    /// Facts only.
    None,
    /// Sentences of a text file, or of all `.txt` files of a folder.
    Path(PathBuf),
}

impl From<String> for BackgroundSource {
    fn from(text: String) -> Self {
        match text.as_str() {
            "built-in" => Self::BuiltIn,
            "none" => Self::None,
            _ => Self::Path(text.into()),
        }
    }
}

impl From<BackgroundSource> for String {
    fn from(source: BackgroundSource) -> Self {
        match source {
            BackgroundSource::BuiltIn => "built-in".into(),
            BackgroundSource::None => "none".into(),
            BackgroundSource::Path(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// Episodes, contexts, segments and queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Where episodes come from.
    pub task: Task,
    /// Data files of the tasks `files` and `babi`.
    pub files: Vec<PathBuf>,
    /// Data files of held-out episodes; without any, a part of `files` is held out.
    pub held_out_files: Vec<PathBuf>,
    /// The part of `files` that is held out where there are no `held_out_files`: whole contexts (`files`)
    /// or stories (`babi`), at least one.
    pub held_out_fraction: f64,
    /// Sentences among which facts are hidden.
    pub background: BackgroundSource,
    /// Background of held-out episodes, where it is not a held-out part of `background`. Of a text, the last
    /// fifth of each file is used here too.
    pub held_out_background: Option<BackgroundSource>,
    /// Background sentences of fewer tokens are not used.
    pub background_min_tokens: usize,
    /// Tokens of a context of one multiple, before prefixes: background is added up to it.
    pub context_tokens: usize,
    /// Fewest facts of a generated story.
    pub min_facts: usize,
    /// Most facts of a generated story.
    pub max_facts: usize,
    /// People of the generated world.
    pub actors: usize,
    /// Places of the generated world.
    pub places: usize,
    /// Objects of the generated world (qa2, qa3).
    pub objects: usize,
    /// Verbs of motion of the generated world.
    pub verbs: usize,
    /// Facts begin with `Mary Event 2:`, numbered per person from 0. In the task `babi` the first word of
    /// a fact is taken for the person.
    pub event_prefix: bool,
    /// Most questions asked about one generated story.
    pub questions: usize,
    /// Most tokens of a segment's text, its prefix `doc_i:` not counted.
    pub segment_tokens: usize,
    /// Whether a segment may hold sentences of several documents; if not, each document starts one.
    pub pack_documents: bool,
    /// In training the first segment's number is drawn from 0 to this; held-out segments count from 0.
    pub number_offset_max: usize,
    /// In training segments are shuffled before they are numbered.
    pub shuffle_segments: bool,
    /// The query: `{question}`, then `{answer}` at the end, and where wanted `{documents}`, the number of
    /// segments.
    pub prompt: String,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            task: Task::Qa1,
            files: Vec::new(),
            held_out_files: Vec::new(),
            held_out_fraction: 0.1,
            background: BackgroundSource::BuiltIn,
            held_out_background: None,
            background_min_tokens: 0,
            context_tokens: 72,
            min_facts: 2,
            max_facts: 6,
            actors: 4,
            places: 6,
            objects: 3,
            verbs: 5,
            event_prefix: true,
            questions: 1,
            segment_tokens: 40,
            pack_documents: true,
            number_offset_max: 0,
            shuffle_segments: false,
            prompt: "You have memorized {documents} documents.\n{question}\nAnswer: {answer}".into(),
        }
    }
}

impl DataConfig {
    /// Adds every fault of this block to `faults`. Files are looked at when they are opened, not here.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = |ok: bool, key: &str, reason: String| {
            if !ok {
                faults.push(Fault { key: format!("data.{key}"), reason });
            }
        };
        check(self.segment_tokens > 0, "segment_tokens", "must be at least 1".into());
        if let Err(reason) = crate::text::Template::parse(&self.prompt) {
            check(false, "prompt", reason);
        }
        match self.task {
            Task::Qa1 => self.world().validate(1, &mut check),
            Task::Qa2 => self.world().validate(2, &mut check),
            Task::Qa3 => self.world().validate(3, &mut check),
            Task::Files | Task::Babi => self.validate_files(&mut check),
        }
        if self.task != Task::Files {
            check(self.context_tokens > 0, "context_tokens", "must be at least 1".into());
        }
        // The built-in generator's shortest sentences have seven words and a full stop.
        let built_in = Some(&BackgroundSource::BuiltIn);
        let used = [Some(&self.background), self.held_out_background.as_ref()].contains(&built_in);
        let ok = !used || self.background_min_tokens <= 8;
        check(ok, "background_min_tokens", "must be at most 8 with the built-in background".into());
    }

    fn validate_files(&self, check: &mut Check<'_>) {
        let reason = "must name at least one file for the tasks \"files\" and \"babi\"";
        check(!self.files.is_empty(), "files", reason.into());
        for path in self.held_out_files.iter().filter(|path| self.files.contains(path)) {
            check(false, "held_out_files", format!("{} is also in data.files", path.display()));
        }
        let fraction = self.held_out_fraction;
        let ok = (fraction > 0.0 && fraction < 1.0) || !self.held_out_files.is_empty();
        check(ok, "held_out_fraction", format!("is {fraction}, must lie between 0 and 1"));
    }

    /// The generated world of the tasks qa1, qa2 and qa3.
    pub fn world(&self) -> WorldConfig {
        WorldConfig {
            min_facts: self.min_facts,
            max_facts: self.max_facts,
            actors: self.actors,
            places: self.places,
            objects: self.objects,
            verbs: self.verbs,
            event_prefix: self.event_prefix,
            questions: self.questions,
        }
    }
}

/// Reports `key` as a fault where the condition does not hold.
type Check<'a> = dyn FnMut(bool, &str, String) + 'a;

/// Size of a generated world and of its stories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorldConfig {
    /// Fewest facts of a story.
    pub min_facts: usize,
    /// Most facts of a story.
    pub max_facts: usize,
    /// People.
    pub actors: usize,
    /// Places.
    pub places: usize,
    /// Objects.
    pub objects: usize,
    /// Verbs of motion.
    pub verbs: usize,
    /// Whether facts begin with `Mary Event 2:`.
    pub event_prefix: bool,
    /// Most questions about one story.
    pub questions: usize,
}

impl WorldConfig {
    /// People that the world knows by name.
    pub const MAX_ACTORS: usize = 8;
    /// Places that the world knows.
    pub const MAX_PLACES: usize = 9;
    /// Objects that the world knows.
    pub const MAX_OBJECTS: usize = 6;
    /// Verbs of motion that the world knows.
    pub const MAX_VERBS: usize = 5;

    fn validate(&self, fewest_facts: usize, check: &mut Check<'_>) {
        let mut range = |key: &str, value: usize, low: usize, high: usize| {
            check(
                (low..=high).contains(&value),
                key,
                format!("is {value}, must lie between {low} and {high}"),
            );
        };
        range("min_facts", self.min_facts, fewest_facts, 10_000);
        range("max_facts", self.max_facts, self.min_facts, 10_000);
        range("actors", self.actors, 1, Self::MAX_ACTORS);
        // Nobody moves to where they are, so there must be somewhere else.
        range("places", self.places, 2, Self::MAX_PLACES);
        range("objects", self.objects, 1, Self::MAX_OBJECTS);
        range("verbs", self.verbs, 1, Self::MAX_VERBS);
        range("questions", self.questions, 1, 10_000);
    }
}

/// The block `[corpus]`: generated text for pretraining a tiny base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorpusConfig {
    /// Part of the documents that repeat their own sentences; the others are a context, a question and its
    /// answer.
    pub repeat_fraction: f64,
    /// Part of the stories with two supporting facts.
    pub two_hop_fraction: f64,
    /// Part of the stories whose facts begin with `Mary Event 2:`.
    pub event_fraction: f64,
    /// Part of the documents cut into pieces that begin with `doc_12:`, numbered from a random start.
    pub numbered_fraction: f64,
    /// Numbers in `doc_12:` lie below this.
    pub numbers: usize,
    /// Tokens of background in a context: one of these.
    pub background_tokens: Vec<usize>,
    /// Fewest facts of a story.
    pub min_facts: usize,
    /// Most facts of a story.
    pub max_facts: usize,
    /// People of the world.
    pub actors: usize,
    /// Places of the world.
    pub places: usize,
    /// Objects of the world.
    pub objects: usize,
    /// Verbs of motion of the world.
    pub verbs: usize,
    /// The query, as in `[data]`.
    pub prompt: String,
}

impl Default for CorpusConfig {
    fn default() -> Self {
        Self {
            repeat_fraction: 0.3,
            two_hop_fraction: 0.3,
            event_fraction: 0.7,
            numbered_fraction: 0.5,
            numbers: 100,
            background_tokens: vec![0, 40, 60, 90],
            min_facts: 2,
            max_facts: 6,
            actors: 4,
            places: 6,
            objects: 3,
            verbs: 5,
            prompt: "Question: {question} Answer: {answer}".into(),
        }
    }
}

impl CorpusConfig {
    /// Adds every fault of this block to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = |ok: bool, key: &str, reason: String| {
            if !ok {
                faults.push(Fault { key: format!("corpus.{key}"), reason });
            }
        };
        for (key, value) in [
            ("repeat_fraction", self.repeat_fraction),
            ("two_hop_fraction", self.two_hop_fraction),
            ("event_fraction", self.event_fraction),
            ("numbered_fraction", self.numbered_fraction),
        ] {
            check((0.0..=1.0).contains(&value), key, format!("is {value}, must lie between 0 and 1"));
        }
        let numbers = self.numbers;
        check((1..=1_000_000).contains(&numbers), "numbers", format!("is {numbers}, must be 1 to 1000000"));
        check(!self.background_tokens.is_empty(), "background_tokens", "must hold one number or more".into());
        if let Err(reason) = crate::text::Template::parse(&self.prompt) {
            check(false, "prompt", reason);
        }
        let fewest_facts = if self.two_hop_fraction > 0.0 { 2 } else { 1 };
        self.world(false).validate(fewest_facts, &mut check);
    }

    /// The world of a document's story.
    pub fn world(&self, event_prefix: bool) -> WorldConfig {
        WorldConfig {
            min_facts: self.min_facts,
            max_facts: self.max_facts,
            actors: self.actors,
            places: self.places,
            objects: self.objects,
            verbs: self.verbs,
            event_prefix,
            questions: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(config: &DataConfig) -> Vec<String> {
        let mut faults = Vec::new();
        config.validate(&mut faults);
        faults.into_iter().map(|f| f.key).collect()
    }

    #[test]
    fn defaults_have_no_faults() {
        assert!(faults(&DataConfig::default()).is_empty());
        let mut found = Vec::new();
        CorpusConfig::default().validate(&mut found);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let config = DataConfig {
            task: Task::Qa3,
            min_facts: 2,
            max_facts: 1,
            places: 1,
            actors: 9,
            segment_tokens: 0,
            context_tokens: 0,
            prompt: "no answer here".into(),
            background_min_tokens: 9,
            ..DataConfig::default()
        };
        let keys = [
            "segment_tokens",
            "prompt",
            "min_facts",
            "max_facts",
            "actors",
            "places",
            "context_tokens",
            "background_min_tokens",
        ];
        assert_eq!(faults(&config), keys.map(|k| format!("data.{k}")));
        let files = DataConfig { task: Task::Files, held_out_fraction: f64::NAN, ..DataConfig::default() };
        assert_eq!(faults(&files), ["data.files", "data.held_out_fraction"]);
    }

    #[test]
    fn a_configuration_survives_toml_and_unknown_keys_do_not() {
        let config = DataConfig {
            task: Task::Babi,
            background: BackgroundSource::Path("books".into()),
            held_out_background: Some(BackgroundSource::None),
            ..DataConfig::default()
        };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<DataConfig>(&text).unwrap(), config);
        assert!(toml::from_str::<DataConfig>("contxt_tokens = 3").is_err());
        assert!(toml::from_str::<DataConfig>("task = \"qa4\"").unwrap_err().to_string().contains("qa1"));
    }
}
