//! Questions about several documents: HotpotQA (Yang et al. 2018, arXiv 1809.09600) and TriviaQA (Joshi et al.
//! 2017, arXiv 1705.03551).

mod hotpot;
mod trivia;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;
use rand::seq::index::sample as sample_indices;

use super::records::Kept;
use super::{Benchmark, Cell, Entry, Metric, known, tokens};
use crate::files::read_text;
use crate::tasks::stream::{Purpose, stream};
use crate::tasks::{Episode, EpisodeSource, Position, Qa, Split, indexed};
use crate::text::Tokenizer;
use crate::{Error, Result};

pub(super) const HOTPOTQA: Entry = Entry {
    name: "hotpotqa",
    open: |given| Ok(Box::new(MultiDoc::hotpotqa(given.one_file()?, given.tokenizer, given.seed)?)),
};

pub(super) const TRIVIAQA: Entry = Entry {
    name: "triviaqa",
    open: |given| {
        let (path, evidence) = match given.some_data()? {
            [path] => (path, None),
            [path, evidence] => (path, Some(evidence.as_path())),
            _ => {
                return Err(Error::Invalid("triviaqa has a file and a folder of evidence".to_owned()));
            }
        };
        Ok(Box::new(MultiDoc::triviaqa(path, evidence, given.tokenizer, given.seed)?))
    },
};

/// Documents that would not fit may be passed over this often before a context counts as full.
const MISSES: usize = 32;

/// A file of questions with their documents.
///
/// A context without a length has the question's own documents. One with a length has those of them that
/// support the answer, always, and as many others as fit: the question's own first, then those of the file's
/// other questions in an order that seed and index decide. Documents read `Title`, a line break, text.
///
/// The position says where the supporting documents go: first, in the middle, last, or each anywhere; the
/// others are the same at every position. Of TriviaQA all of a question's own documents count as supporting.
pub struct MultiDoc {
    name: &'static str,
    path: PathBuf,
    questions: Vec<Question>,
    /// The row of each question in the file, from 1.
    rows: Vec<usize>,
    /// What to tell a person of rows that are not asked.
    notes: Vec<String>,
    /// Question and document of every document in the file, each title and text once.
    all: Vec<(usize, usize)>,
    tokenizer: Tokenizer,
    seed: u64,
}

/// A question of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    question: String,
    /// At least one.
    answers: Vec<String>,
    /// At least one.
    documents: Vec<Document>,
    /// The sentences that decide the answer; empty where they are not known.
    support: Vec<String>,
}

/// A document of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Document {
    title: String,
    text: Text,
    supports: bool,
}

/// The text of a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Text {
    Here(String),
    /// Read when it is needed.
    File(PathBuf),
}

impl Document {
    fn read(&self) -> Result<String> {
        let text = match &self.text {
            Text::Here(text) => text.clone(),
            Text::File(path) => read_text(path)?.trim().to_owned(),
        };
        let title = self.title.trim();
        Ok(if title.is_empty() { text } else { format!("{}\n{text}", self.title) })
    }
}

impl MultiDoc {
    /// Opens a file of HotpotQA's distractor setting: rows with `question`, `answer`, `context` and
    /// `supporting_facts`, as the official JSON has them or as the hub's copies do.
    ///
    /// # Errors
    /// With file, row and field, if the file is malformed.
    pub fn hotpotqa(path: &Path, tokenizer: &Tokenizer, seed: u64) -> Result<Self> {
        Ok(Self::new(HOTPOTQA.name, path, hotpot::read(path)?, tokenizer, seed))
    }

    /// Opens a file of TriviaQA: the official JSON with its folder of `evidence`, or rows that hold the texts
    /// of their `entity_pages` and `search_results`. Evidence is read when it is needed.
    ///
    /// # Errors
    /// With file, row and field, if the file is malformed, or names evidence and `evidence` is `None`.
    pub fn triviaqa(path: &Path, evidence: Option<&Path>, tokenizer: &Tokenizer, seed: u64) -> Result<Self> {
        Ok(Self::new(TRIVIAQA.name, path, trivia::read(path, evidence)?, tokenizer, seed))
    }

    fn new(name: &'static str, path: &Path, kept: Kept<Question>, tokenizer: &Tokenizer, seed: u64) -> Self {
        let (rows, questions): (Vec<usize>, Vec<Question>) = kept.rows.into_iter().unzip();
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for (q, question) in questions.iter().enumerate() {
            for (d, document) in question.documents.iter().enumerate() {
                if seen.insert((&document.title, &document.text)) {
                    all.push((q, d));
                }
            }
        }
        let (path, tokenizer) = (path.to_owned(), tokenizer.clone());
        Self { name, path, all, questions, rows, notes: kept.notes, tokenizer, seed }
    }

