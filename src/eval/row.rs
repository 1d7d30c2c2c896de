//! Scores: what was asked how, and how many answers were right.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    tasks::EncodedEpisode,
};

use super::{SupportScore, SupportSummary};

/// How the model gets at the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Written into the adapter by the inner loop; not in the prompt.
    Perk,
    /// Not at all: the trained start of the adapter, no inner step.
    NoAdaptation,
    /// Not at all, and without an adapter.
    Base,
    /// In the prompt of the base, without an adapter.
    Icr,
    /// In the prompt, with an adapter that was fine-tuned so.
    FtIcr,
}

impl std::str::FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Invalid(format!("method `{text}` is none of {names}"))
        })
    }
}

impl Method {
    /// All, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Perk, Self::NoAdaptation, Self::Base, Self::Icr, Self::FtIcr];

    /// Whether it needs what meta-training learns.
    pub fn is_meta_trained(self) -> bool {
        matches!(self, Self::Perk | Self::NoAdaptation)
    }

    /// Whether it answers with numbers that were trained on the target, and so in its form.
    pub fn is_trained(self) -> bool {
        self.is_meta_trained() || self == Self::FtIcr
    }

    /// Whether the model is given the context in its prompt.
    pub fn reads_context(self) -> bool {
        matches!(self, Self::Icr | Self::FtIcr)
    }

    /// Its name in results and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Perk => "perk",
            Self::NoAdaptation => "no-adaptation",
            Self::Base => "base",
            Self::Icr => "icr",
            Self::FtIcr => "ft-icr",
        }
    }
}

/// One score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// How the model got at the context.
    pub method: Method,
    /// Length of the contexts in multiples of the trained length.
    pub multiple: usize,
    /// Their mean length in tokens, prefixes included.
    pub context_tokens: usize,
    /// Share of right answers, 0 to 1; `None` where the method could not be asked.
    pub exact_match: Option<f64>,
    /// Questions asked.
    pub n: usize,
    /// How well the facts behind the answers were recalled; `None` where the answers have none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub support: Option<SupportSummary>,
    /// Seconds it took.
    pub secs: f64,
    /// Why there is no score.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// Right answers among those asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// Right answers.
    pub right: usize,
    /// Questions asked.
    pub asked: usize,
    /// Of the answers whose facts were compared, how well they were recalled, and whether the answer is right.
    pub supports: Vec<(SupportScore, bool)>,
}

impl Tally {
    /// Share of right answers, 0 to 1; `None` if nothing was asked.
    pub fn share(&self) -> Option<f64> {
        (self.asked > 0).then(|| self.right as f64 / self.asked as f64)
    }

    /// How well the facts were recalled; `None` if none were compared.
    pub fn support(&self) -> Option<SupportSummary> {
        SupportSummary::of(self.supports.iter().copied())
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |mut sum, next| {
            sum.right += next.right;
            sum.asked += next.asked;
            sum.supports.extend(next.supports);
            sum
        })
    }
}

/// What guessing evenly among the answers that occur in `episodes` would score, 0 to 1.
pub fn chance(episodes: &[EncodedEpisode]) -> f64 {
    let answers: BTreeSet<&str> = episodes
        .iter()
        .flat_map(|episode| episode.queries.iter().map(|query| query.answer.as_str()))
        .collect();
    1.0 / answers.len().max(1) as f64
}
