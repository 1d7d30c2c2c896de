//! The micro-batches of a loss: batches made elsewhere, or segments of contexts that become batches one after another.

use std::borrow::Cow;

use super::batch::LabelledBatch;
use crate::Result;
use crate::model::Backbone;
use crate::text::Sequence;

/// Where the micro-batches come from.
pub(super) enum Parts {
    Batches(Vec<LabelledBatch>),
    /// Made when they are needed: of a long context only the tokens are held, 4 bytes each.
    Segments {
        /// The segments of each episode.
        episodes: Vec<Vec<Sequence>>,
        /// Of each episode in one micro-batch.
        at_once: usize,
    },
}

impl Parts {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Batches(batches) => batches.len(),
            Self::Segments { episodes, at_once } => longest_list(episodes).div_ceil(*at_once),
        }
    }

    /// Tokens with their padding, at most.
    pub(super) fn tokens(&self) -> usize {
        match self {
            Self::Batches(batches) => batches.iter().map(|b| b.tokens.size() * b.tokens.tokens()).sum(),
            Self::Segments { episodes, .. } => {
                let longest = episodes.iter().flatten().map(|s| s.tokens.len()).max();
                episodes.len() * longest_list(episodes) * longest.unwrap_or(0)
            }
        }
    }

    /// Tokens of each episode that are predicted.
    pub(super) fn predicted(&self) -> Vec<usize> {
        match self {
            Self::Batches(batches) => sums(batches.iter().map(|batch| batch.predicted_of().to_vec())),
            Self::Segments { episodes, .. } => {
                episodes.iter().map(|segments| segments.iter().map(Sequence::predicted).sum()).collect()
            }
        }
    }

    /// The same, each counted as its loss is.
    pub(super) fn total_weights(&self) -> Vec<f64> {
        match self {
            Self::Batches(batches) => sums(batches.iter().map(LabelledBatch::total_weights)),
            Self::Segments { episodes, .. } => {
                let weight =
                    |segments: &Vec<Sequence>| segments.iter().flat_map(Sequence::predicted_weights).sum();
                episodes.iter().map(weight).collect()
            }
        }
    }

    pub(super) fn batch(&self, index: usize, backbone: &Backbone) -> Result<Cow<'_, LabelledBatch>> {
        match self {
            Self::Batches(batches) => Ok(Cow::Borrowed(&batches[index])),
            Self::Segments { episodes, at_once } => {
                let part = |segments: &'_ Vec<Sequence>| {
                    let end = |place: usize| segments.len().min(place * at_once);
                    end(index)..end(index + 1)
                };
                let parts: Vec<_> = episodes.iter().map(|segments| &segments[part(segments)]).collect();
                let decoder = &backbone.decoder;
                Ok(Cow::Owned(LabelledBatch::from_sequences(&parts, &decoder.config, &decoder.device)?))
            }
        }
    }
}

fn longest_list(episodes: &[Vec<Sequence>]) -> usize {
    episodes.iter().map(Vec::len).max().unwrap_or(0)
}

/// Lists of one length added number by number.
fn sums<T: std::ops::AddAssign>(lists: impl Iterator<Item = Vec<T>>) -> Vec<T> {
    let add = |mut sums: Vec<T>, list: Vec<T>| {
        sums.iter_mut().zip(list).for_each(|(sum, number)| *sum += number);
        sums
    };
    lists.reduce(add).unwrap_or_default()
}
