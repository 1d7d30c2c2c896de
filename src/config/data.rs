//! `[data]`: episodes, and how they become tokens.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ChatTemplate, Checker, TargetConfig, WorldConfig};
use crate::error::Fault;
use crate::text::Template;

/// Where episodes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Generated: records of students and questions about them.
    #[serde(rename = "student-records")]
    StudentRecords,
}

/// What questions about student records ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuestionsAbout {
    /// A field of one student.
    #[default]
    Recall,
    /// Whether two students share a field, or whose grade is higher or lower.
    Relation,
    /// The highest, lowest or average grade of a group; the average is rounded down.
    Aggregate,
    /// How many students there are of a group.
    Count,
    /// Three students by grade.
    Sort,
}

impl QuestionsAbout {
    /// All, in the order of tables.
    pub const ALL: [Self; 5] = [Self::Recall, Self::Relation, Self::Aggregate, Self::Count, Self::Sort];

    /// Its name in configurations and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::Relation => "relation",
            Self::Aggregate => "aggregate",
            Self::Count => "count",
            Self::Sort => "sort",
        }
    }
}

impl Task {
    /// Its name, as in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qa1 => "qa1",
            Self::Qa2 => "qa2",
            Self::Qa3 => "qa3",
            Self::Files => "files",
            Self::Babi => "babi",
            Self::StudentRecords => "student-records",
        }
    }
}

/// Where background sentences come from: written as `"built-in"`, `"none"`, or the path of a text file, of a Parquet
/// file or of a folder of such; a column of Parquet other than `text` stands behind `#`, as in `shards#content`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum BackgroundSource {
    /// The generator of this crate.
    BuiltIn,
    /// Facts only.
    None,
    /// Sentences of a text or Parquet file, or of all `.txt` and `.parquet` files of a folder.
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

/// Episodes, contexts, segments and queries. Unknown keys are refused by [`Raw`](super::Raw).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
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
    #[schemars(with = "String")]
    pub background: BackgroundSource,
    /// Background of held-out episodes, where it is not a held-out part of `background`. Of a text, the last
    /// fifth of each file is used here too.
    #[schemars(with = "Option<String>")]
    pub held_out_background: Option<BackgroundSource>,
    /// Background sentences of fewer tokens are not used.
    pub background_min_tokens: usize,
    /// Up to how often the background of a training context counts in the inner loss: each episode draws its own number,
    /// from 1, all orders of magnitude alike. A short context then has the inner gradient that one so many times as long
    /// would have, at the cost of a short one. Sentences that tell what may be asked count once; where a source does not
    /// know them, all do. 1, the default, counts everything once.
    pub background_repeats: f64,
    /// Training episodes over which the most that background counts grows from 1 to `background_repeats`, by equal factors;
    /// 0 for all of it from the first. What tells facts from background is learned easily while both count alike.
    pub background_repeats_ramp: u64,
    /// Tokens of a context of one multiple, before prefixes: background, or other student records, are added
    /// up to it.
    pub context_tokens: usize,
    /// The generated world and its stories.
    #[serde(flatten)]
    pub world: WorldConfig,
    /// Facts begin with `Mary Event 2:`, numbered per person from 0. In the task `babi` the first word of
    /// a fact is taken for the person.
    pub event_prefix: bool,
    /// Most questions asked about one generated story, or the questions about one context of student records.
    pub questions: usize,
    /// In training, questions of these kinds (`qa1`, `qa2`, `qa3`) are asked about a generated story too, as many
    /// of each; held-out episodes ask those of the task alone.
    pub also_asked: Vec<Task>,
    /// What questions about student records ask.
    pub questions_about: QuestionsAbout,
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
    /// What stands around the prompt where the base is a chat model.
    #[schemars(with = "Option<String>")]
    pub chat_template: ChatTemplate,
    /// What follows the prompt in training.
    #[serde(flatten)]
    pub target: TargetConfig,
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
            background_repeats: 1.0,
            background_repeats_ramp: 0,
            context_tokens: 72,
            world: WorldConfig::default(),
            event_prefix: true,
            questions: 1,
            also_asked: Vec::new(),
            questions_about: QuestionsAbout::Recall,
            segment_tokens: 40,
            pack_documents: true,
            number_offset_max: 0,
            shuffle_segments: false,
            prompt: "You have memorized {documents} documents.\n{question}\nAnswer: {answer}".into(),
            chat_template: ChatTemplate::None,
            target: TargetConfig::default(),
        }
    }
}

impl DataConfig {
    /// Most questions about one context of student records.
    pub const MAX_RECORD_QUESTIONS: usize = 40;

    /// Most repeats of a background: with more, sums in f32 lose the facts.
    const MOST_REPEATS: f64 = 1e6;