    /// The documents beside the supporting ones, which fill a context of so many tokens with them.
    fn fill(&self, index: usize, supporting: &[String], context_tokens: usize) -> Result<Vec<String>> {
        let mut room = context_tokens;
        for document in supporting {
            room = room.saturating_sub(self.document_tokens(document)?);
        }
        let (mut chosen, mut misses) = (Vec::new(), 0);
        for document in self.candidates(index) {
            if room == 0 || misses == MISSES {
                return Ok(chosen);
            }
            let text = document.read()?;
            let tokens = self.document_tokens(&text)?;
            if tokens > room {
                misses += 1;
            } else {
                room -= tokens;
                chosen.push(text);
            }
        }
        if room > 0 && misses == 0 {
            let reason =
                format!("all its documents together do not fill a context of {context_tokens} tokens");
            return Err(Error::file(&self.path, reason));
        }
        Ok(chosen)
    }

    /// The question's own documents that do not support the answer, then those of the other questions in
    /// random order.
    fn candidates(&self, index: usize) -> impl Iterator<Item = &Document> {
        let own = &self.questions[index].documents;
        let titles: HashSet<&str> = own.iter().map(|document| document.title.as_str()).collect();
        let mut others = self.all.clone();
        others.shuffle(&mut stream(self.seed, Split::HeldOut, Purpose::Background, index as u64));
        let others = others.into_iter().map(|(q, d)| &self.questions[q].documents[d]);
        let others = others.filter(move |document| !titles.contains(document.title.as_str()));
        own.iter().filter(|document| !document.supports).chain(others)
    }

    /// Tokens of a document that follows another.
    fn document_tokens(&self, document: &str) -> Result<usize> {
        Ok(self.tokenizer.encode(&format!("\n{document}"))?.len())
    }

    fn documents(&self, tokens: Option<usize>, position: Position, index: usize) -> Result<Vec<String>> {
        let own = &self.questions[index].documents;
        let read = |supports| -> Result<Vec<String>> {
            own.iter().filter(|document| document.supports == supports).map(Document::read).collect()
        };
        let Some(context_tokens) = tokens else {
            if position == Position::Random {
                return own.iter().map(Document::read).collect();
            }
            return Ok(self.arrange(position, index, read(true)?, read(false)?));
        };
        let supporting = read(true)?;
        let mut others = self.fill(index, &supporting, context_tokens)?;
        others.shuffle(&mut stream(self.seed, Split::HeldOut, Purpose::Order, index as u64));
        Ok(self.arrange(position, index, supporting, others))
    }

    /// The supporting documents, in their order, at their place among the others.
    fn arrange(
        &self,
        position: Position,
        index: usize,
        supporting: Vec<String>,
        others: Vec<String>,
    ) -> Vec<String> {
        let (total, count) = (supporting.len() + others.len(), supporting.len());
        let first = match position {
            Position::Pre => 0,
            Position::Mid => others.len() / 2,
            Position::Post => others.len(),
            Position::Random => {
                // Not the stream that has shuffled the others.
                let mut rng = stream(self.seed, Split::HeldOut, Purpose::Facts, index as u64);
                let mut places = sample_indices(&mut rng, total, count).into_vec();
                places.sort_unstable();
                return merge(&places, supporting, others);
            }
        };
        merge(&(first..first + count).collect::<Vec<_>>(), supporting, others)
    }
}

/// `supporting` at the given places, ascending, and `others` at all else.
fn merge(places: &[usize], supporting: Vec<String>, others: Vec<String>) -> Vec<String> {
    let total = supporting.len() + others.len();
    let (mut supporting, mut others) = (supporting.into_iter(), others.into_iter());
    let mut places = places.iter().peekable();
    let next = |i| if places.next_if_eq(&&i).is_some() { supporting.next() } else { others.next() };
    (0..total).filter_map(next).collect()
}

impl Benchmark for MultiDoc {
    /// `hotpotqa` or `triviaqa`.
    fn name(&self) -> &'static str {
        self.name
    }

    /// One, of the benchmark's name.
    fn subtasks(&self) -> Vec<String> {
        vec![self.name.to_owned()]
    }

    fn has_lengths(&self) -> bool {
        true
    }

    /// Without one, the question's own documents: of HotpotQA, the distractor setting.
    fn needs_length(&self) -> bool {
        false
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn metric(&self) -> Metric {
        Metric::Substring
    }

    fn open(&self, cell: &Cell) -> Result<Box<dyn EpisodeSource + '_>> {
        known(cell, self.name, &self.subtasks())?;
        let tokens = cell.length.map(|_| tokens(cell, self.name)).transpose()?;
        let position = cell.position;
        let file = self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned();
        Ok(indexed(Some(self.questions.len()), move |index| {
            let index = index as usize;
            let Question { question, answers, support, .. } = &self.questions[index];
            let qa = Qa { question: question.clone(), answers: answers.clone(), support: support.clone() };
            let name = format!("{file}:{}", self.rows[index]);
            Ok(Episode {
                name,
                documents: self.documents(tokens, position, index)?,
                facts: vec![],
                qa: vec![qa],
            })
        }))
    }
}

#[cfg(test)]
mod tests;
