//! Which API carries out an instruction, among the documents of many APIs: APIBench (Patil et al. 2023, arXiv
//! 2305.15334) with the document at a chosen place, as in Lost in the Middle (Liu et al. 2023, arXiv
//! 2307.03172).

mod rows;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::seq::SliceRandom;

use self::rows::{Api, Row, Rows};
use super::{Benchmark, Cell, Entry, Length, Metric, known, tokens};
use crate::tasks::stream::{Purpose, stream};
use crate::tasks::{Episode, EpisodeSource, Position, Qa, Split, indexed};
use crate::text::Tokenizer;
use crate::{Error, Result};

const NAME: &str = "api-retrieval";

pub(super) const ENTRY: Entry = Entry {
    name: NAME,
    open: |given| Ok(Box::new(ApiRetrieval::open(given.some_data()?, given.tokenizer.clone(), given.seed)?)),
};

/// Instructions of APIBench files among the documents of their APIs. A subtask is a file of instructions:
/// `torchhub_eval`.
///
/// The other documents of a context come from a file of APIs (`torchhub_api.jsonl`) that has every call of the
/// subtask, where one is given, and else from the subtask's own rows. None of them has the call that answers.
/// Longer contexts hold the documents of shorter ones and more. Other APIs may suit an instruction too; as in
/// the files, the one call that they name counts.
#[derive(Debug, Clone)]
pub struct ApiRetrieval {
    subtasks: Vec<Subtask>,
    tokenizer: Tokenizer,
    seed: u64,
}

#[derive(Debug, Clone)]
struct Subtask {
    name: String,
    rows: Vec<Row>,
    /// Where the documents come from.
    path: PathBuf,
    documents: Vec<Document>,
}

#[derive(Debug, Clone)]
struct Document {
    api: Api,
    tokens: usize,
}

impl ApiRetrieval {
    /// Opens files of APIBench, or all `.json` and `.jsonl` files of folders; at least one must be of
    /// instructions, as `torchhub_eval.json` is. Files of APIs that serve no instructions are not used.
    ///
    /// # Errors
    /// A file that cannot be read; a row that is not as APIBench's, with file, line and field; no file of
    /// instructions, or two of the same name.
    pub fn open(paths: &[PathBuf], tokenizer: Tokenizer, seed: u64) -> Result<Self> {
        let (mut apis, mut questions) = (Vec::new(), Vec::new());
        for path in files(paths)? {
            match rows::read(&path)? {
                Rows::Apis(list) => apis.push((path, list)),
                Rows::Questions(rows) => questions.push((path, rows)),
            }
        }
        let mut subtasks: Vec<Subtask> = Vec::new();
        for (path, rows) in questions {
            let subtask = Subtask::new(&path, rows, &apis, &tokenizer)?;
            if subtasks.iter().any(|other| other.name == subtask.name) {
                let reason = format!("there is another file `{}`: rename one of them", subtask.name);
                return Err(Error::file(path, reason));
            }
            subtasks.push(subtask);
        }
        if subtasks.is_empty() {
            let path = paths.first().map_or_else(PathBuf::new, PathBuf::clone);
            let reason = "no file of instructions: give one whose rows have `code` and `api_data`, such as \
                          torchhub_eval.json";
            return Err(Error::file(path, reason));
        }
        Ok(Self { subtasks, tokenizer, seed })
    }

    /// The episode of a row, in a context of so many tokens. The document that answers is kept also where it alone is
    /// longer than the context.
    fn episode(&self, subtask: &Subtask, tokens: usize, position: Position, index: u64) -> Result<Episode> {
        let row = &subtask.rows[index as usize];
        let rng = |purpose| stream(self.seed, Split::HeldOut, purpose, index);
        let mut order: Vec<usize> = (0..subtask.documents.len()).collect();
        order.shuffle(&mut rng(Purpose::Background));
        let mut documents = subtask.others(row, tokens, count(&row.api, &self.tokenizer)?, &order)?;
        let place = match position {
            Position::Pre => 0,
            Position::Mid => documents.len() / 2,
            Position::Post => documents.len(),
            Position::Random => rng(Purpose::Order).random_range(0..=documents.len()),
        };
        documents.insert(place, &row.api.text);
        let (question, answers) = (row.instruction.clone(), subtask.answers(&row.api));
        Ok(Episode {
            name: format!("{}:{}", subtask.name, row.line),
            documents: documents.into_iter().map(str::to_owned).collect(),
            facts: vec![],
            qa: vec![Qa { question, answers, support: Vec::new() }],
        })
    }
}

