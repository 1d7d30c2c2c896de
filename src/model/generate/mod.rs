//! Decoding with a cache of keys and values, with or without an adapter: one sequence that can be read on, or
//! many prompts side by side. Inference only: it uses Candle's fused operations and a device's kernels, which have no
//! gradient.

mod cache;
mod continuation;
mod many;
mod rows;
mod session;

use std::ops::ControlFlow;

use super::Decoder;
use super::lora::AdapterRef;
use super::sampling::{Decoding, Sampling};
use crate::{Error, Result};

pub use many::generate_many;
pub use session::Session;

/// What a prompt was continued with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The new tokens, without the stop token.
    pub tokens: Vec<u32>,
    /// What ended it.
    pub ended: Ended,
}

/// What ended a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The model chose a stop token.
    StopToken,
    /// The limit of new tokens was reached.
    Limit,
    /// The caller broke it off.
    Caller,
}

/// For callers of [`Session::generate`] who want its result alone: lets every token pass, and never fails.
pub fn keep_going(_token: u32) -> Result<ControlFlow<()>> {
    Ok(ControlFlow::Continue(()))
}

/// Continues `prompt` with the likeliest token at every step, until `stop` or `max_new_tokens`.
///
/// Returns the new tokens without `stop`.
///
/// # Errors
/// As [`Session::generate`], and an adapter that does not fit.
pub fn greedy(
    model: &Decoder,
    adapter: Option<AdapterRef<'_>>,
    prompt: &[u32],
    stop: u32,
    max_new_tokens: usize,
) -> Result<Vec<u32>> {
    let decoding = Decoding { stops: vec![stop], max_new_tokens, sampling: Sampling::Greedy };
    let mut session = Session::new(model, adapter, prompt.len() + max_new_tokens)?;
    Ok(session.generate(prompt, &decoding, &mut keep_going)?.tokens)
}

/// Whether `model` can read `tokens`.
fn check(model: &Decoder, tokens: &[u32]) -> Result<()> {
    if tokens.is_empty() {
        return Err(Error::Invalid("the prompt is empty".to_owned()));
    }
    let vocab = model.config.vocab_size;
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        Some(token) => Err(Error::Invalid(format!("token {token} is outside the vocabulary of {vocab}"))),
        None => Ok(()),
    }
}
