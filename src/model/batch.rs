//! A padded batch of token rows.

use candle_core::{Device, Tensor};

use super::DecoderConfig;
use crate::autodiff::kernels::{AttentionMask, RopeTable};
use crate::{Error, Result};

/// Rows of tokens of one length, with what attention needs to know of them. Positions count from 0 at the
/// left edge of each row.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// Token ids, `(B · S)`, u32.
    pub ids: Tensor,
    /// Which tokens are not padding.
    pub mask: AttentionMask,
    /// Rotary angles of positions 0 … S − 1 at least; the table is shared among batches.
    pub rope: RopeTable,
}

impl DecoderConfig {
    /// Refuses a token that the embedding has no row for.
    ///
    /// # Errors
    /// The first such token.
    pub fn check_tokens(&self, ids: &[u32]) -> Result<()> {
        let vocab = self.vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab) {
            None => Ok(()),
            Some(id) => Err(Error::Invalid(format!(
                "token id {id} is not below the model's vocabulary of {vocab}: is this the base's own tokenizer?"
            ))),
        }
    }
}

impl TokenBatch {
    /// Builds a batch from rows of equal length; `spans` says for each row the first and one past the last
    /// token that is not padding.
    pub fn new(
        rows: &[Vec<u32>],
        spans: Vec<(usize, usize)>,
        config: &DecoderConfig,
        device: &Device,
    ) -> Result<Self> {
        let tokens = rows.first().map_or(0, Vec::len);
        if tokens == 0 {
            return Err(Error::Invalid("a batch needs at least one token".into()));
        }
        let ids: Vec<u32> = rows.concat();
        if ids.len() != tokens * rows.len() {
            return Err(Error::Invalid("the rows of a batch must have one length".into()));
        }
        config.check_tokens(&ids)?;
        Ok(Self {
            ids: Tensor::new(ids, device)?,
            mask: AttentionMask::new(tokens, spans),
            rope: RopeTable::shared(&config.rope_frequencies(), tokens),
        })
    }

    /// Number of rows, B.
    pub fn size(&self) -> usize {
        self.mask.size()
    }

    /// Tokens a row, S, padding included.
    pub fn tokens(&self) -> usize {
        self.mask.tokens()
    }
}