/// The files themselves and those of folders, in order.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|e| Error::io(path, e))? {
            found.push(entry.map_err(|e| Error::io(path, e))?.path());
        }
        found.retain(|file| file.is_file() && file.extension().is_some_and(|e| e == "json" || e == "jsonl"));
        found.sort();
        if found.is_empty() {
            return Err(Error::file(path, "no .json or .jsonl file: expected those of APIBench"));
        }
        files.append(&mut found);
    }
    Ok(files)
}

impl Subtask {
    /// A file of instructions with documents from one of `files`, or its own.
    fn new(
        path: &Path,
        rows: Vec<Row>,
        files: &[(PathBuf, Vec<Api>)],
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        let has_all = |apis: &[Api]| {
            let calls: HashSet<&str> = apis.iter().map(|api| api.call.as_str()).collect();
            rows.iter().all(|row| calls.contains(row.api.call.as_str()))
        };
        let own = || (path.to_owned(), rows.iter().map(|row| row.api.clone()).collect());
        let (from, mut apis) = files.iter().find(|(_, apis)| has_all(apis)).cloned().unwrap_or_else(own);
        let mut seen = HashSet::new();
        apis.retain(|api| seen.insert(api.text.clone()));
        let document = |api: Api| Ok(Document { tokens: count(&api, tokenizer)?, api });
        let documents = apis.into_iter().map(document).collect::<Result<_>>()?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, rows, path: from, documents })
    }

    /// Other documents in a random order of the sample's own, as many as fit into `room` tokens.
    fn others(&self, row: &Row, wanted: usize, own: usize, order: &[usize]) -> Result<Vec<&str>> {
        let (mut tokens, mut found) = (own, Vec::new());
        for document in order.iter().map(|&i| &self.documents[i]) {
            if document.api.call.contains(&row.api.call) {
                continue;
            }
            if tokens + document.tokens > wanted {
                return Ok(found);
            }
            tokens += document.tokens;
            found.push(document.api.text.as_str());
        }
        if tokens < wanted { Err(self.too_few(wanted, tokens)) } else { Ok(found) }
    }

    /// The call, and the name where it is no other API's and part of no other API's call.
    fn answers(&self, api: &Api) -> Vec<String> {
        let shared = |name: &String| {
            let name = name.to_lowercase();
            let others = self.documents.iter().map(|document| &document.api).filter(|o| o.call != api.call);
            let has = |text: &str| text.to_lowercase().contains(&name);
            others.into_iter().any(|other| has(&other.call) || other.name.as_deref().is_some_and(has))
        };
        let name = api.name.iter().filter(|&name| *name != api.call && !shared(name));
        [&api.call].into_iter().chain(name).cloned().collect()
    }

    fn too_few(&self, wanted: usize, most: usize) -> Error {
        let (wanted, most) = (Length::Tokens(wanted), Length::Tokens(most));
        let count = self.documents.len();
        let reason = format!(
            "{count} documents have {most} tokens at most, too few for a context of length {wanted}: ask for \
             shorter ones, or give a file of more APIs"
        );
        Error::file(&self.path, reason)
    }
}

/// Tokens of a document on its lines.
fn count(api: &Api, tokenizer: &Tokenizer) -> Result<usize> {
    Ok(tokenizer.encode(&format!("{}\n", api.text))?.len())
}

impl Benchmark for ApiRetrieval {
    fn name(&self) -> &'static str {
        NAME
    }

    fn subtasks(&self) -> Vec<String> {
        self.subtasks.iter().map(|subtask| subtask.name.clone()).collect()
    }

    fn has_lengths(&self) -> bool {
        true
    }

    fn metric(&self) -> Metric {
        Metric::Substring
    }

    fn open(&self, cell: &Cell) -> Result<Box<dyn EpisodeSource + '_>> {
        let subtask = &self.subtasks[known(cell, NAME, &self.subtasks())?];
        let tokens = tokens(cell, NAME)?;
        let most = subtask.documents.iter().map(|document| document.tokens).sum();
        if tokens > most {
            return Err(subtask.too_few(tokens, most));
        }
        let position = cell.position;
        let make = move |index| self.episode(subtask, tokens, position, index);
        Ok(indexed(Some(subtask.rows.len()), make))
    }
}
