//! Which benchmark, from which data.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    benchmarks::{
        ApiRetrieval, Babilong, BabilongSource, Benchmark, Files, HeldOut, MultiDoc, Simulated,
        StudentRecords,
    },
    config::BackgroundSource,
    error::{Error, Result},
    model::HubSettings,
};

use super::super::Setup;

/// Benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// Facts of the bAbI tasks in long text.
    Babilong,
    /// Questions about student records.
    StudentRecords,
    /// Which API fits.
    ApiRetrieval,
    /// HotpotQA, with distractor documents.
    Hotpotqa,
    /// TriviaQA, with distractor documents.
    Triviaqa,
    /// JSONL files of contexts and questions.
    Files,
    /// What the checkpoint's own configuration holds out.
    HeldOut,
}

impl Name {
    /// All, in the order of help texts.
    pub const ALL: [Self; 7] = [
        Self::Babilong,
        Self::StudentRecords,
        Self::ApiRetrieval,
        Self::Hotpotqa,
        Self::Triviaqa,
        Self::Files,
        Self::HeldOut,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Babilong => "babilong",
            Self::StudentRecords => "student-records",
            Self::ApiRetrieval => "api-retrieval",
            Self::Hotpotqa => "hotpotqa",
            Self::Triviaqa => "triviaqa",
            Self::Files => "files",
            Self::HeldOut => "held-out",
        }
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|name| name.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Invalid(format!("benchmark `{text}` is none of {names}"))
        })
    }
}

/// A benchmark and its data.
#[derive(Debug, Clone)]
pub struct Source {
    /// Which benchmark.
    pub name: Name,
    /// Its data; empty for those that make their own.
    pub data: Vec<PathBuf>,
    /// Background of [`Name::Babilong`].
    pub background: BackgroundSource,
    /// Seed of what is made.
    pub seed: u64,
}

impl Source {
    /// Opens the benchmark; lengths are counted with the setup's tokenizer, and facts begin with
    /// `Mary Event 2:` where its configuration says so.
    ///
    /// # Errors
    /// Data that is missing, not wanted, or cannot be read.
    pub fn open(&self, setup: &Setup, hub: &HubSettings) -> Result<Box<dyn Benchmark>> {
        let (tokenizer, seed) = (&setup.tokenizer, self.seed);
        let data = &setup.config.data;
        Ok(match self.name {
            Name::Babilong => {
                let source = self.babilong(setup, hub)?;
                Box::new(Babilong::open(source, tokenizer, &self.background, seed, data.event_prefix)?)
            }
            Name::StudentRecords => {
                self.refuse_data("makes its own records")?;
                Box::new(StudentRecords::new(tokenizer.clone(), seed))
            }
            Name::ApiRetrieval => Box::new(ApiRetrieval::open(self.some_data()?, tokenizer.clone(), seed)?),
            Name::Hotpotqa => Box::new(MultiDoc::hotpotqa(self.one_file()?, tokenizer, seed)?),
            Name::Triviaqa => {
                let (path, evidence) = match self.some_data()? {
                    [path] => (path, None),
                    [path, evidence] => (path, Some(evidence.as_path())),
                    _ => {
                        return Err(Error::Invalid(
                            "triviaqa has a file and a folder of evidence".to_owned(),
                        ));
                    }
                };
                Box::new(MultiDoc::triviaqa(path, evidence, tokenizer, seed)?)
            }
            Name::Files => Box::new(Files::open(self.some_data()?)?),
            Name::HeldOut => {
                self.refuse_data("is what the checkpoint's own configuration holds out")?;
                Box::new(HeldOut::new(data.clone(), tokenizer.clone(), seed))
            }
        })
    }

    fn babilong(&self, setup: &Setup, hub: &HubSettings) -> Result<BabilongSource> {
        let place = match self.data.as_slice() {
            [] => return Ok(BabilongSource::Stories(Box::new(Simulated { seed: self.seed }))),
            [place] => place,
            [_, second, ..] => {
                let reason = format!("babilong has one place of data; {} is a second", second.display());
                return Err(Error::Invalid(reason));
            }
        };
        if holds_babi(place) {
            return Ok(BabilongSource::Babi(place.clone()));
        }
        let mut hub = hub.clone();
        hub.offline |= setup.config.model.offline;
        Ok(BabilongSource::Rows { place: place.to_string_lossy().into_owned(), hub })
    }

    fn some_data(&self) -> Result<&[PathBuf]> {
        match self.data.as_slice() {
            [] => Err(Error::Invalid("this benchmark needs --data with its files".to_owned())),
            data => Ok(data),
        }
    }

    fn one_file(&self) -> Result<&Path> {
        match self.some_data()? {
            [path] => Ok(path),
            [_, second, ..] => {
                Err(Error::file(second, "this benchmark has one file of data; this is a second"))
            }
            [] => Err(Error::Invalid("no data".to_owned())),
        }
    }

    fn refuse_data(&self, reason: &str) -> Result<()> {
        match self.data.first() {
            None => Ok(()),
            Some(path) => Err(Error::file(path, format!("this benchmark {reason}: leave --data out"))),
        }
    }
}

/// Whether a folder holds files of bAbI's own format, `qa1_single-supporting-fact_test.txt` and so on.
fn holds_babi(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.starts_with("qa") && name.contains('_') && name.ends_with(".txt"))
}
