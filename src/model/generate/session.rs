//! One sequence that is read and continued.

use std::ops::ControlFlow;

use candle_core::Tensor;

use super::continuation::Continuation;
use super::rows::Rows;
use super::{Ended, Generation, check};
use crate::Result;
use crate::model::Decoder;
use crate::model::lora::AdapterRef;
use crate::model::sampling::Decoding;

/// A decoder that remembers the tokens it has read.
pub struct Session<'a> {
    /// One row.
    rows: Rows<'a>,
}

impl<'a> Session<'a> {
    /// A session that has read nothing, with room for `capacity` tokens; it grows where that is not enough.
    ///
    /// # Errors
    /// An adapter that does not fit, or a device out of memory.
    pub fn new(model: &'a Decoder, adapter: Option<AdapterRef<'_>>, capacity: usize) -> Result<Self> {
        Ok(Self { rows: Rows::new(model, adapter, 1, capacity)? })
    }

    /// Number of tokens read so far.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing has been read yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what was read; the memory and the adapter stay.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// Reads `tokens` after those read before; returns the logits that follow the last, `(V)`.
    ///
    /// # Errors
    /// No tokens, one outside the vocabulary, or a device out of memory.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Tensor> {
        check(self.rows.model(), tokens)?;
        Ok(self.rows.read(&[tokens])?.squeeze(0)?)
    }

    /// Reads `prompt`, then its own continuation, until a stop token, the limit, or the caller's break.
    ///
    /// `on_token` gets every new token but the stop token, as soon as it is chosen. The last of them has not
    /// been read yet: a later call continues from the token before it, or from nothing after
    /// [`clear`](Self::clear). Without any tokens to generate, the prompt is not read either.
    ///
    /// # Errors
    /// An empty prompt, a token outside the vocabulary, sampling out of range, logits that are not numbers, a
    /// device out of memory, or what `on_token` fails with.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        decoding: &Decoding,
        on_token: &mut dyn FnMut(u32) -> Result<ControlFlow<()>>,
    ) -> Result<Generation> {
        check(self.rows.model(), prompt)?;
        let mut continuation = Continuation::new(decoding)?;
        if decoding.max_new_tokens == 0 {
            return Ok(continuation.end(Ended::Limit));
        }
        loop {
            let logits = self.feed(continuation.last().map_or(prompt, std::slice::from_ref))?;
            if let Some(ended) = continuation.extend(&logits, &mut *on_token)? {
                return Ok(continuation.end(ended));
            }
        }
    }
}
