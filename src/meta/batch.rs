//! A batch of token rows with the tokens that its loss predicts.

use candle_core::{Device, Tensor};

use crate::autodiff::Resident;
use crate::autodiff::kernels::Targets;
use crate::model::{DecoderConfig, TokenBatch};
use crate::text::Sequence;
use crate::{Error, Result};

/// A batch with its labels. Row `t` of a segment predicts token `t + 1`.
#[derive(Debug, Clone)]
pub struct LabelledBatch {
    /// The tokens.
    pub tokens: TokenBatch,
    /// Flat rows `b · S + t` whose next token is predicted, `(R)`, u32.
    pub predicting: Tensor,
    /// The tokens predicted, R of them.
    pub targets: Targets,
    /// Flat rows of the tokens predicted: the rows above, plus one. A token's weight is read there.
    pub predicted: Tensor,
    /// Flat rows that are not padding, `(P)`, u32.
    pub present: Tensor,
    /// Where in `present` each of `predicted` stands, `(R)`, u32.
    pub predicted_in_present: Tensor,
    /// For each of `present`, its row of the batch.
    pub row_of_present: Vec<usize>,
    row_tokens: Resident,
    /// What the loss of each predicted token counts, R of them; `None` where all count 1.
    weights: Option<Vec<f64>>,
    weights_there: Resident,
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
        #[expect(clippy::disallowed_methods, reason = "token numbers, once a batch")]
        let index = |rows: Vec<u32>| Tensor::new(rows, device);
        Ok(Self {
            tokens: TokenBatch::new(rows, spans, config, device)?,
            predicting: index(predicting)?,
            targets: Targets::new(targets),
            predicted: index(predicted)?,
            present: index(present)?,
            predicted_in_present: index(place)?,
            row_of_present,
            row_tokens: Resident::default(),
            weights: None,
            weights_there: Resident::default(),
        })
    }

    /// Number of predicted tokens, each counted as its loss is.
    pub fn total_weight(&self) -> f64 {
        match &self.weights {
            None => self.targets.len() as f64,
            Some(weights) => weights.iter().sum(),
        }
    }

    /// What the loss of each predicted token counts, `(R)`, of the type and on the device of `like`; `None`
    /// where all count 1.
    pub(super) fn weights(&self, like: &Tensor) -> Result<Option<Tensor>> {
        let there = |weights: &Vec<f64>| self.weights_there.numbers(like, weights.len(), || weights.clone());
        self.weights.as_ref().map(there).transpose()
    }

    /// 1 where a token that is present belongs to a row, `(B, P)`, like `weights`; 0 elsewhere.
    pub(super) fn row_tokens(&self, weights: &Tensor) -> Result<Tensor> {
        let (size, rows) = (self.tokens.size(), &self.row_of_present);
        let inside = |b| rows.iter().map(move |&row| f64::from(u8::from(row == b)));
        self.row_tokens.numbers(weights, (size, rows.len()), || (0..size).flat_map(inside).collect())
    }

    /// A batch from sequences, padded on the right to `width` tokens.
    pub fn from_sequences(
        sequences: &[Sequence],
        width: usize,
        config: &DecoderConfig,
        device: &Device,
    ) -> Result<Self> {
        let pad = |s: &Sequence| {
            let mut row = s.tokens.clone();
            row.resize(width, 0);
            row
        };
        let rows: Vec<_> = sequences.iter().map(pad).collect();
        let spans = sequences.iter().map(|s| (0, s.tokens.len())).collect();
        let label = |s: &Sequence| (0..width).map(|t| t >= s.loss_from && t < s.tokens.len()).collect();
        let labels: Vec<_> = sequences.iter().map(label).collect();
        let weights = sequences.iter().any(|s| s.weights.is_some());
        let weights = weights.then(|| sequences.iter().flat_map(Sequence::predicted_weights).collect());
        Ok(Self { weights, ..Self::new(&rows, spans, &labels, config, device)? })
    }
}
