//! A batch of token rows with the tokens that its loss predicts.

use std::iter::repeat_n;

use candle_core::{Device, Tensor};

use crate::autodiff::Resident;
use crate::autodiff::kernels::{RowIndex, Targets};
use crate::model::{DecoderConfig, TokenBatch};
use crate::text::Sequence;
use crate::{Error, Result};

/// A batch with its labels. Row `t` of a segment predicts token `t + 1`.
///
/// It may hold the rows of several episodes, each with as many: the first of them are of the first episode, and so on.
#[derive(Debug, Clone)]
pub struct LabelledBatch {
    /// The tokens.
    pub tokens: TokenBatch,
    /// Flat rows `b · S + t` whose next token is predicted, R of them.
    pub predicting: RowIndex,
    /// The tokens predicted, R of them.
    pub targets: Targets,
    /// Flat rows of the tokens predicted: the rows above, plus one. A token's weight is read there.
    pub predicted: RowIndex,
    /// Flat rows that are not padding, P of them.
    pub present: RowIndex,
    /// Where in `present` each of `predicted` stands.
    pub predicted_in_present: RowIndex,
    /// For each of `present`, its row of the batch.
    pub row_of_present: Vec<usize>,
    row_tokens: Resident,
    /// What the loss of each predicted token counts, R of them; `None` where all count 1.
    weights: Option<Vec<f64>>,
    /// How many tokens of each episode are predicted.
    predicted_of: Vec<usize>,
    factors_there: Resident,
}

impl LabelledBatch {
    /// A batch from rows of equal length. `labels[b][t]` says whether token `t` of row `b` is predicted from
    /// the tokens before it; `spans` which tokens are not padding. The loss of every predicted token counts 1.
    pub fn new(
        rows: &[Vec<u32>],
        spans: Vec<(usize, usize)>,
        labels: &[Vec<bool>],
        config: &DecoderConfig,
        device: &Device,
    ) -> Result<Self> {
        let width = rows.first().map_or(0, Vec::len);
        let (mut predicting, mut targets, mut predicted) = (vec![], vec![], vec![]);
        let (mut present, mut row_of_present, mut place) = (vec![], vec![], vec![]);
        for (b, (row, &(first, end))) in rows.iter().zip(&spans).enumerate() {
            for t in first..end {
                let flat = (b * width + t) as u32;
                if t > 0 && labels[b][t] {
                    predicting.push(flat - 1);
                    predicted.push(flat);
                    targets.push(row[t]);
                    place.push(present.len() as u32);
                }
                present.push(flat);
                row_of_present.push(b);
            }
        }
        if targets.is_empty() {
            return Err(Error::Invalid("a batch has no token to predict: every token is masked out".into()));
        }
        let (count, all) = (targets.len(), rows.len() * width);
        let predicted_in_present = RowIndex::new(place, present.len())?;
        Ok(Self {
            tokens: TokenBatch::new(rows, spans, config, device)?,
            predicting: RowIndex::new(predicting, all)?,
            targets: Targets::new(targets),
            predicted: RowIndex::new(predicted, all)?,
            present: RowIndex::new(present, all)?,
            predicted_in_present,
            row_of_present,
            row_tokens: Resident::default(),
            weights: None,
            predicted_of: vec![count],
            factors_there: Resident::default(),
        })
    }

    /// How many predicted tokens each episode has.
    pub fn predicted_of(&self) -> &[usize] {
        &self.predicted_of
    }

    /// Number of predicted tokens of each episode, each counted as its loss is.
    pub fn total_weights(&self) -> Vec<f64> {
        match &self.weights {
            None => self.predicted_of.iter().map(|&count| count as f64).collect(),
            Some(weights) => self.by_episode(weights).map(|weights| weights.iter().sum()).collect(),
        }
    }

    /// The numbers of each episode, of one a predicted token.
    pub(super) fn by_episode<'a, T>(&'a self, mut numbers: &'a [T]) -> impl Iterator<Item = &'a [T]> {
        self.predicted_of.iter().map(move |&count| {
            let (own, rest) = numbers.split_at(count);
            numbers = rest;
            own
        })
    }

    /// What the loss of each predicted token is multiplied with, `(R)`, of the type and on the device of `like`: what it
    /// counts times the factor of its episode.
    pub(super) fn factors(&self, like: &Tensor, of_episodes: &[f64]) -> Result<Tensor> {
        let each = || of_episodes.iter().zip(&self.predicted_of);
        let factors = || each().flat_map(|(&factor, &count)| repeat_n(factor, count));
        let product = |weights: &Vec<f64>| weights.iter().zip(factors()).map(|(w, f)| w * f).collect();
        let numbers = || self.weights.as_ref().map_or_else(|| factors().collect(), product);
        self.factors_there.numbers(like, self.targets.len(), numbers)
    }

    /// The same, where all are one number.
    pub(super) fn common_factor(&self, of_episodes: &[f64]) -> Option<f64> {
        let (first, rest) = of_episodes.split_first()?;
        (self.weights.is_none() && rest.iter().all(|factor| factor == first)).then_some(*first)
    }

    /// 1 where a token that is present belongs to a row, `(B, P)`, like `weights`; 0 elsewhere.
    pub(super) fn row_tokens(&self, weights: &Tensor) -> Result<Tensor> {
        let (size, rows) = (self.tokens.size(), &self.row_of_present);
        let inside = |b| rows.iter().map(move |&row| f64::from(u8::from(row == b)));
        self.row_tokens.numbers(weights, (size, rows.len()), || (0..size).flat_map(inside).collect())
    }

    /// A batch of the sequences of several episodes, padded on the right to the longest, with empty rows for an episode
    /// that has fewer than another.
    pub fn from_sequences(episodes: &[&[Sequence]], config: &DecoderConfig, device: &Device) -> Result<Self> {
        let count = episodes.iter().map(|own| own.len()).max().unwrap_or(0);
        let width = longest(episodes.iter().copied().flatten())?;
        let empty = Sequence::new(vec![], 0);
        let rows = || episodes.iter().flat_map(|own| own.iter().chain(repeat_n(&empty, count - own.len())));
        let pad = |s: &Sequence| {
            let mut row = s.tokens.clone();
            row.resize(width, 0);
            row
        };
        let padded: Vec<_> = rows().map(pad).collect();
        let spans = rows().map(|s| (0, s.tokens.len())).collect();
        let label = |s: &Sequence| (0..width).map(|t| t >= s.loss_from && t < s.tokens.len()).collect();
        let labels: Vec<_> = rows().map(label).collect();
        let weights = rows().any(|s| s.weights.is_some());
        let weights = weights.then(|| rows().flat_map(Sequence::predicted_weights).collect());
        let predicted_of = episodes.iter().map(|own| own.iter().map(Sequence::predicted).sum()).collect();
        Ok(Self { weights, predicted_of, ..Self::new(&padded, spans, &labels, config, device)? })
    }
}

/// Length of the longest sequence; an error if there is none, or none to learn from.
pub(super) fn longest<'a>(sequences: impl IntoIterator<Item = &'a Sequence>) -> Result<usize> {
    match sequences.into_iter().map(|s| s.tokens.len()).max() {
        None => Err(Error::Invalid("a context needs at least one segment".into())),
        Some(0 | 1) => Err(Error::Invalid("a segment needs at least two tokens to learn from".into())),
        Some(length) => Ok(length),
    }
}