    /// Adds every fault of this block to `faults`. Files are looked at when they are opened, not here.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("data", faults);
        check.count("segment_tokens", self.segment_tokens);
        check.range("background_min_tokens", self.background_min_tokens, 0, Checker::MOST);
        check.range("number_offset_max", self.number_offset_max, 0, Checker::MOST);
        let repeats = (1.0..=Self::MOST_REPEATS).contains(&self.background_repeats);
        let reason =
            format!("is {}, not a number from 1 to {:e}", self.background_repeats, Self::MOST_REPEATS);
        check.require(repeats, "background_repeats", reason);
        if let Err(reason) = Template::parse(&self.prompt) {
            check.require(false, "prompt", reason);
        }
        if let Err(reason) = self.chat_template.check() {
            check.require(false, "chat_template", reason);
        }
        self.target.validate(&mut check);
        match self.task {
            Task::Qa1 => self.validate_world(1, &mut check),
            Task::Qa2 => self.validate_world(2, &mut check),
            Task::Qa3 => self.validate_world(3, &mut check),
            Task::Files | Task::Babi => self.validate_files(&mut check),
            Task::StudentRecords => check.range("questions", self.questions, 1, Self::MAX_RECORD_QUESTIONS),
        }
        let worlds = [Task::Qa1, Task::Qa2, Task::Qa3];
        let is_other = |(i, task): (usize, &Task)| {
            worlds.contains(task) && *task != self.task && !self.also_asked[..i].contains(task)
        };
        let others = self.also_asked.iter().enumerate().all(is_other);
        let possible = self.also_asked.is_empty() || (worlds.contains(&self.task) && others);
        check.require(
            possible,
            "also_asked",
            "may hold the others of qa1, qa2 and qa3, each once, with a task of these",
        );
        if self.task != Task::Files {
            check.count("context_tokens", self.context_tokens);
        }
        // The built-in generator's shortest sentences have seven words and a full stop.
        let built_in = Some(&BackgroundSource::BuiltIn);
        let used = [Some(&self.background), self.held_out_background.as_ref()].contains(&built_in);
        let possible = !used || self.background_min_tokens <= 8;
        check.require(possible, "background_min_tokens", "must be at most 8 with the built-in background");
    }

    fn validate_world(&self, fewest_facts: usize, check: &mut Checker) {
        self.world.validate(fewest_facts, check);
        check.range("questions", self.questions, 1, WorldConfig::MANY);
    }

    fn validate_files(&self, check: &mut Checker) {
        let reason = "must name at least one file for the tasks \"files\" and \"babi\"";
        check.require(!self.files.is_empty(), "files", reason);
        for path in self.held_out_files.iter().filter(|path| self.files.contains(path)) {
            check.require(false, "held_out_files", format!("{} is also in data.files", path.display()));
        }
        let fraction = self.held_out_fraction;
        let some = (fraction > 0.0 && fraction < 1.0) || !self.held_out_files.is_empty();
        check.require(some, "held_out_fraction", format!("is {fraction}, must lie between 0 and 1"));
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
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let config = DataConfig {
            task: Task::Qa3,
            world: WorldConfig { min_facts: 2, max_facts: 1, places: 1, actors: 9, ..WorldConfig::default() },
            segment_tokens: 0,
            context_tokens: 0,
            also_asked: vec![Task::Qa3],
            prompt: "no answer here".into(),
            background_min_tokens: 9,
            background_repeats: 0.5,
            ..DataConfig::default()
        };
        let keys = [
            "segment_tokens",
            "background_repeats",
            "prompt",
            "min_facts",
            "max_facts",
            "actors",
            "places",
            "also_asked",
            "context_tokens",
            "background_min_tokens",
        ];
        assert_eq!(faults(&config), keys.map(|k| format!("data.{k}")));
        let records = DataConfig { task: Task::StudentRecords, questions: 41, context_tokens: 0, ..config };
        let keys = [
            "segment_tokens",
            "background_repeats",
            "prompt",
            "questions",
            "also_asked",
            "context_tokens",
            "background_min_tokens",
        ];
        assert_eq!(faults(&records), keys.map(|k| format!("data.{k}")));
        let files = DataConfig { task: Task::Files, held_out_fraction: f64::NAN, ..DataConfig::default() };
        assert_eq!(faults(&files), ["data.files", "data.held_out_fraction"]);
    }

    #[test]
    fn a_configuration_survives_toml() {
        let config = DataConfig {
            task: Task::Babi,
            background: BackgroundSource::Path("books".into()),
            held_out_background: Some(BackgroundSource::None),
            ..DataConfig::default()
        };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<DataConfig>(&text).unwrap(), config);
        for about in QuestionsAbout::ALL {
            let text = format!("task = \"student-records\"\nquestions_about = \"{}\"", about.name());
            let config: DataConfig = toml::from_str(&text).unwrap();
            assert_eq!((config.task, config.questions_about), (Task::StudentRecords, about));
            assert_eq!(toml::from_str::<DataConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        }
        let unknown = toml::from_str::<DataConfig>("questions_about = \"names\"").unwrap_err().to_string();
        assert!(unknown.contains("recall"), "{unknown}");
        assert!(toml::from_str::<DataConfig>("task = \"qa4\"").unwrap_err().to_string().contains("qa1"));
    }
}
