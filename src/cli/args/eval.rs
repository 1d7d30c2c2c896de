//! The arguments of `perk eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use perk::{
    benchmarks::{Entry, Length},
    eval::Method,
    tasks::Position,
};

use super::{ANSWER_TOKENS, ComputeArgs, SAMPLES, count};

/// What `perk eval` does with evaluations that are there.
#[derive(Debug, Subcommand)]
pub enum EvalAction {
    /// Put two evaluations of the same questions side by side, with a paired test
    Compare {
        /// Folder of the first evaluation, A
        first: PathBuf,
        /// Folder of the second evaluation, B
        second: PathBuf,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
}

/// `perk eval`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Eval {
    /// What to do, if not to ask
    #[command(subcommand)]
    pub action: Option<EvalAction>,
    /// Benchmark: babilong, ruler, student-records, api-retrieval, hotpotqa, triviaqa, files, or held-out, which is what
    /// the checkpoint's own configuration holds out
    #[arg(long, value_name = "NAME", required = true)]
    pub task: Option<&'static Entry>,
    /// The benchmark's data: rows of BABILong (a folder, or hf:owner/name on the hub), files of bAbI's own format
    /// (a folder), or the files of the other tasks; babilong, ruler and student-records make their own without it
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Background text of babilong and ruler: a text or Parquet file, a folder of them, built-in, or none
    #[arg(long, value_name = "PATH", default_value = "built-in")]
    pub background: String,
    /// Methods to compare: perk, no-adaptation, base, icr, ft-icr, and rag, the base with the segments in its prompt
    /// that are most like the question by BM25
    #[arg(long, value_delimiter = ',', default_value = "perk", value_name = "LIST")]
    pub method: Vec<Method>,
    /// Run of meta-train, or one of its checkpoints, for perk; the newest run in runs/ if not given. Of several, each is
    /// evaluated, and means are printed
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub checkpoint: Vec<PathBuf>,
    /// Segments that rag puts into the prompt
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = count::<SAMPLES>)]
    pub retrieve: usize,
    /// Run of finetune, or one of its checkpoints, for ft-icr
    #[arg(long, value_name = "DIR")]
    pub finetuned: Option<PathBuf>,
    /// Configuration that names base, segments and prompt, for base and icr without a checkpoint
    #[arg(long, value_name = "FILE", conflicts_with = "checkpoint")]
    pub config: Option<PathBuf>,
    /// Override a key of that configuration; may be repeated
    #[arg(long = "set", value_name = "BLOCK.KEY=VALUE", requires = "config")]
    pub overrides: Vec<String>,
    /// Subtasks; all of the benchmark's if not given
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub tasks: Vec<String>,
    /// Lengths of the contexts: tokens as in 1k,2k,4k, or for held-out multiples of the trained one as in 1x,16x;
    /// without them, hotpotqa and triviaqa have each question's own documents
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub lengths: Vec<Length>,
    /// Where the facts, or the documents, that answer lie: pre, mid, post, random
    #[arg(long, value_delimiter = ',', default_value = "random", value_name = "LIST")]
    pub position: Vec<Position>,
    /// Most samples of each cell
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count::<SAMPLES>)]
    pub samples: usize,
    /// Seed of generated data; of several, as in 0,1,2, each is evaluated, and means are printed
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "0")]
    pub seed: Vec<u64>,
    /// Longest answer, in tokens; as in training if not given
    #[arg(long, value_name = "N", value_parser = count::<ANSWER_TOKENS>)]
    pub max_tokens: Option<usize>,
    /// The base, a folder, a GGUF file or hf:owner/name, if it is not where it was
    #[arg(long, value_name = "BASE")]
    pub base: Option<String>,
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Also say from how many questions on one document encoding it is cheaper than carrying it in the prompt
    #[arg(long)]
    pub cost: bool,
    /// Folder of the evaluation; the same settings go on where they were stopped
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the rows as JSON instead of tables
    #[arg(long)]
    pub json: bool,
}
