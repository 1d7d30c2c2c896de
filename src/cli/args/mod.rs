//! The command line.

mod config;
mod data;
mod encode;
mod eval;
mod inspect;
mod serve;

pub use config::{Completions, Config, ConfigAction, ConfigOf, Man};
pub use data::{Data, DataAction, Episodes};
pub use encode::{ComputeArgs, ContextForm, Encode, HowToEncode, Start};
pub use eval::{Eval, EvalAction};
pub use inspect::Inspect;
pub use serve::Serve;

use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use perk::{
    config::{EvalConfig, MatmulPrecision},
    device::DeviceName,
};

/// Long-context reasoning as parameter-efficient test-time learning.
#[derive(Debug, Parser)]
#[command(name = "perk", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub manner: Manner,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Manner {
    /// When to use colours; with auto, on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, global = true, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub color: ColorChoice,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: every step, what was saved, time and memory
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Meta-train an adapter that memorises contexts by gradient steps
    MetaTrain(MetaTrain),
    /// Fine-tune the same adapter with the context in the prompt: the baseline of meta-training
    Finetune(MetaTrain),
    /// Write a context into an adapter, by gradient steps on its text
    Encode(Encode),
    /// Ask an encoded context: the answer comes from the adapter alone
    Ask(Ask),
    /// Answer over HTTP: documents are encoded once and asked often, in the form of OpenAI's interface
    Serve(Serve),
    /// Show what an encoded context or a checkpoint has learned: token by token, by layer and by step
    Inspect(Inspect),
    /// List, show, check and remove encoded contexts
    Adapters(Adapters),
    /// Write an encoded context in the form that another tool loads
    Export(Export),
    /// Write a checkpoint as others get it: without the optimiser's state, the adapter in bf16
    Publish(Publish),
    /// Ask a benchmark's questions by several methods, and score the answers
    Eval(Eval),
    /// Write one page of runs and evaluations: scores, curves, configurations and what differs
    Report(Report),
    /// Look at the episodes of a configuration token by token, or write them down
    Data(Data),
    /// Train a small base from nothing, by next-token prediction
    Pretrain(Pretrain),
    /// Download a base from the hub, check it, and say where it lies
    Fetch(Fetch),
    /// Say what this build and this machine have for perk, and what to do about what is missing
    Doctor(Doctor),
    /// Check configurations, or print the schema by which editors complete them
    Config(Config),
    /// Print what makes a shell complete perk's commands and options
    Completions(Completions),
    /// Write man pages of all commands
    Man(Man),
}

/// `perk meta-train` and `perk finetune`.
#[derive(Debug, Args)]
pub struct MetaTrain {
    /// Configuration file; with --resume DIR, that run's own if not given
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    pub config: Option<PathBuf>,
    /// Override a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "BLOCK.KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Print the resolved configuration, the size of what is trained and the memory needed, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Continue a run from its last checkpoint: the one in DIR, or the newest of this configuration
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "clap's form of an option whose value may be left out")]
    pub resume: Option<Option<PathBuf>>,
    /// Where to compute, instead of run.device: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "NAME")]
    pub device: Option<DeviceName>,
    /// How products with frozen weights are taken, instead of model.matmul_precision: highest, high or medium
    #[arg(long, value_name = "NAME")]
    pub matmul_precision: Option<MatmulPrecision>,
    /// The base, a folder, a GGUF file or hf:owner/name, instead of model.base; with --resume, if it is not where it was
    #[arg(long, value_name = "BASE")]
    pub base: Option<String>,
    /// Run folder, instead of run.dir (finetune: run.dir with `-ft-icr`); must be new, empty, or of a run that did not
    /// finish a step
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Print JSON instead of tables: the result, or with --dry-run the plan
    #[arg(long)]
    pub json: bool,
}

/// `perk ask`.
#[derive(Debug, Args)]
pub struct Ask {
    /// The question; without one, questions are read from standard input
    pub question: Option<String>,
    /// Adapter of perk encode: its folder, or its name in the store
    #[arg(long, value_name = "DIR", required_unless_present = "context", conflicts_with = "context")]
    pub adapter: Option<PathBuf>,
    /// Encode this context first, unless that was done before; may be repeated; - is standard input
    #[arg(long, value_name = "FILE")]
    pub context: Vec<PathBuf>,
    /// How to encode it
    #[command(flatten)]
    pub how: HowToEncode,
    /// Questions, a JSON object with `question` a line; needs --out
    #[arg(long, value_name = "FILE", requires = "out", conflicts_with = "question")]
    pub questions: Option<PathBuf>,
    /// Answers to --questions, a JSON object a line; what is there already is not asked again
    #[arg(long, value_name = "FILE", requires = "questions")]
    pub out: Option<PathBuf>,
    /// Also ask the base without the adapter
    #[arg(long)]
    pub compare_base: bool,
    /// Also ask the base with this context in its prompt; may be repeated
    #[arg(long, value_name = "FILE")]
    pub in_context: Vec<PathBuf>,
    /// Show the facts that the answer was led to by, where the model was trained to recall them
    #[arg(long, conflicts_with = "questions")]
    pub show_support: bool,
    /// How to choose tokens
    #[command(flatten)]
    pub choice: Choice,
    /// Print a JSON object a question, with the answer taken apart, its tokens and its times
    #[arg(long)]
    pub json: bool,
}

