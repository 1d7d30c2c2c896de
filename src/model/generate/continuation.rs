//! One prompt's continuation, token by token.

use std::ops::ControlFlow;

use candle_core::Tensor;

use super::{Ended, Generation};
use crate::Result;
use crate::model::sampling::{Decoding, Sampler};

/// The new tokens of one prompt so far, and the random numbers that the next is drawn with.
pub(super) struct Continuation<'a> {
    decoding: &'a Decoding,
    sampler: Sampler,
    tokens: Vec<u32>,
}

impl<'a> Continuation<'a> {
    /// No tokens yet.
    ///
    /// # Errors
    /// Sampling out of range.
    pub fn new(decoding: &'a Decoding) -> Result<Self> {
        Ok(Self { decoding, sampler: Sampler::new(decoding.sampling)?, tokens: Vec::new() })
    }

    /// The token that was chosen last, which is the next to read.
    pub fn last(&self) -> Option<&u32> {
        self.tokens.last()
    }

    /// Chooses the next token from logits `(V)`; says what ends the continuation, if anything does.
    ///
    /// # Errors
    /// Logits that are not numbers, or what `on_token` fails with.
    pub fn extend(
        &mut self,
        logits: &Tensor,
        on_token: impl FnOnce(u32) -> Result<ControlFlow<()>>,
    ) -> Result<Option<Ended>> {
        let token = self.sampler.choose(logits)?;
        if self.decoding.stops.contains(&token) {
            return Ok(Some(Ended::StopToken));
        }
        self.tokens.push(token);
        if on_token(token)?.is_break() {
            return Ok(Some(Ended::Caller));
        }
        Ok((self.tokens.len() == self.decoding.max_new_tokens).then_some(Ended::Limit))
    }

    /// The result.
    pub fn end(self, ended: Ended) -> Generation {
        Generation { tokens: self.tokens, ended }
    }
}