/// How tokens are chosen.
#[derive(Debug, Args)]
pub struct Choice {
    /// Longest answer, in tokens; as in meta-training if not given
    #[arg(long, value_name = "N", value_parser = count::<ANSWER_TOKENS>)]
    pub max_tokens: Option<usize>,
    /// Draw tokens at this temperature, instead of taking the likeliest
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    /// Draw only from the likeliest tokens that make up this probability
    #[arg(long, value_name = "P", requires = "temperature")]
    pub top_p: Option<f64>,
    /// Seed of the draw
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
}

/// `perk adapters`.
#[derive(Debug, Args)]
pub struct Adapters {
    /// What to do
    #[command(subcommand)]
    pub action: AdaptersAction,
}

/// What `perk adapters` does.
#[derive(Debug, Subcommand)]
pub enum AdaptersAction {
    /// One line for each
    List {
        /// Folder of encoded contexts
        #[arg(long, value_name = "DIR", default_value = STORE)]
        store: PathBuf,
        /// Print JSON: name, folder and record of each
        #[arg(long)]
        json: bool,
    },
    /// The record of one, as JSON
    Show(Named),
    /// Check that the files of the named ones, or of all, are those that were written, and fit their base
    Verify {
        /// Names in the store; all if none is given
        names: Vec<String>,
        /// Folder of encoded contexts
        #[arg(long, value_name = "DIR", default_value = STORE)]
        store: PathBuf,
        /// The base, a folder, a GGUF file or hf:owner/name, if it is not where it was
        #[arg(long, value_name = "BASE")]
        base: Option<String>,
        /// Print JSON: of each whether it is well, and what is wrong with it
        #[arg(long)]
        json: bool,
    },
    /// Remove one
    Rm(Named),
}

/// One adapter of a store.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name in the store
    pub name: String,
    /// Folder of encoded contexts
    #[arg(long, value_name = "DIR", default_value = STORE)]
    pub store: PathBuf,
}

/// `perk export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Adapter of perk encode: its folder, or its name in the store
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,
    /// Form of the export
    #[arg(long, value_enum, default_value_t = ExportForm::Peft)]
    pub format: ExportForm,
    /// What to write: a folder, or for the forms of GGUF a file; must not exist
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// Read what was written, and compare its logits with those of the base with the adapter
    #[arg(long)]
    pub verify: bool,
    /// Print JSON: what was written, and how its logits compare
    #[arg(long)]
    pub json: bool,
    /// Folder of encoded contexts
    #[arg(long, value_name = "DIR", default_value = STORE)]
    pub store: PathBuf,
    /// The base, a folder, a GGUF file or hf:owner/name, if it is not where it was
    #[arg(long, value_name = "BASE")]
    pub base: Option<String>,
}

/// Form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportForm {
    /// PEFT's two files, for PEFT, transformers and vLLM
    Peft,
    /// The base with the adapter added to its weights, as a model folder
    Merged,
    /// llama.cpp's adapter file
    GgufLora,
    /// The base with the adapter added to its weights, as one GGUF file
    MergedGguf,
}

/// Where meta-train puts its runs if nothing else is said.
pub const RUNS: &str = "runs";

/// Where encoded contexts are kept.
pub const STORE: &str = "adapters";

/// Most of an answer's tokens, as for `eval.max_new_tokens`.
const ANSWER_TOKENS: usize = EvalConfig::MOST_NEW_TOKENS;

/// Most samples of a cell, as for `eval.episodes`.
const SAMPLES: usize = EvalConfig::MOST_EPISODES;

/// A count from 1 to `MOST`.
fn count<const MOST: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("must be a whole number from 1 to {MOST}"))
}

/// `perk pretrain`.
#[derive(Debug, Args)]
pub struct Pretrain {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Override a key of the configuration; may be repeated
    #[arg(long = "set", value_name = "BLOCK.KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Folder of the new base, instead of the one in the configuration
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `perk publish`.
#[derive(Debug, Args)]
pub struct Publish {
    /// Run of meta-train, or one of its checkpoints
    #[arg(long, value_name = "DIR")]
    pub checkpoint: PathBuf,
    /// The new folder
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// `perk fetch`.
#[derive(Debug, Args)]
pub struct Fetch {
    /// The base, hf:owner/name
    #[arg(value_name = "BASE")]
    pub base: String,
    /// Branch, tag or commit
    #[arg(long, value_name = "NAME")]
    pub revision: Option<String>,
    /// Print JSON: where the base lies, and its files
    #[arg(long)]
    pub json: bool,
}

/// `perk report`.
#[derive(Debug, Args)]
pub struct Report {
    /// Run folders of meta-train and finetune, or folders of evaluations
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// The page, which needs no network
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub html: PathBuf,
    /// Print everything as JSON instead
    #[arg(long, conflicts_with = "html")]
    pub json: bool,
}

/// `perk doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}
